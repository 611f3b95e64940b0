package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/pipeline"
)

// wrapping is an error whose methods fail when it is nil.
type wrapping struct{ err error }

func (e *wrapping) Error() string { return e.err.Error() }
func (e *wrapping) Unwrap() error { return e.err }

// An error that is a nil pointer fails what returned it, and nothing else.
func TestNilPointerErrors(t *testing.T) {
	var broken *wrapping
	tests := map[string]func(m *pipeline.Message[int]) (error, error){
		"process": func(*pipeline.Message[int]) (error, error) { return broken, nil },
		"fail":    func(m *pipeline.Message[int]) (error, error) { m.Fail(broken); return nil, nil },
		"batch":   func(*pipeline.Message[int]) (error, error) { return nil, broken },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 2, Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
					if b.Items[0] > 1 {
						return nil
					}
					_, err := f(nil)
					return err
				}})
				p := must(pipeline.New(pipeline.Config[int]{
					Source: numbers(3), Batchers: []pipeline.AnyBatcher{b}, Logger: quiet, Concurrency: 1,
					OnFailure: pipeline.Failure{Attempts: 2, Bisect: true},
					Process: func(_ context.Context, m *pipeline.Message[int]) error {
						b.AddNow(m, m.Value)
						if name == "batch" || m.Value > 1 {
							return nil
						}
						err, _ := f(m)
						return err
					},
				}))
				if err := p.Run(t.Context()); err != nil {
					t.Error(err)
				}
				if s := p.Stats(); s.Handled != 2 || s.Failed != 1 {
					t.Errorf("%d handled, %d failed", s.Handled, s.Failed)
				}
			})
		})
	}
}

var errRead = errors.New("cannot be read")

// What a source ended with is told, whatever else happens at that moment.
func TestEndOfASourceIsTold(t *testing.T) {
	for name, merged := range map[string]bool{"alone": false, "merged": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p *pipeline.Pipeline[int]
				source := pipeline.FromErr(func(yield func(int, error) bool) {
					p.Pause()
					yield(0, errRead)
				})
				if merged {
					source = pipeline.Merge(source)
				}
				p = must(pipeline.New(pipeline.Config[int]{
					Source: source, Logger: quiet,
					Process: func(context.Context, *pipeline.Message[int]) error { return nil },
				}))
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					err = p.Run(t.Context())
				}()
				synctest.Wait()
				p.Resume()
				<-done
				if !errors.Is(err, errRead) {
					t.Errorf("the run ended with %v", err)
				}
			})
		})
	}
}

// A sequence that panics ends with that, and what it had yielded before is handled.
func TestSequencePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := must(pipeline.New(pipeline.Config[int]{
			Source: pipeline.FromSeq(func(yield func(int) bool) {
				yield(1)
				panic("no more")
			}),
			Logger:  quiet,
			Process: func(context.Context, *pipeline.Message[int]) error { return nil },
		}))
		err := p.Run(t.Context())
		if _, ok := errors.AsType[*pipeline.PanicError](err); !ok {
			t.Errorf("the run ended with %v", err)
		}
		if s := p.Stats(); s.Handled != 1 {
			t.Errorf("%d handled", s.Handled)
		}
	})
}

// An observer that panics or ends its goroutine changes nothing of what it is told of.
func TestObserversCannotHurt(t *testing.T) {
	for name, hurt := range map[string]func(){"panic": func() { panic("seen") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 2, Handle: func(context.Context, *pipeline.Batch[int]) error { return nil }})
				p := must(pipeline.New(pipeline.Config[int]{
					Source: numbers(5), Batchers: []pipeline.AnyBatcher{b}, Logger: quiet,
					Observe: func(pipeline.Event) { hurt() },
					Process: func(_ context.Context, m *pipeline.Message[int]) error {
						b.Add(m, m.Value)
						return nil
					},
				}))
				if err := p.Run(t.Context()); err != nil {
					t.Error(err)
				}
				if s := p.Stats(); s.Handled != 5 {
					t.Errorf("%d handled, %d failed", s.Handled, s.Failed)
				}
			})
		})
	}
}
