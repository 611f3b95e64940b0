package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// DynamicSpec describes a supervisor whose children are all started at run time.
type DynamicSpec struct {
	// Name is required, as in [Spec].
	Name string

	// MaxChildren is how many children may exist at once, each until its goroutine is about to end.
	// Zero means no limit.
	MaxChildren int

	MaxRestarts *int          // as in Spec
	Within      time.Duration // as in Spec
	Backoff     Backoff       // as in Spec

	// OnEvent is called from the goroutines of the children, at the same time, and must not block.
	// Nil means that nobody is told.
	OnEvent func(Event)
}

// Dynamic supervises any number of independent children, one for one. They have no order, and all
// stop at the same time. Names need not be unique. All methods are safe for concurrent use.
//
// Unlike a Supervisor it has no goroutine that decides: each child ends on its own and takes the
// lock to leave, so that a temporary child, such as a job, costs little more than its goroutine.
type Dynamic struct {
	spec DynamicSpec

	mu        sync.Mutex
	derive    func() (context.Context, context.CancelCauseFunc) // a child's context; nil unless children are admitted
	children  map[*dynamicChild]struct{}
	intensity intensity
	idle      []*poolGoroutine // of StartFunc, waiting for work
	pooled    uint64           // how many pool goroutines were started so far
	seq       uint64
	abandoned int
	over      bool       // this run was given up
	gaveUp    chan error // capacity 1: why
	since     time.Time
	running   bool
}

// NewDynamic returns a supervisor without children that is not started yet. The error matches
// [ErrSpec].
func NewDynamic(spec DynamicSpec) (*Dynamic, error) {
	if err := validateLimits(spec.Name, spec.MaxRestarts, spec.Within, spec.Backoff); err != nil {
		return nil, err
	}
	if spec.MaxChildren < 0 {
		return nil, fmt.Errorf("%w: supervisor %s: MaxChildren %d", ErrSpec, spec.Name, spec.MaxChildren)
	}
	spec.MaxRestarts, spec.Within = intensityOf(spec.MaxRestarts, spec.Within)
	return &Dynamic{spec: spec, children: make(map[*dynamicChild]struct{})}, nil
}

// Run admits children until ctx is done or the supervisor gives up; then it stops them all at once
// and waits for each up to its StopTimeout. It returns nil after ctx was done, an [*IntensityError]
// when it gave up, [ErrAlreadyStarted] while another Run is in progress, and matches
// [ErrStopTimeout] if children were abandoned on the way out.
func (d *Dynamic) Run(ctx context.Context) error {
	return d.RunReady(ctx, func() {})
}

// RunReady is Run that reports when children are admitted.
func (d *Dynamic) RunReady(ctx context.Context, ready func()) error {
	// Not derived from ctx's cancellation: children learn that they are to stop from their
	// supervisor, with its cause.
	group, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	d.mu.Lock()
	if d.running {
		d.mu.Unlock()
		return fmt.Errorf("%s: %w", d.spec.Name, ErrAlreadyStarted)
	}
	d.running, d.since = true, time.Now().UTC()
	d.intensity = intensity{maxRestarts: *d.spec.MaxRestarts, within: d.spec.Within}
	d.over, d.gaveUp = false, make(chan error, 1)
	d.derive = func() (context.Context, context.CancelCauseFunc) { return context.WithCancelCause(group) }
	d.mu.Unlock()
	ready()

	var err error
	select {
	case <-ctx.Done():
	case err = <-d.gaveUp:
	}
	d.mu.Lock()
	d.derive = nil
	d.endIdle()
	d.mu.Unlock()
	stop(ErrShutdown)
	err = errors.Join(err, d.stopAll(d.all()))
	d.mu.Lock()
	d.running, d.since = false, time.Now().UTC()
	d.mu.Unlock()
	return err
}

// Start starts c and returns without waiting for it in any way: only OnEvent is told how the start
// went. StartReady waits and returns it. A zero Restart is Permanent, as everywhere: say Temporary
// for what runs once. Significant has no meaning here. A child that asks to be ignored leaves, at
// its start and at a restart. Errors: [ErrNotRunning], [ErrMaxChildren], [ErrSpec].
func (d *Dynamic) Start(c Child) error {
	return d.start(&dynamicChild{Child: c})
}

// start makes c a child and starts it.
func (d *Dynamic) start(c *dynamicChild) error {
	if err := c.validate(Never); err != nil {
		return err
	}
	d.mu.Lock()
	if err := d.admit(c); err != nil {
		d.mu.Unlock()
		return err
	}
	ctx, cancel := d.derive()
	c.cancel = cancel
	d.mu.Unlock()
	if c.ready == nil {
		d.emit(Event{Kind: ChildStarted, Child: c.Name})
	}
	go d.run(ctx, c)
	return nil
}

