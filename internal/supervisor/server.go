package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// DefaultMailbox is how many messages wait for a server whose spec does not say.
const DefaultMailbox = 64

// DefaultTimeout bounds a wait whose caller sets no bound: a call, an await, a poll, the stop of a
// task, a stream's item.
const DefaultTimeout = 5 * time.Second

// ErrTimeout is returned by a wait that took too long. What was waited for goes on. It matches
// [context.DeadlineExceeded].
var ErrTimeout = fmt.Errorf("timed out: %w", context.DeadlineExceeded)

// ServerSpec describes a server whose messages are of type M, usually a sealed interface with a
// type per message.
type ServerSpec[M any] struct {
	Name string

	// Init returns the server's state, as the handler of its messages. It is called at each start,
	// before the server is ready; messages wait meanwhile. Its error is that of the start;
	// [ErrIgnore] means not to start at all.
	Init func(ctx context.Context, self *Self[M]) (Handler[M], error)

	Mailbox int // how many messages may wait; a sender waits while it is full; zero: 64
}

// Handler is a server's state and what it does with a message. All calls come from the server's
// goroutine, one at a time. An error ends the server: [ErrStop] normally, [ErrShutdown] cleanly,
// any other as a failure, and so does a panic.
type Handler[M any] interface {
	Handle(ctx context.Context, msg M) error
}

// Terminator is a Handler that cleans up. Terminate is called once after Init succeeded, however
// the server ends: nil after Stop or [ErrStop], [ErrShutdown] when its supervisor stops it, else
// the error or [*PanicError] of Handle. It runs within the child's StopTimeout. A panic of its own
// is reported beside the reason, never instead of it.
type Terminator interface {
	Terminate(reason error)
}

// Server is a goroutine that owns a state, which others see and change by messages only (OTP's
// gen_server). Messages of one sender are handled in the order they were sent. Messages that wait
// when the server ends are lost: a state or message that must survive belongs in a stream or a
// bucket, not here. A Server is a [Part].
type Server[M any] struct {
	spec    ServerSpec[M]
	current atomic.Pointer[serverRun[M]] // nil while not running
}

// serverRun is one run of a server.
type serverRun[M any] struct {
	mail chan envelope[M]
	done chan struct{} // closed after Terminate
	err  error         // how it ended; valid after done
}

// envelope is what the mailbox holds: a message, or the wish to stop, which waits for its turn like
// any message.
type envelope[M any] struct {
	msg  M
	stop bool
}

// NewServer returns a server that is not started yet. The error matches [ErrSpec].
func NewServer[M any](spec ServerSpec[M]) (*Server[M], error) {
	switch {
	case spec.Name == "":
		return nil, fmt.Errorf("%w: server without a name", ErrSpec)
	case spec.Init == nil:
		return nil, fmt.Errorf("%w: server %s: no Init", ErrSpec, spec.Name)
	case spec.Mailbox < 0:
		return nil, fmt.Errorf("%w: server %s: Mailbox %d", ErrSpec, spec.Name, spec.Mailbox)
	case spec.Mailbox == 0:
		spec.Mailbox = DefaultMailbox
	}
	return &Server[M]{spec: spec}, nil
}

// Run is RunReady for a server that nobody waits for.
func (s *Server[M]) Run(ctx context.Context) error { return s.RunReady(ctx, func() {}) }

// RunReady handles messages until ctx is done or the server ends by itself. It returns
// [ErrShutdown] after ctx was done, nil after Stop or [ErrStop], and [ErrAlreadyStarted] while
// another run is in progress.
func (s *Server[M]) RunReady(ctx context.Context, ready func()) error {
	r := &serverRun[M]{mail: make(chan envelope[M], s.spec.Mailbox), done: make(chan struct{})}
	if !s.current.CompareAndSwap(nil, r) {
		return fmt.Errorf("server %s: %w", s.spec.Name, ErrAlreadyStarted)
	}
	r.err = ErrExited
	defer func() {
		s.current.Store(nil)
		close(r.done)
	}()
	r.err = s.serve(ctx, r, ready)
	return r.err
}

// serve is the life of the server between Init and Terminate.
func (s *Server[M]) serve(ctx context.Context, r *serverRun[M], ready func()) (reason error) {
	self := &Self[M]{}
	var h Handler[M]
	err := protect(func() (err error) {
		h, err = s.spec.Init(ctx, self)
		return err
	})
	if err != nil {
		return err
	}
	reason = ErrExited
	defer func() { reason = terminate(h, reason) }()
	ready()
	return protect(func() error { return r.handleAll(ctx, h, self) })
}

// terminate lets h clean up. A failure of that is told beside the reason; it does not replace it.
func terminate[M any](h Handler[M], reason error) error {
	t, ok := h.(Terminator)
	if !ok {
		return reason
	}
	err := protect(func() error {
		t.Terminate(reason)
		return nil
	})
	if err != nil {
		return &cleanupError{reason: reason, err: err}
	}
	return reason
}

// protect turns a panic of f into an error.
func protect(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return f()
}

// handleAll handles messages until there is a reason to end: nil if that is Stop.
func (r *serverRun[M]) handleAll(ctx context.Context, h Handler[M], self *Self[M]) error {
	for ctx.Err() == nil {
		msg, ok := self.next(len(r.mail) > 0)
		if !ok {
			select {
			case <-ctx.Done():
				continue
			case next := <-r.mail:
				if next.stop {
					return nil
				}
				msg, self.timed = next.msg, false
			case <-self.due():
				continue
			}
		}
		err := h.Handle(ctx, msg)
		if errors.Is(err, ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ErrShutdown
}

// Cast sends a message and does not wait for it to be handled, only for room in the mailbox, until
// ctx is done: not at all if it is done already, which suits a hint that may be lost. A nil error
// does not mean that the message will be handled: the server may end before. Errors:
// [ErrNotRunning], ctx's.
func (s *Server[M]) Cast(ctx context.Context, msg M) error {
	_, err := s.send(ctx, nil, envelope[M]{msg: msg})
	return err
}

// Stop ends the server after the messages sent before, and returns when it has ended: nil if it
// ended because of this, else its own reason. Its supervisor sees a normal end, so a permanent
// server is started again. Errors besides: [ErrNotRunning], ctx's.
func (s *Server[M]) Stop(ctx context.Context) error {
	r, err := s.send(ctx, nil, envelope[M]{stop: true})
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send puts an envelope into the mailbox of the current run, which it returns. It waits until ctx
// is done or expired.
func (s *Server[M]) send(ctx context.Context, expired <-chan time.Time, e envelope[M]) (*serverRun[M], error) {
	r := s.current.Load()
	if r == nil {
		return nil, fmt.Errorf("server %s: %w", s.spec.Name, ErrNotRunning)
	}
	select {
	case r.mail <- e: // the common case, without the cost of the others
		return r, nil
	default:
	}
	select {
	case r.mail <- e:
		return r, nil
	case <-r.done:
		return nil, fmt.Errorf("server %s: %w", s.spec.Name, ErrNotRunning)
	case <-expired:
		return nil, fmt.Errorf("server %s: mailbox full: %w", s.spec.Name, ErrTimeout)
	case <-ctx.Done():
		return nil, fmt.Errorf("server %s: mailbox full: %w", s.spec.Name, waitError(ctx))
	}
}

// Tree describes the server as it is now.
func (s *Server[M]) Tree() Node {
	n := Node{Name: s.spec.Name, Kind: KindServer, State: StateStopped}
	if s.current.Load() != nil {
		n.State = StateRunning
	}
	return n
}
