package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/tally"
)

// runner is the consuming end of one queue: a consumer supervisor that starts each job
// as a supervised child of its own. It asks its pullers for as much as there are slots.
type runner struct {
	worker  *Worker
	stage   *stages.ConsumerSupervisor[*queue.Delivery]
	jobs    *supervisor.Dynamic
	sources map[*stages.Subscription[*queue.Delivery]]*slots.Source // complete before the stage runs
	counts  map[string]*tally.Live                                  // by type
	batches map[string]*gatherer                                    // by type, of those whose jobs are handled many at once

	lastPassed <-chan struct{} // of the job that came last; of the stage

	mu       sync.Mutex
	running  map[*attempt]struct{} // those that have started and not finished
	stopping bool                  // whatever runs is to be handed back
}

func newRunner(w *Worker, queueName string, types ...string) (*runner, error) {
	r := &runner{
		worker: w, running: make(map[*attempt]struct{}),
		sources: make(map[*stages.Subscription[*queue.Delivery]]*slots.Source),
		counts:  make(map[string]*tally.Live),
		batches: make(map[string]*gatherer),
	}
	for _, typ := range types {
		r.counts[typ] = w.counts.Of(queueName, typ)
	}
	var err error
	if r.jobs, err = supervisor.NewDynamic(supervisor.DynamicSpec{Name: "jobs of " + queueName}); err != nil {
		return nil, err
	}
	r.stage, err = stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[*queue.Delivery]{
		Start: r.start, Restart: stages.Temporary,
		Grace: new(time.Duration(0)), // a job is told at once that its runner stops
		Hooks: stages.Hooks[*queue.Delivery]{
			OnSubscribe: func(s *stages.Subscription[*queue.Delivery]) { r.sources[s].Open(s.Ask) },
			OnCancel:    func(s *stages.Subscription[*queue.Delivery], _ error) { r.sources[s].Shut() },
			OnReturn:    func(s *stages.Subscription[*queue.Delivery], n int) { r.sources[s].Returned(n) },
		},
	})
	return r, err
}

// subscribe makes p a source of jobs. The slots ask, not the stage.
func (r *runner) subscribe(p *queue.Puller) error {
	s, err := r.stage.Subscribe(p.Stage(), stages.SubscribeOptions[*queue.Delivery]{
		Manual: true, Cancel: stages.Temporary, Resubscribe: true,
	})
	if err != nil {
		return err
	}
	r.sources[s] = p.Source()
	_, typ := p.Source().Place()
	if b := r.worker.cfg.Types[typ].Batch; b != nil {
		r.batches[typ] = newGatherer(r, b, p.Source())
	}
	return nil
}

// RunReady implements [supervisor.Part]: the stage starts children for as long as they
// are admitted, so both run and end together.
func (r *runner) RunReady(ctx context.Context, ready func()) (err error) {
	// Detached: the children are stopped after the stage that starts them.
	stopJobs, err := supervisor.Start(context.WithoutCancel(ctx), r.jobs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopJobs()) }()
	ctx, stop := context.WithCancel(ctx)
	r.mu.Lock()
	r.stopping = false
	r.mu.Unlock()
	var handingBack sync.WaitGroup
	defer handingBack.Wait()
	defer stop() // the stage may have ended by itself
	handingBack.Go(func() {
		<-ctx.Done()
		r.handBack()
	})
	stopped := make(chan struct{})
	var gathering sync.WaitGroup
	for _, g := range r.batches {
		gathering.Go(func() { g.run(ctx, stopped) })
	}
	defer gathering.Wait()
	defer close(stopped) // jobs came until the stage ended
	ready()
	return r.stage.Run(ctx)
}

// Tree implements [supervisor.Part].
func (r *runner) Tree() supervisor.Node { return r.jobs.Tree() }

// start runs a job as a child of its own. Its ctx is the stage's.
func (r *runner) start(ctx context.Context, h *queue.Delivery, slot stages.Slot[*queue.Delivery]) error {
	typ := r.worker.typeOf(h.Type)
	a := &attempt{runner: r, held: h, slot: slot, handler: typ.Handler, settings: typ.Settings.forJob(h)}
	if typ.Pass != nil {
		r.passOn(a, typ.Pass)
	}
	if typ.Batch != nil {
		a.batch, a.inBatch = typ.Batch, new(BatchJob)
		r.batches[h.Type].add(a)
		return nil
	}
	err := r.jobs.StartFunc(h.ID, func() { a.live(ctx) })
	if err != nil { // the tree is being stopped
		if a.passed != nil {
			a.passed.Gone()
		}
		r.settle(h, ending{}) // as handed back
	}
	return err
}

// handBack ends the attempts of a runner that stops, and those that start from now on.
func (r *runner) handBack() {
	r.mu.Lock()
	r.stopping = true
	attempts := slices.Collect(maps.Keys(r.running))
	r.mu.Unlock()
	for _, a := range attempts {
		a.end(job.ErrHandedBack)
	}
}

// add notes an attempt that has started.
func (r *runner) add(a *attempt) {
	r.mu.Lock()
	r.running[a] = struct{}{}
	stopping := r.stopping
	r.mu.Unlock()
	if stopping {
		a.end(job.ErrHandedBack)
	}
}

// ending notes that an attempt ends, and returns how, which an order to cancel its job may have changed:
// whoever gave it was told that the job ends.
func (r *runner) ending(a *attempt, end ending) ending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.order != nil && end.Kind != job.EventSucceeded {
		end.Outcome = queue.CancelledBy(a.order)
	}
	a.ended, a.final = true, end.lost == nil && end.Kind.Final()
	if a.grace != nil {
		a.grace.Stop()
	}
	return end
}

// remove notes that it has finished, and that the settler has its end.
func (r *runner) remove(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, a)
}

// settle gives a job's slot back and passes on how the job ended. Slots come first: jobs that
// end at the same time have theirs asked for together, and the next ones come while the ends
// of these are written.
func (r *runner) settle(h *queue.Delivery, e ending) {
	admitted := false
	if e.lost != nil {
		r.dropLost(h)
	} else {
		if e.Ended {
			r.worker.outcomes.add("") // it is no run
		} else {
			r.worker.outcomes.add(e.Kind)
		}
		admitted = r.worker.settler.Admit(h, &e.Outcome)
	}
	if ran := h.Finished(); ran > 0 {
		r.counts[h.Type].Ran(ran)
	}
	if admitted {
		r.worker.settler.Take(h, e.Outcome)
	}
}

// dropLost leaves a job alone whose lease is lost.
func (r *runner) dropLost(h *queue.Delivery) {
	r.worker.outcomes.add(job.EventLost)
	r.counts[h.Type].Inc(tally.LostLeases)
	r.worker.renewer.Release(h)
	r.worker.log.Warn("lease lost: the job may run elsewhere, and its outcome here is not kept", h.LogAttrs()...)
}
