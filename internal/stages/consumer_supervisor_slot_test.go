package stages_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// childEnd is a way for a child to end, and what is known of it then.
type childEnd struct {
	end             func() error
	failed, crashed bool
}

var childEnds = map[string]childEnd{
	"return":   {end: func() error { return nil }},
	"shutdown": {end: func() error { return supervisor.ErrShutdown }},
	"error":    {end: func() error { return errBoom }, failed: true},
	"panic":    {end: func() error { panic(errBoom) }, failed: true, crashed: true},
	"goexit":   {end: func() error { runtime.Goexit(); return nil }, failed: true, crashed: true},
}

// The slot of a child comes back whatever the child does and wherever it runs, and Run returns.
func TestChildrenThatEndInAnyWay(t *testing.T) {
	for name, way := range childEnds {
		for mode, restart := range map[string]stages.Mode{"temporary": stages.Temporary, "transient": stages.Transient} {
			t.Run(name+" "+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var runs atomic.Int64
					endChildren(t, way, &runs, stages.ConsumerSupervisorConfig[int]{
						Restart: restart,
						Run: func(context.Context, int) error {
							runs.Add(1)
							return way.end()
						},
					})
				})
			})
			t.Run(name+" "+mode+" below a Dynamic", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var runs atomic.Int64
					d := must(supervisor.NewDynamic(supervisor.DynamicSpec{Name: "children"}))
					stop := must(supervisor.Start(t.Context(), d))
					endChildren(t, way, &runs, stages.ConsumerSupervisorConfig[int]{
						Restart: restart,
						Start: func(_ context.Context, event int, slot stages.Slot[int]) error {
							return d.StartFunc(strconv.Itoa(event), func() {
								runs.Add(1)
								_ = slot.Run(way.end)
							})
						},
					})
					if err := stop(); err != nil {
						t.Errorf("the supervisor of the children ended with %v", err)
					}
				})
			})
		}
	}
}

// endChildren runs a stage whose children all end in one way, and checks what became of their
// slots.
func endChildren(t *testing.T, way childEnd, runs *atomic.Int64, c stages.ConsumerSupervisorConfig[int]) {
	t.Helper()
	const events = 4
	freed := 0
	var reasons []error
	c.OnFree = func(n int) { freed += n }
	c.OnGiveUp = func(_ int, err error) { reasons = append(reasons, err) }
	s := must(stages.NewConsumerSupervisor(c))
	p := must(stages.FromSeq(slices.Values(make([]int, events)), stages.ProducerConfig[int]{}))
	must(s.Subscribe(p, stages.SubscribeOptions[int]{MaxDemand: 1}))
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	if err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}

	failures, tries := 0, 1
	if way.failed {
		failures = events
	}
	if way.failed && c.Restart == stages.Transient {
		tries += stages.DefaultMaxRestarts
	}
	if freed != events || len(reasons) != failures || runs.Load() != int64(events*tries) {
		t.Errorf("%d slots came back and %d children were given up after %d runs, want %d, %d and %d",
			freed, len(reasons), runs.Load(), events, failures, events*tries)
	}
	for _, err := range reasons {
		if errors.Is(err, stages.ErrCrashed) != way.crashed {
			t.Errorf("given up for %v", err)
		}
	}
}

// A child that panics inside its slot is known for what it did, below the supervisor that runs it
// too.
func TestSlotTellsHowItsChildEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got error
		s := must(stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[int]{
			Restart: stages.Temporary,
			Start: func(_ context.Context, _ int, slot stages.Slot[int]) error {
				got = slot.Run(func() error { panic(errBoom) })
				return nil
			},
		}))
		p := must(stages.FromSeq(slices.Values([]int{1}), stages.ProducerConfig[int]{}))
		must(s.Subscribe(p, stages.SubscribeOptions[int]{}))
		stop := must(supervisor.Start(t.Context(), s))
		if err := p.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Errorf("stop = %v", err)
		}
		if _, ok := errors.AsType[*supervisor.PanicError](got); !ok || !errors.Is(got, stages.ErrCrashed) || !errors.Is(got, errBoom) {
			t.Errorf("slot.Run = %v, want the panic", got)
		}
	})
}

// A child that tells of its end twice frees one slot, and ends no later run of itself.
func TestChildThatEndsTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slots []stages.Slot[int]
		freed := 0
		s := must(stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[int]{
			Restart: stages.Transient,
			Start: func(_ context.Context, _ int, slot stages.Slot[int]) error {
				slots = append(slots, slot)
				return nil
			},
			OnFree: func(n int) { freed += n },
		}))
		p := must(stages.NewProducer(stages.ProducerConfig[int]{}))
		sub := must(s.Subscribe(p, stages.SubscribeOptions[int]{Cancel: stages.Temporary}))
		go func() { _ = p.Run(t.Context()) }()
		go func() { _ = s.Run(t.Context()) }()
		if err := sub.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Emit(t.Context(), []int{1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		first := slots[0].Ended
		first(errBoom)
		first(errBoom)
		synctest.Wait()
		first(nil)
		synctest.Wait()
		if len(slots) != 2 || freed != 0 {
			t.Fatalf("%d starts and %d free slots, want 2 and 0", len(slots), freed)
		}
		second := slots[1].Ended
		second(nil)
		second(nil)
		synctest.Wait()
		if freed != 1 {
			t.Errorf("%d slots are free, want 1", freed)
		}
	})
}
