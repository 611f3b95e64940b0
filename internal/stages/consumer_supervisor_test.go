package stages_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
)

// work is a job of a second.
func work(id any) *job { return &job{id: id, takes: time.Second, results: []error{nil}} }

// Children of a producer's last Run keep their slots: at most max demand run at once, whichever Run
// delivered them.
func TestChildrenKeepTheirSlotsOverTheProducersRestart(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
		r := s.start(p)
		c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Temporary})
		must(c.Subscribe(p, stages.SubscribeOptions[any]{
			MaxDemand: 3, MinDemand: new(0), Cancel: stages.Temporary, Resubscribe: true,
		}))
		synctest.Wait()
		s.push(p, work(1), work(2))
		r.stop()
		synctest.Wait()
		s.happened()
		s.start(p)
		s.same("asked by the second Run", []int{1}, only(s.happened(), "demand"))
		s.push(p, work(3), work(4), work(5))
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.top != 3 || c.free != 5 {
			s.Errorf("%d children at once and %d slots freed, want 3 and 5", c.top, c.free)
		}
	})
}

// A Start that sees its worker draining may refuse: the event counts as done, and OnGiveUp can hand
// it back.
func TestDrainingConsumerSupervisorStillStartsWhatWasDelivered(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", nil, stages.OutletConfig[any]{})
		draining := errors.New("draining")
		ctx, drain := context.WithCancel(s.Context())
		var handedBack []any
		c := must(stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[any]{
			Restart: stages.Temporary,
			Start: func(_ context.Context, _ any, slot stages.Slot[any]) error {
				if ctx.Err() != nil {
					return draining
				}
				drain() // the first event's child is started as the worker begins to drain
				s.all.Go(func() { slot.Ended(nil) })
				return nil
			},
			OnGiveUp: func(event any, _ error) { handedBack = append(handedBack, event) },
		}))
		must(c.Subscribe(p, demand(3, 0)))
		done := make(chan error)
		s.all.Go(func() { done <- c.Run(ctx) })
		synctest.Wait()
		s.push(p, 1, 2, 3)
		if err := <-done; err != nil {
			s.Errorf("Run = %v, want nil", err)
		}
		s.same("handed back", []int{2, 3}, handedBack)
	})
}

// A Start that panics costs its own event, not its slot nor the events delivered with it.
func TestPanickingStartLeavesTheRest(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", nil, stages.OutletConfig[any]{})
		started := []any{}
		c := must(stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[any]{
			Restart: stages.Temporary,
			Start: func(_ context.Context, event any, slot stages.Slot[any]) error {
				if event == "bad" {
					panic("bad")
				}
				started = append(started, event)
				s.all.Go(func() { slot.Ended(nil) })
				return nil
			},
		}))
		must(c.Subscribe(p, demand(4, 0)))
		r := s.start(c)
		s.push(p, 1, "bad", 2, 3)
		if !r.ended() {
			s.Fatal("Run has not panicked")
		}
		r = s.start(c)
		s.push(p, 4, 5, 6, 7)
		s.same("started", numbers(1, 7), started)
		r.stop()
		if synctest.Wait(); !r.ended() {
			s.Error("Run waits for a child that never was")
		}
	})
}

func TestConsumerSupervisorOptions(t *testing.T) {
	start := func(context.Context, int, stages.Slot[int]) error { return nil }
	for _, c := range []stages.ConsumerSupervisorConfig[int]{
		{Restart: stages.Temporary},
		{Restart: stages.Transient, Start: start, MaxRestarts: new(-1)},
	} {
		if _, err := stages.NewConsumerSupervisor(c); !errors.Is(err, stages.ErrInvalidOption) {
			t.Errorf("NewConsumerSupervisor(%+v) = %v, want ErrInvalidOption", c, err)
		}
	}
}
