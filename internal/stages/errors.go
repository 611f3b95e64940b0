package stages

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/millhand/millhand/internal/supervisor"
)

var (
	// ErrDone is what a producer's Demand returns with its last events. What is buffered is still
	// delivered; then the producer's Run returns nil.
	ErrDone = errors.New("stages: no more events")

	// ErrCrashed is the reason subscribers are given when a handler panicked. The panic itself goes
	// to Run's caller. A child of a ConsumerSupervisor or a selector that panicked ends with an
	// error that matches it, too.
	ErrCrashed = errors.New("stages: handler panicked")

	// ErrNotRunning is returned by Emit when the producer has stopped, and is the reason of a
	// subscription to it. It matches [supervisor.ErrNotRunning].
	ErrNotRunning = fmt.Errorf("stages: producer is %w", supervisor.ErrNotRunning)

	// ErrInvalidOption is wrapped by every error about a configuration or a subscription's options.
	ErrInvalidOption = errors.New("stages: invalid option")

	// errRunning is returned by Run while another Run of the same stage is in progress, as when a
	// supervisor has given up waiting for it.
	errRunning = fmt.Errorf("stages: stage is %w", supervisor.ErrAlreadyStarted)
)

// SurplusError reports events emitted without demand by a producer that has no buffer.
type SurplusError struct {
	Events int // how many of the emitted events, counted from the last, were not taken
}

func (e *SurplusError) Error() string {
	return fmt.Sprintf("stages: %d events were emitted without demand", e.Events)
}

// Clean reports whether a stage or a child that ended for this reason did what it should: nil, or a
// shutdown, which is [supervisor.ErrShutdown] or [context.Canceled]. Every other reason is
// abnormal, also a panic whatever its value: it ends the consumers of a transient subscription.
func Clean(reason error) bool {
	if panicked := errors.Is(reason, ErrCrashed); panicked {
		return false
	}
	if _, panicked := errors.AsType[*supervisor.PanicError](reason); panicked {
		return errors.Is(reason, supervisor.ErrIntensity) // of a child of a supervisor that gave up, and stopped in order
	}
	return reason == nil || errors.Is(reason, supervisor.ErrShutdown) || errors.Is(reason, context.Canceled)
}

// crashed makes the end of a child that did not return match ErrCrashed.
func crashed(err error) error {
	_, panicked := errors.AsType[*supervisor.PanicError](err)
	if panicked || errors.Is(err, supervisor.ErrExited) {
		return fmt.Errorf("%w: %w", ErrCrashed, err)
	}
	return err
}

// crash is the reason of what panicked with v. It must be called by the deferred function that
// recovered v.
func crash(v any) error {
	return crashed(&supervisor.PanicError{Value: v, Stack: debug.Stack()})
}

// stopped is the reason of a stage whose context is done: supervisor.ErrShutdown, and the cause if
// that says more.
func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, supervisor.ErrShutdown):
		return cause
	case errors.Is(cause, context.Canceled):
		return supervisor.ErrShutdown
	default:
		return fmt.Errorf("%w: %w", supervisor.ErrShutdown, cause)
	}
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalidOption}, args...)...)
}
