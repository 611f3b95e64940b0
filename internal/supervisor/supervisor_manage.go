package supervisor

import (
	"context"
	"fmt"
)

// request is something that a run's own goroutine is asked to do between two events.
type request struct {
	serve func(ctx context.Context, r *run) error // ctx is that of Run
	reply chan error                              // capacity 1
}

// StartChild adds a child, last in start order, and returns when it is ready. If it does not become
// ready, before ctx is done, it is not added. A child that asks to be ignored is added as a stopped
// one.
//
// Like the other methods that change a running supervisor it may wait for what the supervisor is
// doing, at most until ctx is done; it must not be called by the supervisor's own children before
// they are ready, nor while they are being stopped. Errors: [ErrNotRunning], [ErrAlreadyStarted],
// [ErrAlreadyPresent], [ErrSpec], *[StartError].
func (s *Supervisor) StartChild(ctx context.Context, c Child) error {
	if err := c.validate(s.spec.AutoShutdown); err != nil {
		return err
	}
	return s.ask(ctx, func(own context.Context, r *run) error {
		if m := r.find(c.Name); m != nil {
			if m.state == StateStopped {
				return fmt.Errorf("%s: %w", c.Name, ErrAlreadyPresent)
			}
			return fmt.Errorf("%s: %w", c.Name, ErrAlreadyStarted)
		}
		m := newMember(c)
		r.add(m)
		err := r.startFor(ctx, own, m)
		if err != nil {
			r.remove(m)
		}
		return err
	})
}

// StopChild stops a child and keeps it, for RestartChild; a temporary one is forgotten. It does
// nothing to a stopped child. The end of a significant child that is stopped this way counts for
// nothing. Errors: [ErrNotRunning], [ErrNotFound]; one that matches [ErrStopTimeout] if the child
// had to be abandoned.
func (s *Supervisor) StopChild(ctx context.Context, name string) error {
	return s.ask(ctx, func(_ context.Context, r *run) error {
		m := r.find(name)
		if m == nil {
			return fmt.Errorf("%s: %w", name, ErrNotFound)
		}
		err := r.stop(m)
		if m.child.Restart == Temporary {
			r.remove(m)
		}
		return err
	})
}

// RestartChild starts a stopped child and returns when it is ready. If it does not become ready,
// before ctx is done, it stays stopped. Errors: [ErrNotRunning], [ErrNotFound], [ErrRunning],
// [ErrRestarting], *[StartError].
func (s *Supervisor) RestartChild(ctx context.Context, name string) error {
	return s.ask(ctx, func(own context.Context, r *run) error {
		m, err := r.stopped(name)
		if err != nil {
			return err
		}
		return r.startFor(ctx, own, m)
	})
}

// DeleteChild forgets a stopped child. Errors: [ErrNotRunning], [ErrNotFound], [ErrRunning],
// [ErrRestarting].
func (s *Supervisor) DeleteChild(ctx context.Context, name string) error {
	return s.ask(ctx, func(_ context.Context, r *run) error {
		m, err := r.stopped(name)
		if err == nil {
			r.remove(m)
		}
		return err
	})
}

// ask has the current run's goroutine do something and returns its answer.
func (s *Supervisor) ask(ctx context.Context, serve func(context.Context, *run) error) error {
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r == nil {
		return fmt.Errorf("supervisor %s: %w", s.spec.Name, ErrNotRunning)
	}
	q := request{serve: serve, reply: make(chan error, 1)}
	select {
	case r.requests <- q:
	case <-r.done:
		return fmt.Errorf("supervisor %s: %w", s.spec.Name, ErrNotRunning)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-q.reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopped returns the child of that name if it is stopped.
func (r *run) stopped(name string) (*member, error) {
	m := r.find(name)
	switch {
	case m == nil:
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	case m.state == StateRestarting:
		return nil, fmt.Errorf("%s: %w", name, ErrRestarting)
	case m.state != StateStopped:
		return nil, fmt.Errorf("%s: %w", name, ErrRunning)
	}
	return m, nil
}

// startFor starts a child on behalf of a caller, whose ctx may end before the supervisor's own.
func (r *run) startFor(caller, own context.Context, m *member) error {
	ctx, cancel := context.WithCancelCause(own)
	defer cancel(nil)
	defer context.AfterFunc(caller, func() { cancel(context.Cause(caller)) })()
	err := r.start(ctx, m, false)
	if err == nil {
		return nil
	}
	_ = r.stop(m) // nothing to do unless ctx was done first; the caller learns why from err
	return &StartError{Supervisor: r.spec.Name, Child: m.child.Name, Err: err}
}
