package supervisor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrShutdown is the cause of a child's cancelled context when its supervisor stops it. A child
	// that returns it, wrapped or not, has ended cleanly.
	ErrShutdown = errors.New("shutdown")
	// ErrStop is returned by a Handler whose server has done its work: it ends as it does after
	// Stop, normally.
	ErrStop = errors.New("stop")
	// ErrIgnore is returned by a child before it is ready: there is nothing for it to do, and that
	// is no failure.
	ErrIgnore = errors.New("nothing to do")
	// ErrIntensity is what a supervisor's end matches when it restarted too often and gave up.
	ErrIntensity = errors.New("restart intensity exceeded")
	// ErrStopTimeout is what a stop matches when a child did not return within its StopTimeout and
	// was abandoned.
	ErrStopTimeout = errors.New("stop timeout expired")
	// ErrSpec is what every error about an impossible specification matches.
	ErrSpec = errors.New("invalid spec")

	// ErrNotRunning is returned to callers of a part that is not started, or has ended.
	ErrNotRunning = errors.New("not running")
	// ErrAlreadyStarted is returned for a name, or a part, that is running already.
	ErrAlreadyStarted = errors.New("already started")
	// ErrAlreadyPresent is returned for a name whose child is known but stopped: restart it, or
	// delete it first.
	ErrAlreadyPresent = errors.New("already present")
	// ErrRunning is returned by what needs a stopped child.
	ErrRunning = errors.New("child is running")
	// ErrRestarting is returned by what needs a stopped child, for one that waits for its restart.
	ErrRestarting = errors.New("child is restarting")
	// ErrNotFound is returned for a name that no child has.
	ErrNotFound = errors.New("no such child")
	// ErrMaxChildren is returned by a Dynamic that is full.
	ErrMaxChildren = errors.New("maximum number of children reached")

	// ErrExited is the end of a child whose goroutine called runtime.Goexit.
	ErrExited = errors.New("goroutine exited without returning")

	errNotReady = errors.New("ended before it was ready")
)

// PanicError is the end of a child that panicked.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the goroutine's stack, as debug.Stack formats it
}

// newPanicError must be called by the deferred function that recovered v: only there does the stack
// show the panic.
func newPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

// Error leaves the stack out: it belongs in a log attribute of its own.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// stackOf returns the stack of a panic, or nothing: also of one that made a supervisor give up,
// which has told it.
func stackOf(err error) string {
	if errors.Is(err, ErrIntensity) {
		return ""
	}
	if p, ok := errors.AsType[*PanicError](err); ok {
		return string(p.Stack)
	}
	return ""
}

// StartError is the end of a supervisor that could not start one of its children.
type StartError struct {
	Supervisor string
	Child      string
	Err        error
}

// Error names the supervisor, the child and the reason.
func (e *StartError) Error() string {
	return fmt.Sprintf("%s: start %s: %v", e.Supervisor, e.Child, e.Err)
}

// Unwrap returns the reason.
func (e *StartError) Unwrap() error { return e.Err }

// IntensityError is the end of a supervisor that gave up. It matches [ErrIntensity], and
// [ErrShutdown] too: a supervisor that gives up has stopped its children in order, so a transient
// one is not started again.
type IntensityError struct {
	Supervisor  string
	Child       string // whose end was one too many
	MaxRestarts int
	Within      time.Duration
	Err         error // how that child ended
}

// Error says what the limit was and what exceeded it.
func (e *IntensityError) Error() string {
	return fmt.Sprintf("%s: %v: more than %d in %v, last %s: %v",
		e.Supervisor, ErrIntensity, e.MaxRestarts, e.Within, e.Child, reason(e.Err))
}

// Unwrap returns the last child's reason.
func (e *IntensityError) Unwrap() error { return e.Err }

// Is makes the error match [ErrIntensity] and [ErrShutdown].
func (e *IntensityError) Is(target error) bool {
	return target == ErrIntensity || target == ErrShutdown
}

// cleanupError is the end of a server whose Terminate panicked. How the server ended stays what it
// was.
type cleanupError struct{ reason, err error }

func (e *cleanupError) Error() string   { return reason(e.reason) + "; terminate: " + e.err.Error() }
func (e *cleanupError) Unwrap() []error { return []error{e.reason, e.err} }

// clean reports whether a child that was not being stopped ended the way it should. Go has no exit
// reasons: nil stands for normal, ErrShutdown for shutdown, everything else is abnormal. A panic
// is, too, whatever its value; but not one that failed a clean-up, or that made a supervisor below
// give up.
func clean(err error) bool {
	if e, ok := errors.AsType[*cleanupError](err); ok {
		err = e.reason
	}
	return err == nil || errors.Is(err, ErrIntensity) || errors.Is(err, ErrShutdown) && !panicked(err)
}

func panicked(err error) bool {
	_, ok := errors.AsType[*PanicError](err)
	return ok
}

// notable reports whether an end is one that people want to know of. A supervisor that gave up
// ended the way it should, as did a server whose clean-up failed, and yet it is.
func notable(err error) bool { return !clean(err) || errors.Is(err, ErrIntensity) || panicked(err) }

// stoppedCleanly reports the same for a child that was being stopped: the end of its context is
// then no error. A panic is one even beside a clean reason: it is a clean-up that failed.
func stoppedCleanly(err error) bool {
	return !panicked(err) && (clean(err) || errors.Is(err, context.Canceled))
}

// reason is an error for people: a clean end without one is "normal" (supervisor(3)).
func reason(err error) string {
	if err == nil {
		return "normal"
	}
	return err.Error()
}
