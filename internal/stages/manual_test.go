package stages_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/stages"
)

// slots is how many jobs the worker of this test runs at once.
const slots = 4

// jobQueue stands for a broker's queue with its puller: pulls take time, and expire when there are
// no jobs.
type jobQueue struct {
	stage *stages.Producer[int]
	wake  chan struct{}

	mu     sync.Mutex
	jobs   []int
	pulled int // events asked for by pulls that have not been answered
}

func newJobQueue() *jobQueue {
	q := &jobQueue{wake: make(chan struct{}, 1)}
	q.stage = must(stages.NewProducer(stages.ProducerConfig[int]{
		OutletConfig: stages.OutletConfig[int]{Buffer: new(0)},
		Demand: func(_ context.Context, n int, out []int) ([]int, error) {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.pulled += n
			q.ring()
			return out, nil
		},
	}))
	return q
}

func (q *jobQueue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// put adds jobs, at the front if they come back.
func (q *jobQueue) put(jobs ...int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = append(append([]int{}, jobs...), q.jobs...)
	q.ring()
}

// Run is the producer's stage and its puller, as one child of a supervisor.
func (q *jobQueue) Run(ctx context.Context) error {
	q.mu.Lock()
	q.pulled = 0
	q.mu.Unlock()
	var pulling sync.WaitGroup
	defer pulling.Wait()
	pulling.Go(func() { q.pull(ctx) })
	return q.stage.Run(ctx)
}

func (q *jobQueue) pull(ctx context.Context) {
	expiry := time.NewTicker(time.Second)
	defer expiry.Stop()
	for {
		expired := false
		select {
		case <-q.wake:
			time.Sleep(time.Millisecond)
		case <-expiry.C:
			expired = true
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		n := min(q.pulled, len(q.jobs))
		batch := q.jobs[:n:n]
		q.jobs = q.jobs[n:]
		q.pulled -= n
		back := 0
		if expired {
			back, q.pulled = q.pulled, 0
		}
		q.mu.Unlock()
		q.hand(ctx, batch)
		q.stage.GiveBack(back)
	}
}

// hand emits a batch, and puts back what was not taken.
func (q *jobQueue) hand(ctx context.Context, batch []int) {
	if len(batch) == 0 {
		return
	}
	err := q.stage.Emit(ctx, batch)
	if surplus, ok := errors.AsType[*stages.SurplusError](err); ok {
		batch = batch[len(batch)-surplus.Events:]
	}
	if err != nil {
		q.put(batch...)
	}
}

// worker decides which queue to ask for the slots that are free. All of its state is the runner's
// goroutine's.
type worker struct {
	runner *stages.ConsumerSupervisor[int]
	subs   []*stages.Subscription[int]
	open   map[*stages.Subscription[int]]bool
	free   int
	turn   int
}

func (w *worker) Run(ctx context.Context) error {
	clear(w.open)
	w.free = slots
	return w.runner.Run(ctx)
}

// ask spreads free slots over the open queues, each in its turn.
func (w *worker) ask() {
	for closed := 0; w.free > 0 && closed < len(w.subs); {
		w.turn++
		sub := w.subs[w.turn%len(w.subs)]
		if !w.open[sub] {
			closed++
			continue
		}
		closed = 0
		w.free--
		sub.Ask(1)
	}
}

func (w *worker) hooks() stages.Hooks[int] {
	return stages.Hooks[int]{
		OnSubscribe: func(s *stages.Subscription[int]) { w.open[s] = true; w.ask() },
		OnCancel:    func(s *stages.Subscription[int], _ error) { w.open[s] = false },
		OnReturn:    func(_ *stages.Subscription[int], n int) { w.free += n; w.ask() },
	}
}

// A worker with manual demand never runs more jobs than it has slots, runs every job once, and
// stands still only when there is nothing to do: however pullers and the runner are stopped and run
// again.
func TestManualDemandSharesSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, shareSlots)
	})
}

func shareSlots(t *rapid.T) {
	var mu sync.Mutex
	running, ran := 0, map[int]int{}
	var jobs sync.WaitGroup
	w := &worker{open: map[*stages.Subscription[int]]bool{}}
	w.runner = must(stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[int]{
		Hooks:   w.hooks(),
		Restart: stages.Temporary,
		OnFree:  func(n int) { w.free += n; w.ask() },
		Start: func(_ context.Context, job int, slot stages.Slot[int]) error {
			mu.Lock()
			defer mu.Unlock()
			ran[job]++
			if running++; running > slots {
				t.Errorf("%d jobs run at once, want at most %d", running, slots)
			}
			jobs.Go(func() {
				time.Sleep(time.Duration(job%7) * time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				slot.Ended(nil)
			})
			return nil
		},
	}))
	world := &world{T: t, stages: map[string]*actor{"runner": {run: w.Run}}}
	var queues []*jobQueue
	for i := range rapid.IntRange(1, 3).Draw(t, "queues") {
		q := newJobQueue()
		queues = append(queues, q)
		world.stages[fmt.Sprint("queue ", i)] = &actor{run: q.Run}
		w.subs = append(w.subs, must(w.runner.Subscribe(q.stage, stages.SubscribeOptions[int]{
			Manual: true, Cancel: stages.Temporary, Resubscribe: true,
		})))
	}
	for _, a := range world.stages {
		world.start(a)
	}
	put := 0
	for range rapid.IntRange(1, 20).Draw(t, "steps") {
		for range rapid.IntRange(0, 10).Draw(t, "jobs") {
			queues[rapid.IntRange(0, len(queues)-1).Draw(t, "queue")].put(put)
			put++
		}
		if _, a := world.pick(); a.running() {
			a.stop()
			if rapid.Bool().Draw(t, "wait") {
				<-a.done
			}
		} else {
			world.start(a)
		}
		time.Sleep(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
	}
	world.finish()
	jobs.Wait()
	for job := range put {
		if ran[job] != 1 {
			var left [][]int
			for _, q := range queues {
				left = append(left, q.jobs)
			}
			t.Fatalf("job %d ran %d times; left %v; %d slots free, open %v", job, ran[job], left, w.free, w.open)
		}
	}
}

// finish runs every stage until nothing is left to do, and stops them all.
func (w *world) finish() {
	for _, a := range w.stages {
		if a.running() {
			a.stop()
			<-a.done
		}
		w.start(a)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	for _, a := range w.stages {
		a.stop()
	}
	w.all.Wait()
}
