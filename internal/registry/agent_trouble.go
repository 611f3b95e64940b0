package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// How often a trouble that lasts is told, and after how long one that the broker only is
// silent about.
const (
	tellEach  = 10 * time.Second
	tellAfter = 3 * time.Second
)

// What an agent can have trouble with.
const (
	withSettings   = "limits and pauses cannot be read: what is known of them holds, and a worker that has just started waits"
	withPermits    = "permits cannot be renewed: jobs of limited types wait or are handed back"
	withHandedBack = "a limit or key that was handed back cannot be written as it is configured: it holds as it is"
	withPresence   = "the worker's presence cannot be written: it works on, and others do not see it"
)

// troubles are what keeps an agent from its work at the moment. It is safe for concurrent use.
type troubles struct {
	log *slog.Logger

	mu  sync.Mutex
	all map[string]*trouble
}

type trouble struct {
	since, told time.Time
	err         error
	attrs       []slog.Attr
}

// has notes a trouble and its reason. It is logged at once if the broker refuses something, and a
// little later if it does not answer; and every ten seconds as long as it lasts.
func (t *troubles) has(ctx context.Context, what string, err error, attrs ...slog.Attr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	x := t.all[what]
	if x == nil {
		x = &trouble{since: now}
		if t.all == nil {
			t.all = make(map[string]*trouble)
		}
		t.all[what] = x
	}
	x.err, x.attrs = err, attrs
	level := slog.LevelError
	if isSilence(err) || errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		level = slog.LevelWarn
	}
	if level == slog.LevelWarn && now.Sub(x.since) < tellAfter || now.Sub(x.told) < tellEach {
		level = slog.LevelDebug
	} else {
		x.told = now
	}
	attrs = append(slices.Clip(attrs), slog.Any("err", err), slog.Duration("duration", now.Sub(x.since).Round(time.Second)))
	t.log.LogAttrs(ctx, level, what, attrs...) //nolint:sloglint // one of the constants above
}

// ended notes the end of a trouble, if it was one.
func (t *troubles) ended(ctx context.Context, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.all[what]
	if x == nil {
		return
	}
	delete(t.all, what)
	if !x.told.IsZero() {
		t.log.InfoContext(ctx, "the registry answers again", slog.String("over", what), slog.Duration("duration", time.Since(x.since).Round(time.Second)))
	}
}

// list returns the troubles for people, sorted.
func (t *troubles) list() (lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(t.all)) {
		x := t.all[what]
		lines = append(lines, fmt.Sprintf("%s (since %s): %v", what, x.since.UTC().Format(time.RFC3339), x.err))
	}
	return lines
}
