package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Supervisor starts its children in order, restarts them as its Spec says, and stops them in
// reverse order. It is itself a [Part], so supervisors form a tree. All methods are safe for
// concurrent use.
type Supervisor struct {
	spec      Spec
	abandoned atomic.Int64 // goroutines of children given up and still running, across all runs

	mu      sync.Mutex
	current *run // the run in progress, or the last one; nil before the first
	running bool
}

// New returns a supervisor that is not started yet. The error matches [ErrSpec].
func New(spec Spec) (*Supervisor, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	return &Supervisor{spec: spec.withDefaults()}, nil
}

// Run starts the children of the Spec and blocks until ctx is done or the supervisor ends by
// itself. All children have ended when it returns, except those it had to abandon.
//
// It returns nil after ctx was done; an error matching [ErrShutdown] after an automatic shutdown;
// an [*IntensityError] when it gave up; a [*StartError] when a child did not start the first time,
// which stops those that did; and [ErrAlreadyStarted] while another Run is in progress. The error
// matches [ErrStopTimeout], too, if children were abandoned on the way out. A further Run begins
// with the children of the Spec again.
func (s *Supervisor) Run(ctx context.Context) error {
	return s.RunReady(ctx, func() {})
}

// RunReady is Run that reports when all children have started.
func (s *Supervisor) RunReady(ctx context.Context, ready func()) error {
	r := newRun(s)
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", s.spec.Name, ErrAlreadyStarted)
	}
	s.running, s.current = true, r
	s.mu.Unlock()

	err := r.supervise(ctx, ready)

	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	close(r.done)
	return err
}

// run is one life of a supervisor. Its fields belong to the goroutine that executes supervise; what
// Tree shows is written under mu, so that the owner reads without it.
type run struct {
	*Supervisor
	intensity intensity
	ended     ends
	requests  chan request
	done      chan struct{} // closed when no request will be taken any more
	since     time.Time
	timer     *time.Timer // fires when the next restart is due; stopped if none is

	mu      sync.Mutex
	members []*member // in start order
}

func newRun(s *Supervisor) *run {
	r := &run{
		Supervisor: s,
		intensity:  intensity{maxRestarts: *s.spec.MaxRestarts, within: s.spec.Within},
		ended:      ends{wake: make(chan struct{}, 1)},
		requests:   make(chan request),
		done:       make(chan struct{}),
		since:      time.Now().UTC(),
	}
	for _, c := range s.spec.Children {
		r.members = append(r.members, newMember(c))
	}
	return r
}

// supervise is the life of the supervisor: start, react, stop.
func (r *run) supervise(ctx context.Context, ready func()) error {
	r.timer = time.NewTimer(time.Hour)
	r.timer.Stop()
	defer r.timer.Stop()
	err := r.startAll(ctx)
	if err == nil {
		ready()
		err = r.loop(ctx)
	}
	if ctx.Err() != nil && !errors.Is(err, ErrIntensity) {
		err = nil // whatever was under way ended because we were told to stop
	}
	return errors.Join(err, r.stopAll())
}

// loop reacts to what happens until the supervisor has a reason to end.
func (r *run) loop(ctx context.Context) error {
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-r.ended.wake:
			err = r.onEnds(ctx)
		case <-r.timer.C:
			err = r.startDue(ctx)
		case q := <-r.requests:
			q.reply <- q.serve(ctx, r)
		}
		if err != nil {
			return err
		}
		r.armTimer()
	}
}

