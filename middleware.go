package millhand

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// A Middleware wraps the handlers of all types. The function that it returns is called in place
// of next, and calls next to go on.
//
// Jobs come to it as bytes, whatever types the handlers have. It may pass on another context and
// another payload, and return another result or error; what the outermost middleware returns
// decides what follows for the job. The payload and the maps of a job are copies that it may
// change, and the maps are never nil.
//
// An error of next is the handler's own, so [errors.Is] and [errors.As] find what the handler
// returned, and [Job.Outcome] says what follows from it. A payload that cannot be decoded is an error too, and a handler's panic is a
// [*PanicError]. A middleware that panics itself makes the run a failed attempt.
type Middleware func(next HandlerFunc) HandlerFunc

// Use puts middleware around the handlers of all types, those registered before included, but not around
// those of [HandleBatch], which run many jobs. The
// first one is the outermost: it is called first and returns last. Further calls add inner ones.
// For a nil one [NewWorker] returns an [ErrInvalid].
func (m *Mux) Use(middleware ...Middleware) {
	if slices.ContainsFunc(middleware, func(w Middleware) bool { return w == nil }) {
		m.refuse(&job.InvalidError{What: "a middleware", Rule: "is nil"})
	}
	m.middleware = append(m.middleware, middleware...)
}

// wrap returns what runs a job: the handler itself, or the middleware around it.
func (m *Mux) wrap(r registered) (worker.Handler, error) {
	if len(m.middleware) == 0 {
		return r.direct, nil
	}
	h := contain(r.inner)
	for i, wrap := range slices.Backward(m.middleware) {
		if h = wrap(h); h == nil {
			return nil, &job.InvalidError{What: fmt.Sprintf("middleware %d of %d", i+1, len(m.middleware)), Rule: "returned a nil handler"}
		}
	}
	return func(ctx context.Context, d *queue.Delivery, maxAttempts int) ([]byte, error) {
		j := newRawJob(d, maxAttempts)
		if j.Meta == nil {
			j.Meta = make(map[string]string)
		}
		if j.Trace == nil {
			j.Trace = make(map[string]string)
		}
		return h(ctx, j)
	}, nil
}

// A PanicError is a handler's panic as a [Middleware] sees it.
type PanicError struct {
	Value any    // what the handler panicked with
	Stack string // of its goroutine
}

func (e *PanicError) Error() string { return e.Unwrap().Error() }

// Unwrap returns what a worker knows a panic by.
func (e *PanicError) Unwrap() error { return &job.PanicError{Value: e.Value, Stack: e.Stack} }

// contain returns h with its panics turned into errors.
func contain(h HandlerFunc) HandlerFunc {
	return func(ctx context.Context, j *Job[Raw]) (result []byte, err error) {
		defer func() {
			if v := recover(); v != nil {
				result, err = nil, &PanicError{Value: v, Stack: string(debug.Stack())}
			}
		}()
		return h(ctx, j)
	}
}
