// Package pipelinetest tests pipelines on virtual time: a minute's wait takes microseconds, nothing is
// polled, and no test is slow because its machine is.
//
// [Run] puts the pipeline of the program itself, with another source, into a bubble of
// [testing/synctest]. Its function sends values and looks at how they ended. What it calls, and what the
// pipeline calls, must keep to the bubble: no network, no other goroutines.
//
//	pipelinetest.Run(t, config, func(b *pipelinetest.Bench[Order]) {
//		b.Send(first, second)
//		ok, failed := b.Settled()   // what has ended by now
//		b.Sleep(time.Minute)        // an open batch becomes due
//		err := b.Do(third)          // one message to its end
//	})
package pipelinetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// Bench is a running pipeline and its source.
type Bench[T any] struct {
	t        *testing.T
	pipeline *pipeline.Pipeline[T]
	source   *source[T]
	stop     context.CancelFunc
	done     chan struct{} // closed when Run has returned err
	err      error
	told     bool // Drain has returned err
}

// Run runs a pipeline of configuration c in a bubble, with a source that has what f sends. Its Concurrency
// is 1 unless c says otherwise, so that the order of what happens is that of what was sent. When f returns
// the pipeline drains, and the test fails if it cannot.
func Run[T any](t *testing.T, c pipeline.Config[T], f func(b *Bench[T])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &Bench[T]{t: t, source: &source[T]{came: make(chan struct{}, 1)}, done: make(chan struct{})}
		c.Source = b.source
		if c.Concurrency == 0 {
			c.Concurrency = 1
		}
		p, err := pipeline.New(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		b.pipeline, b.stop = p, stop
		var running sync.WaitGroup
		running.Go(func() {
			defer close(b.done)
			b.err = p.Run(ctx)
		})
		defer running.Wait()
		defer func() {
			told := b.told
			if err := b.Drain(); err != nil && !told {
				t.Errorf("the pipeline did not drain: %v", err)
			}
		}()
		synctest.Wait()
		f(b)
	})
}

// Pipeline returns the running pipeline: its Stats, Pause and SetConcurrency.
func (b *Bench[T]) Pipeline() *pipeline.Pipeline[T] { return b.pipeline }

// Send gives the pipeline values, which it takes as it has room, and batches as configured.
func (b *Bench[T]) Send(values ...T) {
	deliveries := make([]pipeline.Delivery[T], len(values))
	for i, v := range values {
		deliveries[i].Value = v
	}
	b.SendDeliveries(deliveries...)
}

// SendDeliveries is Send of what a source says about its messages: keys, times, attempts. Their Acker and
// Ref are the bench's.
func (b *Bench[T]) SendDeliveries(deliveries ...pipeline.Delivery[T]) {
	for _, d := range deliveries {
		b.source.send(d, nil)
	}
}

// Do sends one value, has every batch that it may be in handled without waiting for others, and returns how
// it ended: nil, what it failed with, or [pipeline.ErrHandedBack]. Time passes as far as that takes.
func (b *Bench[T]) Do(v T) error {
	b.t.Helper()
	ended := make(chan error, 1)
	b.source.send(pipeline.Delivery[T]{Value: v}, ended)
	for next := time.Millisecond; ; next *= 2 {
		synctest.Wait()
		b.pipeline.Flush()
		timer := time.NewTimer(next)
		select {
		case err := <-ended:
			timer.Stop()
			return err
		case <-b.done:
			timer.Stop()
			return errors.Join(pipeline.ErrHandedBack, b.err)
		case <-timer.C:
		}
	}
}

// Settled waits until nothing moves without time passing, and returns what has ended since it was called
// last, in the order it did: what was handled, and what failed. Messages of Do are not among it, nor those
// that were handed back.
func (b *Bench[T]) Settled() (ok, failed []T) {
	synctest.Wait()
	for _, e := range b.source.taken() {
		switch {
		case e.err == nil:
			ok = append(ok, e.value)
		case !errors.Is(e.err, pipeline.ErrHandedBack):
			failed = append(failed, e.value)
		}
	}
	return ok, failed
}

// Sleep lets time pass.
func (b *Bench[T]) Sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// Drain ends the context of Run and returns what that returns: nil if all that was taken is settled. What
// was sent and not taken is left. Further calls return the same.
func (b *Bench[T]) Drain() error {
	synctest.Wait() // what there is room for is taken
	b.stop()
	<-b.done
	b.told = true
	return b.err
}

// source has what was sent.
type source[T any] struct {
	mu      sync.Mutex
	waiting []*sent[T]
	settled []ended[T]
	came    chan struct{} // capacity 1
}

type sent[T any] struct {
	delivery pipeline.Delivery[T]
	end      chan error // of Do; nil: of Send
}

type ended[T any] struct {
	value T
	err   error
}

func (s *source[T]) send(d pipeline.Delivery[T], end chan error) {
	own := &sent[T]{delivery: d, end: end}
	own.delivery.Acker, own.delivery.Ref = s, own
	s.mu.Lock()
	s.waiting = append(s.waiting, own)
	s.mu.Unlock()
	select {
	case s.came <- struct{}{}:
	default:
	}
}

// Pull implements [pipeline.Source].
func (s *source[T]) Pull(ctx context.Context, n int, out []pipeline.Delivery[T]) ([]pipeline.Delivery[T], error) {
	for {
		s.mu.Lock()
		k := min(n, len(s.waiting))
		for _, m := range s.waiting[:k] {
			out = append(out, m.delivery)
		}
		s.waiting = slices.Delete(s.waiting, 0, k)
		s.mu.Unlock()
		if k > 0 {
			return out, nil
		}
		select {
		case <-s.came:
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}

// Settle implements [pipeline.Acker].
func (s *source[T]) Settle(_ context.Context, ends []pipeline.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range ends {
		m, ok := e.Ref.(*sent[T])
		switch {
		case !ok:
		case m.end != nil:
			m.end <- e.Err
		default:
			s.settled = append(s.settled, ended[T]{m.delivery.Value, e.Err})
		}
	}
	return nil
}

func (s *source[T]) taken() []ended[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.settled
	s.settled = nil
	return taken
}
