package pipeline_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// leased is a source of messages that it may lose. It has something to do of its own.
type leased struct {
	lives  []context.Context
	pulled bool
	over   atomic.Bool
	fails  error

	mu   sync.Mutex
	ends []error
}

func (s *leased) Pull(ctx context.Context, _ int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	if s.pulled {
		<-ctx.Done()
		return out, context.Cause(ctx)
	}
	s.pulled = true
	for i, life := range s.lives {
		out = append(out, pipeline.Delivery[int]{Value: i, Acker: s, Ref: i, Context: life})
	}
	return out, nil
}

func (s *leased) Settle(_ context.Context, ends []pipeline.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Load() {
		return errors.New("settled when the source had ended")
	}
	for _, e := range ends {
		s.ends = append(s.ends, e.Err)
	}
	return nil
}

func (s *leased) Run(ctx context.Context) error {
	defer s.over.Store(true)
	if s.fails != nil {
		time.Sleep(time.Minute)
		return s.fails
	}
	<-ctx.Done()
	return nil
}

var errTaken = errors.New("taken")

func TestMessageIsLostInProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, lose := context.WithCancelCause(t.Context())
		before, cancel := context.WithCancel(t.Context())
		cancel()
		s := &leased{lives: []context.Context{life, before, t.Context()}}
		ctx, stop := context.WithCancel(t.Context())
		var ended error
		p, err := pipeline.New(pipeline.Config[int]{
			Source: s, Concurrency: 1, OnFailure: pipeline.Failure{Attempts: 5, Stop: true},
			Process: func(ctx context.Context, m *pipeline.Message[int]) error {
				switch m.Value {
				case 0:
					lose(errTaken)
					<-ctx.Done()
					ended = context.Cause(ctx)
					return errors.New("interrupted")
				case 1:
					t.Error("what was lost was processed")
				}
				stop()
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		if !errors.Is(ended, errTaken) {
			t.Errorf("the context of Process ended with %v", ended)
		}
		if len(s.ends) != 3 || !errors.Is(s.ends[0], pipeline.ErrHandedBack) || !errors.Is(s.ends[1], pipeline.ErrHandedBack) || s.ends[2] != nil {
			t.Errorf("ends %v", s.ends)
		}
		if got := p.Stats(); got.Handled != 1 || got.HandedBack != 2 || got.Failed != 0 || got.Unsettled != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A batch goes on while one of its messages is not lost.
func TestMessagesAreLostInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, loseFirst := context.WithCancelCause(t.Context())
		second, loseSecond := context.WithCancelCause(t.Context())
		s := &leased{lives: []context.Context{first, second}}
		ctx, stop := context.WithCancel(t.Context())
		b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 2, Handle: func(ctx context.Context, _ *pipeline.Batch[int]) error {
			defer stop()
			loseFirst(errTaken)
			time.Sleep(time.Second)
			if ctx.Err() != nil {
				t.Error("a batch ended with one of its messages")
			}
			loseSecond(errTaken)
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, errTaken) {
				t.Errorf("the batch ended with %v", cause)
			}
			return nil
		}})
		p, err := pipeline.New(pipeline.Config[int]{
			Source: s, Batchers: []pipeline.AnyBatcher{b},
			Process: func(_ context.Context, m *pipeline.Message[int]) error { b.Add(m, m.Value); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := p.Stats(); got.HandedBack != 2 || len(s.ends) != 2 {
			t.Errorf("%+v, ends %v", got, s.ends)
		}
	})
}

// A pipeline ends with what its source fails with, also one of several.
func TestSourceFailsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &leased{fails: errTaken}
		never := make(chan int)
		p, err := pipeline.New(pipeline.Config[int]{
			Source:  pipeline.Merge(pipeline.FromChan(never), pipeline.Source[int](s)),
			Process: func(context.Context, *pipeline.Message[int]) error { return io.EOF },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); !errors.Is(err, errTaken) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// What its source knows to have failed is not processed, and is settled as failed.
func TestMessageFailedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &leased{lives: []context.Context{nil, nil}}
		unreadable := &unread{leased: s}
		ctx, stop := context.WithCancel(t.Context())
		p, err := pipeline.New(pipeline.Config[int]{
			Source: unreadable,
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if m.Value == 0 {
					t.Error("what nobody can read was processed")
				}
				return nil
			},
			Failed: func(context.Context, []*pipeline.Message[int]) { stop() },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := p.Stats(); got.Handled != 1 || got.Failed != 1 || !unreadable.released {
			t.Errorf("%+v, released %t", got, unreadable.released)
		}
	})
}

// unread says of its first message that it cannot be read.
type unread struct {
	*leased
	released bool
}

func (s *unread) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	out, err := s.leased.Pull(ctx, n, out)
	if len(out) > 0 {
		out[0].Err = errTaken
	}
	return out, err
}

func (s *unread) Release(context.Context) { s.released = true }
