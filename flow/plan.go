package flow

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// plan is one run of a flow: its goroutines, and how it ends.
type plan struct {
	parent  context.Context //nolint:containedctx // a plan is one call of Run, and ends with it
	stop    context.CancelCauseFunc
	stopped error // see newStopped
	tasks   []task
	refused []error    // what is wrong with the description
	finally []func()   // are called when the run has ended, or was refused
	caller  *goroutine // the one that runs on the goroutine of Run's caller; nil: none
	outside bool       // the caller's goroutine is in the body of a loop over All
	sources int

	mu  sync.Mutex
	err error // the first one
}

// task is what one goroutine does.
type task struct {
	lane lane
	work func() error // ends with its input, or when lane.ctx does
	end  func() error // the end of the lane's sink
}

// env is where in a plan a node stands.
type env struct {
	*plan
	ctx    context.Context //nolint:containedctx // that of the part of the flow, which Take ends early
	demand int             // what Demand says about the layer; 0: nothing.

	origins *[]*goroutine // collects the sources of the nearest windows below; nil: there are none.
	depth   int           // layers between here and those windows; one that keeps the order counts twice
}

// above is where the layer above stands.
func (e env) above() env {
	e.demand = 0
	e.depth++
	return e
}

// lane is where a step runs: on which goroutine, and until when.
type lane struct {
	ctx context.Context //nolint:containedctx // that of the part of the flow it runs in
	g   *goroutine
}

// interrupted returns why a lane ends before its input does, or nil.
func (l lane) interrupted() error {
	if l.ctx.Err() == nil {
		return nil
	}
	return context.Cause(l.ctx)
}

// goroutine is what the steps on it, and the exchanges it comes by, know of it.
type goroutine struct {
	wake   chan struct{} // capacity 1: what it waits for may have happened
	step   string        // the step that is at work
	source int           // which source the events come from that are being pushed
	order  *order        // of a layer that keeps the order; else nil
	turn   turn          // likewise
	below  *goroutine    // whose steps it runs now, in its turn; nil: its own.

	own   bool // it is a source itself: what it hands on is in an order of its own
	depth int  // of a source: that of its env

	// Hooks for who has to know which events are on their way that it has not seen. delivered is called,
	// with the lock of the exchange held, when a goroutine of a layer has been given events of a source,
	// and handled on the goroutine when it has dealt with them, in the same order. ended is called when
	// the goroutine has.
	delivered []func(source int)
	handled   []func() error
	ended     []func()
}

// atWork is the step that the goroutine runs.
func (g *goroutine) atWork() string {
	for g.below != nil {
		g = g.below
	}
	return g.step
}

// lane returns a lane of a goroutine of its own.
func (e env) lane() lane {
	return lane{ctx: e.ctx, g: &goroutine{wake: make(chan struct{}, 1)}}
}

// source returns the lane of a new source.
func (e env) source() lane {
	l := e.lane()
	e.sources++
	l.g.source, l.g.own, l.g.depth = e.sources, true, e.depth
	if e.origins != nil {
		*e.origins = append(*e.origins, l.g)
	}
	return l
}

func (e env) do(l lane, end, work func() error) {
	e.tasks = append(e.tasks, task{lane: l, work: work, end: end})
}

// refuse notes an error of the description: the plan is not run.
func (p *plan) refuse(format string, args ...any) {
	p.refused = append(p.refused, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
}

// run plans a flow and runs it.
func run[T any](ctx context.Context, s Stream[T], connect func(e env, n node[T])) error {
	inner, stop := context.WithCancelCause(ctx)
	p := &plan{parent: ctx, stop: stop, stopped: newStopped()}
	defer stop(p.stopped)
	defer p.release()
	if s.node == nil {
		p.refuse("a stream without a source: begin with From, FromErr, FromChan, FromFunc or Merge")
	} else {
		p.guard(func() { connect(env{plan: p, ctx: inner}, s.node) })
	}
	if len(p.refused) > 0 {
		return errors.Join(p.refused...)
	}
	p.runAll()
	return p.err
}

func (p *plan) release() {
	for _, f := range p.finally {
		f()
	}
}

// guard has functions of the user that are called before anything starts panic as they do later.
func (p *plan) guard(connect func()) {
	defer func() {
		if v := recover(); v != nil {
			p.refused = append(p.refused, &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	connect()
}

// runAll returns when all tasks have ended, also if the caller's own panics or ends its goroutine.
func (p *plan) runAll() {
	var others sync.WaitGroup
	defer others.Wait()
	mine := -1
	if len(p.tasks) == 1 {
		mine = 0
	}
	for i := range p.tasks {
		if p.tasks[i].lane.g == p.caller {
			mine = i
		}
	}
	defer func() {
		if p.outside { // the body of the loop panicked: nobody will ask for more
			p.stop(p.stopped)
		}
	}()
	for i := range p.tasks {
		if i != mine {
			others.Go(func() { p.perform(&p.tasks[i]) })
		}
	}
	if mine >= 0 {
		p.perform(&p.tasks[mine])
	}
}

// perform does a task and takes note of how it ends.
func (p *plan) perform(t *task) {
	returned := false
	defer func() {
		if returned || p.isOutside(t) {
			return
		}
		if v := recover(); v != nil {
			p.fail(&PanicError{Step: t.lane.g.atWork(), Value: v, Stack: debug.Stack()})
		} else {
			p.fail(fmt.Errorf("%w in %s", errGoexit, t.lane.g.atWork()))
		}
	}()
	err := context.Cause(t.lane.ctx)
	if err == nil {
		err = t.work()
	}
	if err == nil || p.isStopped(t.lane.ctx, err) {
		err = t.end()
	}
	for _, f := range t.lane.g.ended {
		f()
	}
	p.note(t.lane.ctx, err)
	returned = true
}

// note ends the run for an error of a part of the flow, unless there is none.
func (p *plan) note(ctx context.Context, err error) {
	if err != nil && !p.isStopped(ctx, err) {
		p.fail(err)
	}
}

// isStopped reports whether a part of the flow ended because nothing more is wanted of it: also if a step
// that was told so calls it an error.
func (p *plan) isStopped(ctx context.Context, err error) bool {
	return errors.Is(err, p.stopped) || errors.Is(context.Cause(ctx), p.stopped)
}

func (p *plan) isOutside(t *task) bool { return t.lane.g == p.caller && p.outside }

// fail ends the run. The first error is the one that Run returns.
func (p *plan) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	if p.parent.Err() != nil {
		err = context.Cause(p.parent)
	}
	p.err = err
	p.stop(err)
}
