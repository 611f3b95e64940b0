package stages_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// To a supervisor and to stages a clean end is the same, whoever's words it is told in.
func TestOneShutdown(t *testing.T) {
	for name, reason := range map[string]error{
		"bare":    supervisor.ErrShutdown,
		"wrapped": fmt.Errorf("job: %w", supervisor.ErrShutdown),
		"told":    reasonOfAStoppedProducer(t),
	} {
		t.Run(name, func(t *testing.T) {
			if !stages.Clean(reason) {
				t.Errorf("Clean(%v) = false", reason)
			}
			synctest.Test(t, func(t *testing.T) {
				runs := 0
				sup := must(supervisor.New(supervisor.Spec{Name: "sup", Children: []supervisor.Child{{
					Name: "child", Restart: supervisor.Transient,
					Run: func(context.Context) error { runs++; return reason },
				}}}))
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				if err := sup.Run(ctx); err != nil || runs != 1 {
					t.Errorf("a supervisor ran it %d times and ended with %v, want once and nil", runs, err)
				}
			})
		})
	}
	for name, reason := range map[string]error{
		"error": errBoom, "crash": stages.ErrCrashed, "panic": &supervisor.PanicError{Value: supervisor.ErrShutdown},
	} {
		if stages.Clean(reason) {
			t.Errorf("%s: Clean(%v) = true", name, reason)
		}
	}
}

// reasonOfAStoppedProducer is what a producer tells its consumers when it was stopped.
func reasonOfAStoppedProducer(t *testing.T) (told error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := must(stages.NewProducer(stages.ProducerConfig[int]{}))
		c := must(stages.NewConsumer(stages.ConsumerConfig[int]{Handle: func(context.Context, []int) error { return nil }}))
		must(c.Subscribe(p, stages.SubscribeOptions[int]{}))
		stop := must(supervisor.Start(t.Context(), p))
		ended := make(chan error, 1)
		go func() { ended <- c.Run(t.Context()) }()
		synctest.Wait()
		if err := stop(); err != nil {
			t.Errorf("stop = %v", err)
		}
		told = <-ended
	})
	return told
}

// A consumer that waits until its subscription is open misses nothing, however small the buffer.
func TestWaitUntilSubscribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t}
		t.Cleanup(s.all.Wait)
		p := s.producer("p", nil, stages.OutletConfig[any]{Buffer: new(1), OnDiscard: func(n int) bool {
			t.Errorf("%d events were discarded", n)
			return false
		}})
		c := s.consumer("c")
		sub := must(c.Subscribe(p, demand(5, 0)))
		if err := sub.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // now it has asked, too
		s.push(p, numbers(1, 5)...)
		s.same("batches", [][]any{numbers(1, 5)}, only(s.happened(), "batch"))
		sub.Cancel(nil)
		if err := sub.Wait(t.Context()); err != nil {
			t.Errorf("Wait after its end = %v, want nil: it was open", err)
		}

		stopped := s.idleProducer("stopped", nil, stages.OutletConfig[any]{})
		s.start(stopped).stop()
		synctest.Wait()
		late := must(c.Subscribe(stopped, demand(5, 0)))
		if err := late.Wait(t.Context()); !errors.Is(err, stages.ErrNotRunning) {
			t.Errorf("Wait for a producer that has stopped = %v, want ErrNotRunning", err)
		}
		idle := must(c.Subscribe(s.idleProducer("idle", nil, stages.OutletConfig[any]{}), demand(5, 0)))
		idle.Cancel(nil)
		if err := idle.Wait(t.Context()); !errors.Is(err, supervisor.ErrShutdown) {
			t.Errorf("Wait for a subscription that was cancelled = %v, want ErrShutdown", err)
		}
	})
}

// What a full buffer holds leaves it as one delivery, also where its ring wraps.
func TestBufferLeavesInOnePiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t}
		t.Cleanup(s.all.Wait)
		p := s.producer("p", nil, stages.OutletConfig[any]{Buffer: new(5), OnDiscard: func(int) bool { return false }})
		c := s.consumer("c")
		sub := must(c.Subscribe(p, stages.SubscribeOptions[any]{Manual: true, Cancel: stages.Temporary}))
		for first := 0; first < 70; first += 7 {
			s.push(p, numbers(first, first+6)...)
			sub.Ask(5)
			s.same("batches", [][]any{numbers(first+2, first+6)}, only(s.happened(), "batch"))
		}
	})
}

// A partition that is taken is waited for, without asking for it over and over.
func TestTakenPartitionIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t}
		t.Cleanup(s.all.Wait)
		p := parity(s, stages.PartitionConfig[any]{Partitions: 2, Hash: func(e any) (any, int, bool) { return e, e.(int) % 2, true }})
		o := demand(5, 0)
		o.Resubscribe = true
		first := must(s.consumer("first").Subscribe(p, o))
		must(s.consumer("second").Subscribe(p, o))
		s.happened()
		s.push(p, 2)
		s.same("of the first", []entry{{"batch", "first", []any{2}}}, deliveries(s.happened()))
		first.Cancel(nil)
		s.happened()
		s.push(p, 4)
		s.same("of the second", []entry{{"batch", "second", []any{4}}}, deliveries(s.happened()))
	})
}
