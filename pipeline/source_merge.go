package pipeline

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
)

// Merge is a source of what several sources have. Each is asked for its share of what there is room for, and
// one that has nothing keeps no other waiting. It ends when all have, with what the first of them ended
// with. If one of them is ordered, so is what comes of it; by [Config.OrderBy] it is all of them together.
func Merge[T any](sources ...Source[T]) Source[T] { //nolint:iface // a source is all that it is
	m := &merged[T]{wake: make(chan struct{}, 1)}
	for _, s := range sources {
		m.sources = append(m.sources, &mergedSource[T]{source: s})
	}
	return m
}

type merged[T any] struct {
	sources []*mergedSource[T]
	turn    int // the source to be asked first
	pulls   sync.WaitGroup
	wake    chan struct{} // a pull has ended; capacity 1
	mu      sync.Mutex    // of what pulls write
	ended   error         // of the first that ended with something
}

// mergedSource is one of them. What it was asked for and has not been handed on is its share.
type mergedSource[T any] struct {
	source Source[T]
	share  int
	busy   bool // asked, and not back
	over   bool
	came   []Delivery[T]
	err    error
}

func (m *merged[T]) Pull(ctx context.Context, n int, out []Delivery[T]) ([]Delivery[T], error) {
	for {
		m.ask(ctx, n)
		before := len(out)
		out, n = m.collect(n, out)
		err, over := m.failure()
		if len(out) > before || err != nil || over {
			return out, err
		}
		select {
		case <-m.wake:
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}

// ask gives each source that is not busy its share of n, less what is on its way.
func (m *merged[T]) ask(ctx context.Context, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var idle []*mergedSource[T]
	for i := range m.sources {
		s := m.sources[(m.turn+i)%len(m.sources)]
		if s.busy || len(s.came) > 0 {
			n -= s.share
		}
		if !s.busy && !s.over && s.err == nil && len(s.came) == 0 {
			idle = append(idle, s)
		}
	}
	m.turn++
	for i, s := range idle {
		if s.share = (n + len(idle) - i - 1) / (len(idle) - i); s.share < 1 {
			s.share = 0
			return
		}
		n -= s.share
		s.busy = true
		want := s.share
		m.pulls.Go(func() {
			var came []Delivery[T]
			err := contained(func() (err error) {
				came, err = s.source.Pull(ctx, want, nil)
				return err
			})
			if _, over := ended(err); ctx.Err() != nil && !over {
				err = nil // it says so, or will say again what it has to say
			}
			m.mu.Lock()
			s.busy, s.came, s.err = false, came, err
			m.mu.Unlock()
			select {
			case m.wake <- struct{}{}:
			default:
			}
		})
	}
}

// collect hands on at most n of what came.
func (m *merged[T]) collect(n int, out []Delivery[T]) ([]Delivery[T], int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sources {
		if s.busy {
			continue
		}
		k := min(n, len(s.came))
		out = append(out, s.came[:k]...)
		s.came = s.came[k:]
		s.share = len(s.came)
		n -= k
	}
	return out, n
}

// failure returns the error of a source, once; or that all are over.
func (m *merged[T]) failure() (err error, over bool) { //nolint:revive // whether there is one is said beside it
	m.mu.Lock()
	defer m.mu.Unlock()
	open := 0
	for _, s := range m.sources {
		cause, end := ended(s.err)
		switch {
		case s.busy:
		case end:
			s.over, s.err = true, nil
			if m.ended == nil {
				m.ended = cause
			}
		case s.err != nil && err == nil:
			err, s.err = s.err, nil
		}
		if !s.over || len(s.came) > 0 {
			open++
		}
	}
	switch {
	case err != nil || open > 0:
		return err, false
	case m.ended != nil:
		return m.ended, true
	}
	return io.EOF, true
}

// Release waits for pulls, whose context has ended, and hands back what nobody asked for any more.
func (m *merged[T]) Release(ctx context.Context) {
	m.pulls.Wait()
	for _, s := range m.sources {
		for _, d := range s.came {
			if d.Acker != nil {
				_ = contained(func() error {
					return d.Acker.Settle(ctx, []End{{Ref: d.Ref, Err: ErrHandedBack, Meta: d.Meta}})
				})
			}
		}
		s.came, s.share = nil, 0
		if r, ok := s.source.(Releaser); ok {
			r.Release(ctx)
		}
		s.over = false
	}
	m.ended = nil
}

// Run runs those of the sources that have something to do.
func (m *merged[T]) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, s := range m.sources {
		if r, ok := s.source.(Runner); ok {
			running.Go(func() {
				if err := contained(func() error { return r.Run(ctx) }); err != nil && ctx.Err() == nil {
					cancel(err)
				}
			})
		}
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Ordered reports whether one of the sources is. What comes of the others has no key, and so no order.
func (m *merged[T]) Ordered() bool {
	return slices.ContainsFunc(m.sources, func(s *mergedSource[T]) bool {
		o, ok := s.source.(interface{ Ordered() bool })
		return ok && o.Ordered()
	})
}

func (m *merged[T]) hasStore() bool {
	return slices.ContainsFunc(m.sources, func(s *mergedSource[T]) bool { return hasStore(s.source) })
}
