package millhand

import (
	"log/slog"
	"strings"
)

// Logger is the worker's [Config.Logger] for what a handler has to say: each line has the job's queue,
// type, id, life and attempt, the worker and, of a run that is traced, its trace_id and span_id. A job
// of no worker, as in a test, logs to [slog.Default]. Each call makes one: keep it for the run.
func (j *Job[T]) Logger() *slog.Logger {
	attrs := []any{
		slog.String("queue", j.Queue), slog.String("type", j.Type), slog.String("id", j.ID),
		slog.String("life", j.Life), slog.Int("attempt", j.Attempt),
	}
	if j.held == nil {
		return Config{}.logger().With(attrs...)
	}
	attrs = append(attrs, slog.String("worker", j.held.Node()))
	if _, rest, ok := strings.Cut(j.held.RunTraced(), "-"); ok { // VERSION-TRACE-SPAN-FLAGS
		traceID, rest, _ := strings.Cut(rest, "-")
		spanID, _, _ := strings.Cut(rest, "-")
		attrs = append(attrs, slog.String("trace_id", traceID), slog.String("span_id", spanID))
	}
	return j.held.Logger().With(attrs...)
}
