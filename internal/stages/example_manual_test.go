package stages_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/millhand/millhand/internal/stages"
)

// puller stands for a broker's queue. Its stage turns demand into pulls; its own goroutine answers
// them.
type puller struct {
	stage *stages.Producer[string]
	pulls chan int // capacity: the slots, since no pull is for less than one event
	jobs  []string
}

func newPuller(slots int, jobs ...string) *puller {
	p := &puller{pulls: make(chan int, slots), jobs: jobs}
	p.stage, _ = stages.NewProducer(stages.ProducerConfig[string]{
		OutletConfig: stages.OutletConfig[string]{Buffer: new(0)},
		Demand: func(_ context.Context, n int, out []string) ([]string, error) {
			p.pulls <- n // a pull request of batch n is sent
			return out, nil
		},
	})
	return p
}

// pull answers the pull requests: with jobs, or with what is left of the demand once the queue is
// empty.
func (p *puller) pull(ctx context.Context) {
	for {
		select {
		case n := <-p.pulls:
			batch := p.jobs[:min(n, len(p.jobs))]
			p.jobs = p.jobs[len(batch):]
			if err := p.stage.Emit(ctx, batch); err != nil {
				return // the jobs in batch were not taken: hand them back to the broker
			}
			p.stage.GiveBack(n - len(batch)) // the pull expired
		case <-ctx.Done():
			return
		}
	}
}

// Two queues share three slots. The consumer supervisor decides whom to ask: the urgent queue until
// it has nothing more, then the other one.
func Example_manualDemand() {
	const slots = 3
	urgent, normal := newPuller(slots, "u1", "u2"), newPuller(slots, "n1", "n2", "n3", "n4")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	var jobs sync.WaitGroup // stands for a dynamic supervisor
	var mu sync.Mutex
	var done []string
	var first, second *stages.Subscription[string]
	open := 0
	runner, _ := stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[string]{
		Restart: stages.Temporary,
		Start: func(_ context.Context, job string, slot stages.Slot[string]) error {
			jobs.Go(func() {
				mu.Lock()
				if done = append(done, job); len(done) == 6 {
					stop()
				}
				mu.Unlock()
				slot.Ended(nil)
			})
			return nil
		},
		OnFree: func(n int) { first.Ask(n) },
		Hooks: stages.Hooks[string]{
			OnSubscribe: func(*stages.Subscription[string]) {
				if open++; open == 2 {
					first.Ask(slots)
				}
			},
			OnReturn: func(from *stages.Subscription[string], n int) {
				if from == first {
					second.Ask(n) // the urgent queue is empty: its slots go to the normal one
				}
			},
		},
	})
	manual := stages.SubscribeOptions[string]{Manual: true, Cancel: stages.Temporary, Resubscribe: true}
	first, _ = runner.Subscribe(urgent.stage, manual)
	second, _ = runner.Subscribe(normal.stage, manual)

	var all sync.WaitGroup
	all.Go(func() { urgent.pull(ctx) })
	all.Go(func() { normal.pull(ctx) })
	for _, run := range []func(context.Context) error{urgent.stage.Run, normal.stage.Run, runner.Run} {
		all.Go(func() { fmt.Println("stopped:", run(ctx)) })
	}
	all.Wait()
	jobs.Wait()
	slices.Sort(done)
	fmt.Println(done)
	// Output:
	// stopped: <nil>
	// stopped: <nil>
	// stopped: <nil>
	// [n1 n2 n3 n4 u1 u2]
}