// onEnds handles every child that ended since the last time, in the order of their ends.
func (r *run) onEnds(ctx context.Context) error {
	for _, i := range r.ended.take() {
		if err := r.onEnd(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// onEnd handles the end of a child that nobody asked to end.
func (r *run) onEnd(ctx context.Context, i *instance) error {
	n := slices.IndexFunc(r.members, func(m *member) bool { return m.instance == i })
	if n < 0 {
		return nil // stopped or replaced before we came to this
	}
	<-i.done
	m := r.members[n]
	next := m.child.Restart.onEnd(clean(i.err))
	r.recordEnd(m, next)
	switch next {
	case restart:
		return r.restart(ctx, m, i.err)
	case forget:
		r.remove(m)
	case keep:
	}
	if r.spec.AutoShutdown.ends(m.child.Significant, r.significantLeft()) {
		r.emit(Event{Kind: ShuttingDown, Child: m.child.Name, Err: i.err})
		return fmt.Errorf("%s: %s ended: %w", r.spec.Name, m.child.Name, ErrShutdown)
	}
	return nil
}

// restart brings back m, which ended with reason, and the children that the strategy adds. A child
// that does not become ready is the next to be restarted, at once or after its backoff, and counts
// like an end (supervisor.erl, try_again_restart). The error is the supervisor's own end.
func (r *run) restart(ctx context.Context, m *member, reason error) error {
	for m != nil {
		now := time.Now()
		if !r.intensity.restart(now) {
			return r.giveUp(m, reason)
		}
		group := r.prepare(m)
		delay := r.spec.Backoff.delay(m.consecutive, rand.Float64())
		r.emit(Event{
			Kind: ChildRestarting, Child: m.child.Name, Err: reason, Restarts: m.restarts,
			Strategy: r.spec.Strategy, Group: namesOf(group), Delay: delay, Stack: stackOf(reason),
		})
		if delay > 0 {
			for _, m := range group {
				m.due = now.Add(delay)
				r.setState(m, StateRestarting)
			}
			return nil
		}
		m, reason = r.startGroup(ctx, group)
	}
	return reason
}

func (r *run) giveUp(m *member, reason error) error {
	err := &IntensityError{
		Supervisor: r.spec.Name, Child: m.child.Name, MaxRestarts: *r.spec.MaxRestarts, Within: r.spec.Within, Err: reason,
	}
	r.emit(Event{Kind: GaveUp, Child: m.child.Name, Err: err, Restarts: m.restarts, Stack: stackOf(reason)})
	return err
}

// prepare stops the children that the restart of m concerns, and returns those to start, in start
// order.
func (r *run) prepare(m *member) []*member {
	values := make([]Restart, len(r.members))
	for i, m := range r.members {
		values[i] = m.child.Restart
	}
	members := slices.Clone(r.members)
	p := r.spec.Strategy.plan(slices.Index(members, m), values)
	for _, i := range p.stop {
		_ = r.stop(members[i]) // a child that is abandoned here is in an event and in the count
	}
	for _, i := range p.forget {
		r.remove(members[i])
	}
	group := make([]*member, len(p.start))
	for n, i := range p.start {
		group[n] = members[i]
		r.countRestart(members[i])
	}
	return group
}

// startDue starts the children whose backoff is over.
func (r *run) startDue(ctx context.Context) error {
	now := time.Now()
	var due []*member
	for _, m := range r.members {
		if m.state == StateRestarting && !m.due.After(now) {
			due = append(due, m)
		}
	}
	failed, err := r.startGroup(ctx, due)
	return r.restart(ctx, failed, err)
}

// startGroup starts members in order until one fails, which it returns with the reason. The restart
// of that one then decides about those after it. An error without a failed member is ctx's.
func (r *run) startGroup(ctx context.Context, group []*member) (failed *member, err error) {
	for _, m := range group {
		err := r.start(ctx, m, true)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, err
		default:
			return m, err
		}
	}
	return nil, nil
}

// armTimer sets the timer to the next restart that is due.
func (r *run) armTimer() {
	r.timer.Stop()
	next := Forever
	for _, m := range r.members {
		if m.state == StateRestarting {
			next = min(next, time.Until(m.due))
		}
	}
	if next < Forever {
		r.timer.Reset(next)
	}
}

// significantLeft counts the significant children that run or will run again.
func (r *run) significantLeft() int {
	left := 0
	for _, m := range r.members {
		if m.child.Significant && m.state != StateStopped {
			left++
		}
	}
	return left
}

func (r *run) emit(e Event) {
	if r.spec.OnEvent != nil {
		e.Supervisor = r.spec.Name
		r.spec.OnEvent(e)
	}
}
