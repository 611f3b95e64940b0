package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// storm starts children from several goroutines until start refuses, and counts those that run.
type storm struct {
	started, running atomic.Int64
	enough           func() // called after 500 starts
}

// child ends in one of the ways that a child can end, now or when it is told to.
func (s *storm) child(n int) Child {
	return Child{Name: strconv.Itoa(n), Restart: Restart(n % 3), Run: func(ctx context.Context) error {
		if s.started.Add(1) == 500 {
			s.enough()
		}
		s.running.Add(1)
		defer s.running.Add(-1)
		switch rand.IntN(5) {
		case 0:
			return nil
		case 1:
			return errBoom
		case 2:
			panic("oops")
		default:
			return untilStopped(ctx)
		}
	}}
}

func (s *storm) blow(start func(Child) error) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := g * 1000; ; n++ {
				if err := start(s.child(n)); errors.Is(err, ErrNotRunning) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// Whatever happens at the same time as the end of a supervisor: no child runs after it.
func TestNoChildRunsAfterTheEnd(t *testing.T) {
	parts := map[string]func(t *testing.T) (Part, func(Child) error){
		"dynamic": func(t *testing.T) (Part, func(Child) error) {
			t.Helper()
			d, err := NewDynamic(DynamicSpec{Name: "d", MaxRestarts: new(1 << 30)})
			if err != nil {
				t.Fatal(err)
			}
			return d, d.Start
		},
		"supervisor": func(t *testing.T) (Part, func(Child) error) {
			t.Helper()
			s := mustNew(t, Spec{MaxRestarts: new(1 << 30)})
			return s, func(c Child) error {
				err := s.StartChild(t.Context(), c)
				if rand.IntN(2) == 0 {
					_ = s.StopChild(t.Context(), c.Name) // it may be gone already
				}
				return err
			}
		},
	}
	for name, newPart := range parts {
		t.Run(name, func(t *testing.T) {
			part, startChild := newPart(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := storm{enough: cancel}
			var wg sync.WaitGroup
			ready := func() { wg.Go(func() { s.blow(startChild) }) }
			if err := part.RunReady(ctx, ready); err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			if got := s.running.Load(); got != 0 {
				t.Errorf("running after the end = %d, want 0", got)
			}
			wg.Wait()
		})
	}
}
