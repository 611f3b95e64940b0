package millhand

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/supervisor"
)

// startWithin is how long a job in hand may wait for a slot before it is handed back
// for another worker.
const startWithin = time.Second

// runner runs the jobs of one queue, each as a supervised child of its own.
type runner struct {
	worker *Worker
	jobs   *supervisor.Dynamic
	wake   chan struct{}

	mu       sync.Mutex
	waiting  []waitingJob             // in hand, without a slot yet, oldest first
	running  map[*queue.Held]struct{} // handlers that have not returned
	draining bool
}

type waitingJob struct {
	*queue.Held
	since time.Time
}

func newRunner(w *Worker, queueName string) (*runner, error) {
	jobs, err := supervisor.NewDynamic(supervisor.DynamicSpec{Name: "jobs of " + queueName})
	if err != nil {
		return nil, err
	}
	return &runner{worker: w, jobs: jobs, wake: make(chan struct{}, 1), running: make(map[*queue.Held]struct{})}, nil
}

// Tree implements [supervisor.Part].
func (r *runner) Tree() supervisor.Node { return r.jobs.Tree() }

// emit takes jobs in hand.
func (r *runner) emit(jobs []*queue.Held) {
	now := time.Now()
	r.mu.Lock()
	for _, h := range jobs {
		r.waiting = append(r.waiting, waitingJob{Held: h, since: now})
	}
	r.mu.Unlock()
	r.ring()
}

func (r *runner) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// drain has everything handed back that has not started.
func (r *runner) drain() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.ring()
}

// RunReady implements [supervisor.Part]: it starts jobs as slots come free until ctx
// ends, and hands back what then still runs.
func (r *runner) RunReady(ctx context.Context, ready func()) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { r.dispatch(ctx) })
	err := r.jobs.RunReady(ctx, ready)
	cancel()
	wg.Wait()
	r.handBackAll()
	return err
}

// handBackAll gives up what is left: jobs without a slot, and handlers that ignored
// their context for too long.
func (r *runner) handBackAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.waiting {
		r.refuse(h.Held)
	}
	r.waiting = nil
	for h := range r.running {
		delete(r.running, h)
		r.worker.settler.Settle(h, queue.Outcome{Kind: job.EventHandedBack})
	}
}

// refuse hands a job back that did not start.
func (r *runner) refuse(h *queue.Held) {
	r.worker.settler.Settle(h, queue.Outcome{})
	h.Finished()
}

func (r *runner) dispatch(ctx context.Context) {
	for {
		next, ok := r.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
				continue
			}
		}
		if !r.takeSlot(ctx, next.since) {
			r.refuse(next.Held)
			continue
		}
		r.start(next.Held)
	}
}

func (r *runner) next() (waitingJob, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return waitingJob{}, false
	}
	next := r.waiting[0]
	r.waiting = r.waiting[1:]
	return next, true
}

// takeSlot waits for a free slot, not beyond what is left of a second since the job came.
func (r *runner) takeSlot(ctx context.Context, since time.Time) bool {
	r.mu.Lock()
	draining := r.draining
	r.mu.Unlock()
	if draining {
		return false
	}
	select {
	case r.worker.slots <- struct{}{}:
		return true
	default:
	}
	timeout := time.NewTimer(time.Until(since.Add(startWithin)))
	defer timeout.Stop()
	select {
	case r.worker.slots <- struct{}{}:
		return true
	case <-timeout.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// start runs a job as a child of its own.
func (r *runner) start(h *queue.Held) {
	r.mu.Lock()
	r.running[h] = struct{}{}
	r.mu.Unlock()
	err := r.jobs.Start(supervisor.Child{
		Name: h.ID, Restart: supervisor.Temporary, StopTimeout: handlerGrace,
		Run: func(ctx context.Context) error { r.run(ctx, h); return nil },
	})
	if err != nil { // the runner is stopping
		r.leave(h)
		<-r.worker.slots
		r.refuse(h)
	}
}

// leave reports whether h was still the runner's: it is not after it was handed back.
func (r *runner) leave(h *queue.Held) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.running[h]
	delete(r.running, h)
	return ok
}

// run is the life of a job's goroutine: one attempt, then its settlement.
func (r *runner) run(ctx context.Context, h *queue.Held) {
	defer func() {
		<-r.worker.slots
		h.Finished()
	}()
	o, err := r.attempt(ctx, h)
	if !r.leave(h) {
		return
	}
	if err != nil {
		r.worker.keeper.Release(h)
		r.worker.log.WarnContext(ctx, "lease lost: the job runs elsewhere", "job_id", h.ID, "type", h.Type, "queue", h.Queue)
		return
	}
	r.worker.settler.Settle(h, o)
}

// attempt runs the handler. The error is that the lease was lost: there is nothing to settle.
func (r *runner) attempt(ctx context.Context, h *queue.Held) (queue.Outcome, error) {
	if err := h.Start(); err != nil {
		return queue.Outcome{}, err
	}
	settings := r.worker.cfg.Types[h.Type]
	// Detached, so that the handler sees why it is to stop in this package's terms.
	stopping := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(stopping, func() { cancel(ErrHandedBack) })()
	h.OnLost(func() { cancel(ErrLeaseLost) })
	defer h.OnLost(func() {})
	if timeout := firstPositive(h.Timeout, settings.Timeout); timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer stop()
	}
	result, err := r.call(ctx, h)
	if leaseErr := h.Alive(); leaseErr != nil {
		return queue.Outcome{}, leaseErr
	}
	return outcome(h, settings, result, err, context.Cause(ctx)), nil
}