// admit makes c a child, which must have a cancel before mu is released. It must be called with mu
// held.
func (d *Dynamic) admit(c *dynamicChild) error {
	switch {
	case d.derive == nil:
		return fmt.Errorf("supervisor %s: %w", d.spec.Name, ErrNotRunning)
	case d.spec.MaxChildren > 0 && len(d.children) >= d.spec.MaxChildren:
		return fmt.Errorf("supervisor %s: %w: %d", d.spec.Name, ErrMaxChildren, d.spec.MaxChildren)
	}
	d.seq++
	c.seq, c.state, c.since = d.seq, StateRunning, time.Now().UTC()
	d.children[c] = struct{}{}
	return nil
}

// StartReady is Start that returns when c is ready, has failed to become so, or ctx is done, in
// which case c is stopped. A child that does not become ready the first time is not restarted. One
// that asks to be ignored has left when StartReady returns nil: that is no error, here as in
// [Supervisor.StartChild]. Errors besides those of Start: *[StartError].
func (d *Dynamic) StartReady(ctx context.Context, c Child) error {
	ready := make(chan error, 1)
	child := &dynamicChild{Child: c, ready: ready}
	if err := d.start(child); err != nil {
		return err
	}
	var err error
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), d.stop(child, c.stopTimeout(), c.fateAfterStop()))
	}
	if err != nil {
		return &StartError{Supervisor: d.spec.Name, Child: c.Name, Err: err}
	}
	return nil
}

// Stop stops the children of that name and returns when they have ended, or were abandoned after
// their StopTimeout; then the error matches [ErrStopTimeout]. Errors besides: [ErrNotFound].
func (d *Dynamic) Stop(name string) error {
	children := slices.DeleteFunc(d.all(), func(c *dynamicChild) bool { return c.Name != name })
	if len(children) == 0 {
		return fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return d.stopAll(children)
}

// all returns the children in start order.
func (d *Dynamic) all() []*dynamicChild {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Keys(d.children), func(a, b *dynamicChild) int { return cmp.Compare(a.seq, b.seq) })
}

// stopAll stops children, all at the same time, and waits for each up to its StopTimeout.
func (d *Dynamic) stopAll(children []*dynamicChild) error {
	begin := time.Now()
	d.mu.Lock()
	for _, c := range children {
		c.state, c.since = StateStopping, begin.UTC()
	}
	d.mu.Unlock()
	for _, c := range children {
		c.cancel(ErrShutdown)
	}
	slices.SortStableFunc(children, func(a, b *dynamicChild) int { return cmp.Compare(a.stopTimeout(), b.stopTimeout()) })
	var errs []error
	for _, c := range children {
		errs = append(errs, d.stop(c, remaining(c.stopTimeout(), begin), c.fateAfterStop()))
	}
	return errors.Join(errs...)
}

// stop cancels c and waits for its end. If that has not come within timeout, c meets the fate that
// late says; the error matches ErrStopTimeout if that is abandoned.
func (d *Dynamic) stop(c *dynamicChild, timeout time.Duration, late fate) error {
	c.cancel(ErrShutdown)
	d.mu.Lock()
	if _, ok := d.children[c]; !ok {
		d.mu.Unlock()
		return nil
	}
	if c.gone == nil {
		c.gone = make(chan struct{})
	}
	d.mu.Unlock()
	if !within(timeout, c.gone) {
		return d.abandon(c, late)
	}
	return nil
}

// abandon forgets a child whose goroutine has not ended, and which is now released or abandoned.
func (d *Dynamic) abandon(c *dynamicChild, f fate) error {
	d.mu.Lock()
	if _, ok := d.children[c]; !ok {
		d.mu.Unlock()
		return nil
	}
	d.forget(c)
	c.fate = f
	d.abandoned++
	d.mu.Unlock()
	if f == released {
		d.emit(Event{Kind: ChildStopped, Child: c.Name})
		return nil
	}
	err := fmt.Errorf("%s: %s: %w", d.spec.Name, c.Name, ErrStopTimeout)
	d.emit(Event{Kind: ChildAbandoned, Child: c.Name, Err: err, Stack: stacks(d.spec.Name, c.Name)})
	return err
}

// Stacks returns the stacks of the goroutines that work for the children of a name. It stops the
// world for a moment.
func (d *Dynamic) Stacks(child string) string {
	d.mu.Lock()
	for c := range d.children {
		if c.Name == child && c.goroutine != nil {
			child = c.goroutine.name
			break
		}
	}
	d.mu.Unlock()
	return stacks(d.spec.Name, child)
}

// Abandoned counts the goroutines of children that were given up and still run.
func (d *Dynamic) Abandoned() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.abandoned
}

func (d *Dynamic) emit(e Event) {
	if d.spec.OnEvent != nil {
		e.Supervisor = d.spec.Name
		d.spec.OnEvent(e)
	}
}
