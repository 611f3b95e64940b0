package queue

import "log/slog"

// LogAttrs are what a line about the job is found by. It returns []any for the methods of [slog.Logger].
func (h *Delivery) LogAttrs() []any {
	return []any{
		slog.String("queue", h.Queue), slog.String("type", h.Type), slog.String("id", h.ID),
		slog.String("life", h.Life), slog.Int("attempt", h.Attempt),
	}
}

// Logger is the log of the worker that has the job.
func (h *Delivery) Logger() *slog.Logger { return h.store.log }
