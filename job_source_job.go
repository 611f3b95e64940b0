package millhand

import (
	"context"
	"errors"
	"sync"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
	"github.com/millhand/millhand/pipeline"
)

// jobAcker hears from the pipeline how jobs ended.
type jobAcker[T Args] JobSource[T]

// Settle implements [pipeline.Acker]. The worker writes the ends.
func (a *jobAcker[T]) Settle(_ context.Context, ends []pipeline.End) error {
	s := (*JobSource[T])(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range ends {
		if j, ok := e.Ref.(*sourceJob[T]); ok {
			s.leave(j, e.Err)
		}
	}
	s.resize()
	return nil
}

// Lose implements [pipeline.Loser]: the jobs run again when their leases have ended, as after a crash.
func (a *jobAcker[T]) Lose(refs []any) {
	for _, ref := range refs {
		if j, ok := ref.(*sourceJob[T]); ok {
			j.passed.LetGo()
		}
	}
	s := (*JobSource[T])(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range refs {
		if j, ok := ref.(*sourceJob[T]); ok {
			s.leave(j, pipeline.ErrHandedBack)
		}
	}
	s.resize()
}

// leave notes, once, that a job is out of the pipeline. It needs the mutex.
func (s *JobSource[T]) leave(j *sourceJob[T], err error) {
	if !j.left {
		j.left = true
		s.out--
		j.ended <- err
	}
}

// Start implements [pipeline.Starter].
func (a *jobAcker[T]) Start(ref any) {
	if j, ok := ref.(*sourceJob[T]); ok {
		j.passed.Begin()
	}
}

// A sourceJob is a job that is in a pipeline, or about to be.
type sourceJob[T Args] struct {
	job    *Job[T]
	ctx    context.Context //nolint:containedctx // of the run
	passed *worker.Passed
	ended  chan error // capacity 1
	kept   keptResult
	left   bool // the pipeline has done with it; under the mutex of the source
}

// Trace is where the job comes from.
func (j *sourceJob[T]) Trace() pipeline.Trace {
	return pipeline.Trace{Parent: j.job.Trace["traceparent"], State: j.job.Trace["tracestate"], Run: j.job.RunTrace}
}

// TraceRun has the job's next run linked to this one.
func (j *sourceJob[T]) TraceRun(traceparent string) { j.job.TraceRun(traceparent, nil) }

// ID is what the message is called.
func (j *sourceJob[T]) ID() string { return j.job.ID }

func (j *sourceJob[T]) decode(d *queue.Delivery, maxAttempts int) error {
	if raw, ok := any(newRawJob(d, maxAttempts)).(*Job[T]); ok {
		j.job = raw
	} else {
		j.job = newJob[T](d, maxAttempts)
		if err := decode(d.Payload, &j.job.Args); err != nil {
			return err
		}
	}
	j.job.kept = &j.kept
	return nil
}

// end is what the run returns.
func (j *sourceJob[T]) end(err error) ([]byte, error) {
	if err == nil {
		return j.kept.get()
	}
	cause := context.Cause(j.ctx)
	panicked, _ := errors.AsType[*pipeline.PanicError](err)
	switch {
	case errors.Is(err, pipeline.ErrHandedBack) && cause != nil:
		return nil, cause
	case errors.Is(err, pipeline.ErrHandedBack):
		return nil, HandBack(err)
	case panicked != nil:
		return nil, &job.PanicError{Value: panicked.Value, Stack: string(panicked.Stack)}
	}
	return nil, err
}

// keptResult is what is kept of a job if it succeeds.
type keptResult struct {
	mu     sync.Mutex
	result []byte
	err    error
}

func (r *keptResult) set(v any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result, r.err = encode(v)
}

func (r *keptResult) get() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result, r.err
}
