package pipeline_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// failing is a source that fails each time it is asked, but the first and the last.
type failing struct {
	how  func() error
	at   []time.Time
	last int
}

func (s *failing) Pull(_ context.Context, _ int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	s.at = append(s.at, time.Now())
	switch {
	case len(s.at) == 1 || len(s.at) == s.last:
		return append(out, pipeline.Delivery[int]{Value: len(s.at)}), nil
	case len(s.at) > s.last:
		return out, io.EOF
	}
	return out, s.how()
}

// A source that cannot be read is asked again, at growing intervals; what it gave before goes on meanwhile.
func TestSourceThatCannotBeRead(t *testing.T) {
	for name, how := range map[string]func() error{
		"error": func() error { return errors.New("no") }, "panic": func() error { panic("no") }, "exit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &failing{how: how, last: 10}
				var ended []int
				p := must(pipeline.New(pipeline.Config[int]{
					Source: s, Concurrency: 2, Logger: quiet,
					Process: func(ctx context.Context, m *pipeline.Message[int]) error {
						if m.Value == 1 {
							time.Sleep(8 * time.Second)
						}
						ended = append(ended, m.Value)
						return ctx.Err()
					},
				}))
				if err := p.Run(t.Context()); err != nil || !slices.Equal(ended, []int{1, 10}) || p.Stats().Handled != 2 {
					t.Errorf("Run = %v, ended %v, %+v", err, ended, p.Stats())
				}
				var pauses []time.Duration
				for i := 2; i < 10; i++ {
					pauses = append(pauses, s.at[i].Sub(s.at[i-1]))
				}
				ms := time.Millisecond
				if want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}; !slices.Equal(pauses, want) {
					t.Errorf("asked again after %v", pauses)
				}
			})
		})
	}
}

// A hostile source is one that panics wherever it is not asked for messages.
type hostile struct{ pipeline.Source[int] }

type hostileRef struct{}

func (hostileRef) ID() string { panic("no name") }

func (hostileRef) Trace() pipeline.Trace { panic("no trace") }

func (hostile) Attach(pipeline.User)                         { panic("nobody's") }
func (hostile) Release(context.Context)                      { runtime.Goexit() }
func (hostile) Lag() []pipeline.Lag                          { panic("not known") }
func (hostile) Settle(context.Context, []pipeline.End) error { runtime.Goexit(); return nil }
func (hostile) Start(any)                                    { panic("not now") }

func (s hostile) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	out, err := s.Source.Pull(ctx, n, out)
	for i := range out {
		out[i].Acker, out[i].Ref = s, hostileRef{}
	}
	return out, err
}

// Nothing that a source does takes a part down.
func TestHostileSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 2, Handle: func(context.Context, *pipeline.Batch[int]) error { return errors.New("no") }})
		var calls atomic.Int32
		p := must(pipeline.New(pipeline.Config[int]{
			Source: hostile{numbers(6)}, Logger: quiet, Batchers: []pipeline.AnyBatcher{rows}, Concurrency: 1, OnFailure: pipeline.Failure{Attempts: 2},
			Use: []pipeline.Middleware{func(next pipeline.Handler) pipeline.Handler {
				return func(ctx context.Context, c *pipeline.Call) error {
					if calls.Add(1) > 3 {
						_ = c.Trace(0)
					}
					return next(ctx, c)
				}
			}},
			Process: func(_ context.Context, m *pipeline.Message[int]) error { rows.Add(m, m.Value); return nil },
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Failed != 6 || s.Unsettled != 6 || s.Lost != 0 || s.InHand != 0 {
			t.Errorf("%+v", s)
		}
	})
}
