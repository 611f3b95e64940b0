package stages_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/stages"
)

// world is a producer, a processor and consumers that are stopped, made to fail and run again at
// random.
type world struct {
	*rapid.T
	all    sync.WaitGroup
	stages map[string]*actor
	subs   []*stages.Subscription[int]
	limit  int // events that the producer has in all

	mu      sync.Mutex
	next    int
	got     map[string][]int
	lost    map[int]bool // were in the hands of a handler that failed
	failing map[string]bool
}

// actor is one stage and its present Run.
type actor struct {
	run  func(context.Context) error
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned
}

func (a *actor) running() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

var errHandler = errors.New("handler failed")

// handle lets time pass, and fails if it is this stage's turn to.
func (w *world) handle(name string, batch []int) error {
	time.Sleep(time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.failing[name] {
		return nil
	}
	w.failing[name] = false
	for _, event := range batch {
		w.lost[event] = true
	}
	return errHandler
}

func newWorld(t *rapid.T) *world {
	w := &world{T: t, limit: 200, got: map[string][]int{}, lost: map[int]bool{}, failing: map[string]bool{}}
	w.stages = map[string]*actor{}
	p := must(stages.NewProducer(stages.ProducerConfig[int]{
		OutletConfig: stages.OutletConfig[int]{Buffer: new(stages.Unlimited)},
		Demand: func(_ context.Context, n int, out []int) ([]int, error) {
			if err := w.handle("p", nil); err != nil {
				return nil, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			for n += w.next % 3; n > 0 && w.next < w.limit; n-- { // sometimes more than it was asked for
				out = append(out, w.next)
				w.next++
			}
			return out, nil
		},
	}))
	d := must(stages.NewProcessor(stages.ProcessorConfig[int, int]{
		Handle: func(_ context.Context, batch, out []int) ([]int, error) {
			return append(out, batch...), w.handle("d", batch)
		},
	}))
	w.stages["p"], w.stages["d"] = &actor{run: p.Run}, &actor{run: d.Run}
	w.subs = append(w.subs, must(d.Subscribe(p, w.terms())))
	for i := range rapid.IntRange(1, 3).Draw(t, "consumers") {
		w.consumer(fmt.Sprint("c", i), d)
	}
	return w
}

func (w *world) consumer(name string, src stages.Source[int]) {
	c := must(stages.NewConsumer(stages.ConsumerConfig[int]{Handle: func(_ context.Context, batch []int) error {
		if len(batch) < 1 || len(batch) > maxTerms { // I2
			w.Errorf("batch of %d", len(batch))
		}
		if err := w.handle(name, batch); err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.got[name] = append(w.got[name], batch...)
		return nil
	}}))
	w.stages[name] = &actor{run: c.Run}
	w.subs = append(w.subs, must(c.Subscribe(src, w.terms())))
}

// maxTerms bounds the max demand of all subscriptions.
const maxTerms = 8

func (w *world) terms() stages.SubscribeOptions[int] {
	maxDemand := rapid.IntRange(1, maxTerms).Draw(w.T, "max")
	minDemand := rapid.IntRange(0, maxDemand-1).Draw(w.T, "min")
	return stages.SubscribeOptions[int]{
		MaxDemand: maxDemand, MinDemand: &minDemand, Cancel: stages.Temporary, Resubscribe: true,
	}
}

func (w *world) start(a *actor) {
	ctx, stop := context.WithCancel(context.Background())
	a.stop, a.done = stop, make(chan struct{})
	done := a.done
	w.all.Go(func() {
		defer close(done)
		defer stop()
		if err := a.run(ctx); err != nil && !errors.Is(err, errHandler) {
			w.Errorf("Run = %v", err)
		}
	})
}

func (w *world) pick() (string, *actor) {
	names := make([]string, 0, len(w.stages))
	for name := range w.stages {
		names = append(names, name)
	}
	slices.Sort(names)
	name := rapid.SampledFrom(names).Draw(w.T, "stage")
	return name, w.stages[name]
}

// I3, and that no demand is lost: whatever stages stopped or failed, every event arrives once and
// in order at one consumer, but for those in the hands of a handler that failed; and when all run
// again the flow does not stand still.
func TestNothingIsLostOverRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			w := newWorld(t)
			for _, a := range w.stages {
				w.start(a)
			}
			for range rapid.IntRange(1, 20).Draw(t, "steps") {
				w.step()
			}
			w.mu.Lock()
			clear(w.failing)
			w.mu.Unlock()
			synctest.Wait() // those that have failed have ended
			for _, a := range w.stages {
				if !a.running() {
					w.start(a)
				}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			w.check()
			for _, a := range w.stages {
				a.stop()
			}
			w.all.Wait()
		})
	})
}

func (w *world) step() {
	name, a := w.pick()
	switch rapid.IntRange(0, 3).Draw(w.T, "action") {
	case 0:
		a.stop()
		<-a.done
	case 1:
		w.mu.Lock()
		w.failing[name] = true
		w.mu.Unlock()
	case 2:
		if !a.running() {
			w.start(a)
		}
	case 3:
		i := rapid.IntRange(0, len(w.subs)-1).Draw(w.T, "subscription")
		w.subs[i] = must(w.subs[i].Resubscribe(nil, w.terms()))
	}
	time.Sleep(time.Duration(rapid.IntRange(0, 5).Draw(w.T, "ms")) * time.Millisecond)
}

func (w *world) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != w.limit {
		w.Errorf("the flow stands still after %d of %d events", w.next, w.limit)
	}
	fates := make([]int, w.limit)
	for event := range w.lost {
		fates[event]++
	}
	for name, events := range w.got {
		if !slices.IsSorted(events) {
			w.Errorf("%s got %v", name, events)
		}
		for _, event := range events {
			fates[event]++
		}
	}
	for event, n := range fates[:w.next] {
		if n != 1 {
			w.Errorf("event %d has %d fates", event, n)
		}
	}
}
