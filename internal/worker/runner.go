package worker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// runner is the consuming end of one queue: a consumer supervisor that starts each job
// as a supervised child of its own. It asks its pullers for as much as there are slots.
type runner struct {
	worker  *Worker
	stage   *stages.ConsumerSupervisor[*queue.Delivery]
	jobs    *supervisor.Dynamic
	sources map[*stages.Subscription[*queue.Delivery]]*slots.Source // complete before the stage runs

	mu       sync.Mutex
	running  map[*queue.Delivery]*attempt // those whose handler has not returned
	stop     context.Context              //nolint:containedctx // of the attempts that are started now
	detached context.Context              //nolint:containedctx // stop without its end
}

func newRunner(w *Worker, queueName string) (*runner, error) {
	r := &runner{
		worker: w, running: make(map[*queue.Delivery]*attempt),
		sources: make(map[*stages.Subscription[*queue.Delivery]]*slots.Source),
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
	ready()
	return r.stage.Run(ctx)
}

// Tree implements [supervisor.Part].
func (r *runner) Tree() supervisor.Node { return r.jobs.Tree() }

// start runs a job as a child of its own, whose stop is the stage's.
func (r *runner) start(stop context.Context, h *queue.Delivery, slot stages.Slot[*queue.Delivery]) error {
	typ := r.worker.cfg.Types[h.Type]
	a := &attempt{runner: r, held: h, stop: stop, slot: slot, handler: typ.Handler, settings: typ.Settings.forJob(h)}
	// Detached, so that the handler sees why it is to stop in this package's terms.
	a.ctx, a.cancel = context.WithCancelCause(r.detach(stop))
	err := r.jobs.StartFunc(h.ID, func() { r.run(a) }) //nolint:contextcheck // the stop of an attempt is in it
	if err != nil {                                    // the tree is being stopped
		a.cancel(nil)
		r.refuse(h)
	}
	return err
}

// detach returns stop without its end, which from now on ends the attempts. All that a
// run of the stage starts have the same.
func (r *runner) detach(stop context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != stop {
		r.stop, r.detached = stop, context.WithoutCancel(stop)
		context.AfterFunc(stop, func() { r.handBack(stop) })
	}
	return r.detached
}

// handBack ends the attempts of a stage that stops.
func (r *runner) handBack(stop context.Context) {
	r.mu.Lock()
	attempts := slices.Collect(maps.Values(r.running))
	r.mu.Unlock()
	for _, a := range attempts {
		if a.stop == stop {
			a.end(job.ErrHandedBack)
		}
	}
}

func jobAttrs(h *queue.Delivery) []any {
	return []any{
		slog.String("job_id", h.ID), slog.String("type", h.Type), slog.String("queue", h.Queue), slog.Int("attempt", h.Attempt),
	}
}

// refuse hands a job back that did not start.
func (r *runner) refuse(h *queue.Delivery) {
	r.worker.settler.Settle(h, queue.Outcome{})
	h.Finished()
}

// run is the life of a job's goroutine: a slot, one attempt, its settlement.
func (r *runner) run(a *attempt) {
	defer a.cancel(nil)
	if end, ok := a.start(); !ok {
		r.settle(a.held, end)
		a.slot.Ended(nil)
		return
	}
	r.mu.Lock()
	r.running[a.held] = a
	r.mu.Unlock()
	if a.stop.Err() != nil { // handBack may have missed it
		a.end(job.ErrHandedBack)
	}
	var end ending
	returned := false
	defer func() {
		if !returned {
			end = a.unreturned()
		}
		if !r.leave(a) {
			a.held.CameBack()
			r.worker.abandoned.Add(-1) // it was given up
			return
		}
		r.settle(a.held, end)
		a.slot.Ended(nil)
	}()
	end = a.run()
	returned = true
}

// leave takes a from those that run: only once, since it may have been given up.
func (r *runner) leave(a *attempt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, running := r.running[a.held]
	delete(r.running, a.held)
	if a.grace != nil {
		a.grace.Stop()
	}
	return running
}

// settle gives a job's slot back and passes on how the job ended. Slots come first: jobs that
// end at the same time have theirs asked for together, and the next ones come while the ends
// of these are written.
func (r *runner) settle(h *queue.Delivery, e ending) {
	admitted := false
	if e.lost != nil {
		r.worker.outcomes.add(job.EventLost)
		r.worker.renewer.Release(h)
		r.worker.log.Warn("lease lost: the job may run elsewhere, and its outcome here is not kept", jobAttrs(h)...)
	} else {
		r.worker.outcomes.add(e.Kind)
		admitted = r.worker.settler.Admit(h, &e.Outcome)
	}
	h.Finished()
	if admitted {
		r.worker.settler.Take(h, e.Outcome)
	}
}

// abandon gives up a handler that ignores the end of its context. Its goroutine cannot be
// stopped; its slot can be given back, but not for ever more of them.
func (r *runner) abandon(a *attempt, e ending) {
	if !r.leave(a) {
		return
	}
	defer a.slot.Ended(nil)
	h := a.held
	h.GiveUp()
	e.Stack = r.jobs.Stacks(h.ID)
	r.worker.log.Error("handler ignores the end of its context: given up, its slot is free",
		append(jobAttrs(h), slog.String("cause", e.Error), slog.String("stack", e.Stack))...)
	r.settle(h, e)
	r.worker.onAbandoned()
}
