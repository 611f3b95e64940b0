package stages_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// supervisedPipeline is a producer, two consumers of it, and a processor with a third, on default
// terms and in start order below a supervisor that is RestForOne. One of them crashes once.
type supervisedPipeline struct {
	spec      supervisor.Spec
	victim    string
	crash     func() error
	crashed   atomic.Bool
	restarted [][]string
	told      atomic.Int64 // how many consumers have handled an event after the crash
	healed    chan bool    // capacity 2: whether all three have, or the supervisor gave up first
}

func newSupervisedPipeline(victim string, crash func() error) *supervisedPipeline {
	p := &supervisedPipeline{victim: victim, crash: crash, healed: make(chan bool, 2)}
	p.spec = supervisor.Spec{Name: "pipeline", Strategy: supervisor.RestForOne, OnEvent: func(e supervisor.Event) {
		if e.Kind == supervisor.ChildRestarting {
			p.restarted = append(p.restarted, e.Group)
		}
		if e.Kind == supervisor.GaveUp {
			p.healed <- false
		}
	}}
	source := must(stages.NewProducer(stages.ProducerConfig[int]{
		Demand: func(_ context.Context, n int, out []int) ([]int, error) {
			if p.told.Load() < 3 {
				out = append(out, make([]int, n)...)
			}
			return out, p.work("source")
		},
	}))
	p.add("source", source)
	for _, name := range []string{"first", "second"} {
		tell := p.teller()
		c := must(stages.NewConsumer(stages.ConsumerConfig[int]{Handle: func(context.Context, []int) error {
			tell()
			return p.work(name)
		}}))
		must(c.Subscribe(source, stages.SubscribeOptions[int]{}))
		p.add(name, c)
	}
	filter := must(stages.NewProcessor(stages.ProcessorConfig[int, int]{
		Handle: func(_ context.Context, batch, out []int) ([]int, error) {
			return append(out, batch...), p.work("filter")
		},
	}))
	must(filter.Subscribe(source, stages.SubscribeOptions[int]{}))
	p.add("filter", filter)
	tell := p.teller()
	crew := must(stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[int]{
		Restart: stages.Temporary,
		Start: func(_ context.Context, _ int, slot stages.Slot[int]) error {
			return slot.Run(func() error { tell(); return nil })
		},
	}))
	must(crew.Subscribe(filter, stages.SubscribeOptions[int]{}))
	p.add("crew", crew)
	return p
}

func (p *supervisedPipeline) add(name string, stage supervisor.Runner) {
	p.spec.Children = append(p.spec.Children, supervisor.Child{Name: name, RunReady: stage.RunReady})
}

// work crashes the stage of that name if it is the victim and has not crashed yet.
func (p *supervisedPipeline) work(name string) error {
	if name == p.victim && p.crashed.CompareAndSwap(false, true) {
		return p.crash()
	}
	return nil
}

// teller returns what a consumer calls for each event.
func (p *supervisedPipeline) teller() (tell func()) {
	told := false
	return func() {
		if p.crashed.Load() && !told {
			told = true
			if p.told.Add(1) == 3 {
				p.healed <- true
			}
		}
	}
}

// A stage that crashes, in whatever way, takes along those below it, on default terms. Below a
// supervisor that is RestForOne it and they come back together, for one restart of the three that
// are allowed, and the flow goes on. Here the goroutines race as they like.
func TestRestForOneHealsACrashedStage(t *testing.T) {
	order := []string{"source", "first", "second", "filter", "crew"}
	crashes := map[string]func() error{
		"error":  func() error { return errBoom },
		"panic":  func() error { panic("once") },
		"goexit": func() error { runtime.Goexit(); return nil },
	}
	for i, victim := range order[:4] {
		for name, crash := range crashes {
			t.Run(fmt.Sprint(victim, " ", name), func(t *testing.T) {
				for range 20 {
					p := newSupervisedPipeline(victim, crash)
					stop, err := supervisor.Start(t.Context(), must(supervisor.New(p.spec)))
					if err != nil {
						t.Fatal(err)
					}
					healed := <-p.healed
					if err := stop(); err != nil || !healed {
						t.Fatalf("the supervisor ended with %v", err)
					}
					if len(p.restarted) != 1 || !slices.Equal(p.restarted[0], order[i:]) {
						t.Fatalf("one crash restarted %v, want %v once", p.restarted, order[i:])
					}
				}
			})
		}
	}
}
