package pipeline

import (
	"context"
	"slices"
)

// A Handler is a call of Process or of a batcher's Handle, as [Middleware] sees it. Its error is what the
// function returned, or the [*PanicError] of its panic.
type Handler func(ctx context.Context, c *Call) error

// Middleware wraps the calls of Process and of Handle, of all batchers, for tracing and the like. What it
// returns counts as what the function returned, and a function that it does not call has not run. It is called
// on the goroutine of the function, for each attempt in place and each half of a batch anew.
type Middleware func(next Handler) Handler

// A Call is a call of Process or of Handle. It is the pipeline's: nobody may use it when the call is over.
type Call struct {
	Pipeline string
	Batcher  string  // whose Handle is called; empty: it is Process
	Attempt  int     // how often the function has been called for them, from 1
	Trigger  Trigger // of a batch, why it is handled now; zero of Process and of a fold's windows

	// Values is how many values Handle gets: of a fold's window, those that it was made of. It is 1 of
	// Process.
	Values int

	messages []*envelope
	failed   func() int // how many values were failed by index; nil: none can be
	last     *string    // the run before
	run      func(context.Context) error
}

// Trace is where a message comes from, as texts of W3C Trace Context.
type Trace struct {
	Parent, State string // its traceparent and tracestate, as its source has them; empty: none
	Run           string // the traceparent of the last run of it that was traced; empty: there was none
}

// Len is how many messages the call is about: of a batch, one for each value; of a fold's window, none.
func (c *Call) Len() int { return len(c.messages) }

// ID is that of the i-th message.
func (c *Call) ID(i int) string { return c.messages[i].id() }

// Trace says where the i-th message comes from. A source tells it by a method of the Ref of its deliveries,
// Trace() Trace.
func (c *Call) Trace(i int) Trace { return c.messages[i].trace() }

// Failed is how many values of a batch have been failed by index so far.
func (c *Call) Failed() int {
	if c.failed == nil {
		return 0
	}
	return c.failed()
}

// LastRun is the traceparent of the run before this one: of the message of Process, or of the batch, of which
// this may be a half. It is empty if that was not traced.
func (c *Call) LastRun() string {
	if *c.last == "" && c.Batcher == "" {
		return c.messages[0].trace().Run
	}
	return *c.last
}

// TraceRun notes the traceparent of this call. The next attempt has it as its LastRun, and the batches of a
// message have it in its Trace. A source is told of that of Process, if the Ref of its deliveries has a method
// TraceRun(traceparent string).
func (c *Call) TraceRun(traceparent string) {
	*c.last = traceparent
	if c.Batcher != "" {
		return
	}
	if r, ok := c.messages[0].ref.(interface{ TraceRun(traceparent string) }); ok {
		r.TraceRun(traceparent)
	}
}

// trace says where a message comes from.
func (e *envelope) trace() (t Trace) {
	if of, ok := e.ref.(interface{ Trace() Trace }); ok {
		t = of.Trace()
	}
	if e.traced != "" {
		t.Run = e.traced
	}
	return t
}

// wrapped is all middleware around a function; nil: there is none.
func wrapped(all []Middleware) Handler {
	var h Handler
	for _, m := range slices.Backward(all) {
		if m == nil {
			continue
		}
		if h == nil {
			h = func(ctx context.Context, c *Call) error { return caught(func() error { return c.run(ctx) }) }
		}
		h = m(h)
	}
	return h
}

// through calls a function through all middleware, of which there is some.
func (r *run) through(ctx context.Context, c *Call, f func(context.Context) error) error {
	c.Pipeline, c.run = r.name, f
	return r.around(ctx, c)
}