func firstPositive[T int | time.Duration](a, b T) T {
	if a > 0 {
		return a
	}
	return b
}

// call is the handler with panics turned into errors.
func (r *runner) call(ctx context.Context, h *queue.Held) (result []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: string(debug.Stack())}
		}
	}()
	handle, ok := r.worker.cfg.Mux.handlers[h.Type]
	if !ok {
		return nil, errNoHandler
	}
	return handle(ctx, &Job[Raw]{
		Ref: refOf(&h.Record), Attempt: h.Attempt, MaxAttempts: r.maxAttempts(h), Crashes: h.Crashes,
		EnqueuedAt: h.EnqueuedAt.UTC(), Meta: h.Meta, Args: Raw{Name: h.Type, Payload: h.Payload},
		leaseUntil: h.LeaseUntil,
	})
}

func (r *runner) maxAttempts(h *queue.Held) int {
	return maxAttempts(h, r.worker.cfg.Types[h.Type])
}

func maxAttempts(h *queue.Held, settings TypeConfig) int {
	n := firstPositive(h.MaxAttempts, settings.MaxAttempts)
	return firstPositive(n, job.DefaultMaxAttempts)
}

type panicError struct {
	value any
	stack string
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// outcome decides what follows a run that ended with err, its context with cause.
func outcome(h *queue.Held, settings TypeConfig, result []byte, err, cause error) queue.Outcome {
	if err == nil {
		return queue.Outcome{Kind: job.EventSucceeded, Result: result}
	}
	var (
		panicked, _  = errors.AsType[*panicError](err)
		permanent, _ = errors.AsType[*permanentError](err)
		malformed, _ = errors.AsType[*malformedError](err)
		later, _     = errors.AsType[*laterError](err)
	)
	o := queue.Outcome{Kind: job.EventRetrying, Error: err.Error()}
	if panicked != nil {
		o.Stack = panicked.stack
	}
	switch {
	case errors.Is(cause, ErrHandedBack) && panicked == nil && permanent == nil:
		return queue.Outcome{Kind: job.EventHandedBack}
	case later != nil && !later.attempt:
		return queue.Outcome{Kind: job.EventSnoozed, Delay: max(later.delay, time.Millisecond)}
	case malformed != nil:
		o.Kind, o.Reason = job.EventDead, job.ReasonMalformed
	case permanent != nil:
		o.Kind, o.Reason = job.EventDead, job.ReasonPermanent
	case h.Attempt >= maxAttempts(h, settings):
		o.Kind, o.Reason = job.EventDead, job.ReasonExhausted
	case later != nil:
		o.Delay = max(later.delay, 0)
	default:
		o.Delay = job.Backoff(settings.Backoff).Delay(h.Attempt, rand.Float64())
	}
	if errors.Is(cause, ErrTimeout) {
		o.Error = fmt.Sprintf("timed out after %v: %v", firstPositive(h.Timeout, settings.Timeout), err)
	}
	return o
}
