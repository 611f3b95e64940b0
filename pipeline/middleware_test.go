package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// calls notes what middleware sees.
type calls struct {
	mu  sync.Mutex
	all []string
}

func (c *calls) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

// use is middleware of a name.
func (c *calls) use(name string) pipeline.Middleware {
	return func(next pipeline.Handler) pipeline.Handler {
		return func(ctx context.Context, call *pipeline.Call) (err error) {
			before := call.LastRun()
			call.TraceRun(name + strconv.Itoa(call.Attempt))
			err = errors.New("it did not return")
			defer func() {
				c.note("%s %s%s #%d of %d values, %d messages, %d failed, after %q: %v", name, call.Pipeline, call.Batcher, call.Attempt, call.Values, call.Len(), call.Failed(), before, err)
			}()
			return next(ctx, call)
		}
	}
}

// Middleware is around each call, in its order; it sees panics and what it does not return from.
func TestMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen calls
		rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Name: "/rows", Size: 2, Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
			if len(b.Items) == 2 {
				b.Fail(0, errors.New("first"))
				return errors.New("others")
			}
			return nil
		}})
		p := must(pipeline.New(pipeline.Config[int]{
			Name: "p", Source: numbers(4), Batchers: []pipeline.AnyBatcher{rows}, Logger: quiet, Concurrency: 1,
			OnFailure: pipeline.Failure{Attempts: 2}, Use: []pipeline.Middleware{seen.use("outer"), nil, seen.use("inner")},
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				switch m.Value {
				case 1:
					panic("broken")
				case 2:
					runtime.Goexit()
				}
				rows.Add(m, m.Value)
				return nil
			},
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			`inner p #1 of 1 values, 1 messages, 0 failed, after "outer1": panic: broken`,
			`outer p #1 of 1 values, 1 messages, 0 failed, after "": panic: broken`,
			`inner p #2 of 1 values, 1 messages, 0 failed, after "outer2": panic: broken`,
			`outer p #2 of 1 values, 1 messages, 0 failed, after "inner1": panic: broken`,
			`inner p #1 of 1 values, 1 messages, 0 failed, after "outer1": it did not return`,
			`outer p #1 of 1 values, 1 messages, 0 failed, after "": it did not return`,
			`inner p #2 of 1 values, 1 messages, 0 failed, after "outer2": it did not return`,
			`outer p #2 of 1 values, 1 messages, 0 failed, after "inner1": it did not return`,
			`inner p #1 of 1 values, 1 messages, 0 failed, after "outer1": <nil>`, `outer p #1 of 1 values, 1 messages, 0 failed, after "": <nil>`,
			`inner p #1 of 1 values, 1 messages, 0 failed, after "outer1": <nil>`, `outer p #1 of 1 values, 1 messages, 0 failed, after "": <nil>`,
			`inner p/rows #1 of 2 values, 2 messages, 1 failed, after "outer1": others`, `outer p/rows #1 of 2 values, 2 messages, 1 failed, after "": others`,
			`inner p/rows #2 of 1 values, 1 messages, 0 failed, after "outer2": <nil>`, `outer p/rows #2 of 1 values, 1 messages, 0 failed, after "inner1": <nil>`,
		}
		if !slices.Equal(seen.all, want) {
			for i, s := range seen.all {
				if i >= len(want) || s != want[i] {
					t.Errorf("call %d: %s", i, s)
				}
			}
			t.Errorf("%d calls, want %d", len(seen.all), len(want))
		}
		if s := p.Stats(); s.Handled != 1 || s.Failed != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// What middleware returns counts, and so does that it calls nobody. It is around the windows of folds, too.
func TestMiddlewareDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		handled := 0
		minutes := pipeline.NewFold(pipeline.FoldConfig[int, int, int]{
			Name: "minutes", Size: time.Minute, Key: func(int) int { return 0 }, At: func(n int) time.Time { return time.Unix(int64(60*n), 0) },
			Zero: func(int) int { return 0 }, Fold: func(n, v int) int { return n + v },
			Handle: func(context.Context, *pipeline.Window[int, int]) error { handled++; return nil },
		})
		var seen calls
		p := must(pipeline.New(pipeline.Config[int]{
			Name: "p", Source: numbers(3), Batchers: []pipeline.AnyBatcher{minutes}, Logger: quiet, Concurrency: 1,
			Use: []pipeline.Middleware{func(next pipeline.Handler) pipeline.Handler {
				return func(ctx context.Context, c *pipeline.Call) error {
					if c.Batcher == "" && c.ID(0) == "p/2" {
						return refused
					}
					err := next(ctx, c)
					if c.Batcher != "" {
						seen.note("%s of %d values, %d messages: %v", c.Batcher, c.Values, c.Len(), err)
					}
					return err
				}
			}},
			Process: func(_ context.Context, m *pipeline.Message[int]) error { minutes.Add(m, m.Value); return nil },
			Failed: func(_ context.Context, failed []*pipeline.Message[int]) {
				if len(failed) != 1 || !errors.Is(failed[0].Err(), refused) {
					t.Errorf("%d failed", len(failed))
				}
			},
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"minutes of 1 values, 0 messages: <nil>", "minutes of 1 values, 0 messages: <nil>"}; !slices.Equal(seen.all, want) || handled != 2 {
			t.Errorf("%d windows handled: %q", handled, seen.all)
		}
	})
}
