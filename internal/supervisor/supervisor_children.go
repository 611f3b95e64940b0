package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// member is a child of a run and what became of it.
type member struct {
	child       Child
	instance    *instance // nil unless starting, running or stopping
	consecutive int       // restarts without a run longer than Within between them
	due         time.Time // of the restart, while state is StateRestarting

	status // written under the run's mu
}

func newMember(c Child) *member {
	return &member{child: c, status: status{state: StateStopped, since: time.Now().UTC()}}
}

// startAll starts the children for the first time: all or nothing.
func (r *run) startAll(ctx context.Context) error {
	for _, m := range slices.Clone(r.members) {
		if err := r.start(ctx, m, false); err != nil {
			return &StartError{Supervisor: r.spec.Name, Child: m.child.Name, Err: err}
		}
	}
	return nil
}

// start starts one child and waits until it is ready. It returns nil if the child runs or asked to
// be ignored, else why it does not run. When ctx is done first the error is its cause, and the
// child is the caller's to stop. Of a restart, the failure is followed by the next one.
func (r *run) start(ctx context.Context, m *member, isRestart bool) error {
	// Not ctx itself: its end must reach the children one after the other.
	m.instance = spawn(context.WithoutCancel(ctx), r.spec.Name, &m.child, r.ended.put, r.onReturn)
	r.setState(m, StateStarting)
	select {
	case <-m.instance.ready:
	case <-m.instance.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if m.instance.started() {
		r.setState(m, StateRunning)
		r.emit(Event{Kind: ChildStarted, Child: m.child.Name, Restarts: m.restarts})
		return nil
	}
	err := m.instance.err
	if errors.Is(err, ErrIgnore) {
		r.setEnded(m, nil)
		r.emit(Event{Kind: ChildIgnored, Child: m.child.Name, Restarts: m.restarts})
		if m.child.Restart == Temporary {
			r.remove(m)
		}
		return nil
	}
	if err == nil {
		err = errNotReady
	}
	r.setEnded(m, err)
	r.emit(Event{
		Kind: ChildFailed, Child: m.child.Name, Err: err, Restarts: m.restarts, Stack: stackOf(err), Redundant: isRestart,
	})
	return err
}

// onReturn records the end of a child that was left before.
func (r *run) onReturn(i *instance) {
	r.abandoned.Add(-1)
	if i.fate.Load() == abandoned {
		r.emit(Event{Kind: ChildReturned, Child: i.child.Name, Err: i.err})
	}
}

// stopAll stops all children, last one first. The error names those that did not stop in time.
func (r *run) stopAll() error {
	var errs []error
	for _, m := range slices.Backward(r.members) {
		errs = append(errs, r.stop(m))
	}
	return errors.Join(errs...)
}

// stop stops one child. The error matches ErrStopTimeout if the child, or one below it, had to be
// abandoned.
func (r *run) stop(m *member) error {
	i := m.instance
	if i == nil {
		r.setState(m, StateStopped) // it may have been waiting for its restart
		return nil
	}
	if i.fate.Load() == ended {
		r.recordEnd(m, keep)
		return nil
	}
	r.setState(m, StateStopping)
	if !i.stop(m.child.stopTimeout()) {
		f := m.child.fateAfterStop()
		r.abandoned.Add(1) // before its goroutine can take it off again
		if i.meet(f) {
			return r.leave(m, f)
		}
		r.abandoned.Add(-1) // it ended at the last moment
	}
	<-i.done
	err := i.err
	if stoppedCleanly(err) {
		err = nil
	}
	r.setEnded(m, err)
	r.emit(Event{Kind: ChildStopped, Child: m.child.Name, Err: err, Restarts: m.restarts, Stack: stackOf(err)})
	if errors.Is(err, ErrStopTimeout) {
		return err
	}
	return nil
}

// leave forgets the instance of a child that was not waited for to its end.
func (r *run) leave(m *member, f fate) error {
	if f == released {
		r.setEnded(m, nil)
		r.emit(Event{Kind: ChildStopped, Child: m.child.Name, Restarts: m.restarts})
		return nil
	}
	err := fmt.Errorf("%s: %s: %w", r.spec.Name, m.child.Name, ErrStopTimeout)
	r.setEnded(m, err)
	r.emit(Event{
		Kind: ChildAbandoned, Child: m.child.Name, Err: err, Restarts: m.restarts, Stack: stacks(r.spec.Name, m.child.Name),
	})
	return err
}

// recordEnd records the end of a child that nobody asked to end, and after which next follows.
func (r *run) recordEnd(m *member, next action) {
	i := m.instance
	<-i.done
	if m.state == StateRunning && time.Since(m.since) > r.spec.Within {
		m.consecutive = 0
	}
	r.setEnded(m, i.err)
	r.emit(Event{
		Kind: ChildEnded, Child: m.child.Name, Err: i.err, Restarts: m.restarts, Stack: stackOf(i.err),
		Redundant: next == restart,
	})
}

// setEnded makes m a child without an instance that ended with err.
func (r *run) setEnded(m *member, err error) {
	m.instance = nil
	r.mu.Lock()
	if notable(err) {
		m.err = err
	}
	r.mu.Unlock()
	r.setState(m, StateStopped)
}

func (r *run) setState(m *member, s State) {
	if m.state == s {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.state, m.since = s, time.Now().UTC()
}

func (r *run) countRestart(m *member) {
	m.consecutive++
	r.mu.Lock()
	defer r.mu.Unlock()
	m.restarts++
}

func (r *run) add(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(r.members, m)
}

func (r *run) remove(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.DeleteFunc(r.members, func(o *member) bool { return o == m })
}

// find returns the child of that name, or nil.
func (r *run) find(name string) *member {
	for _, m := range r.members {
		if m.child.Name == name {
			return m
		}
	}
	return nil
}

func namesOf(members []*member) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.child.Name
	}
	return names
}
