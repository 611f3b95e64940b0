package stages

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrDone is what a producer's Demand returns with its last events. What is buffered is still delivered; then the
	// producer's Run returns nil.
	ErrDone = errors.New("stages: no more events")

	// ErrShutdown is the reason subscribers are given when a stage's context was cancelled; the context's cause is
	// wrapped beside it. It matches context.Canceled, and so does every reason made to wrap it.
	ErrShutdown = fmt.Errorf("stages: shut down: %w", context.Canceled)

	// ErrCrashed is the reason subscribers are given when a handler panicked. The panic itself goes to Run's caller.
	ErrCrashed = errors.New("stages: handler panicked")

	// ErrNotRunning is returned by Emit when the producer has stopped, and is the reason of a subscription to it.
	ErrNotRunning = errors.New("stages: producer is not running")

	// ErrInvalidOption is wrapped by every error about a configuration or a subscription's options.
	ErrInvalidOption = errors.New("stages: invalid option")
)

// SurplusError reports events emitted without demand by a producer that has no buffer.
type SurplusError struct {
	Events int // How many of the emitted events, counted from the last, were not taken.
}

func (e *SurplusError) Error() string {
	return fmt.Sprintf("stages: %d events were emitted without demand", e.Events)
}

// Clean reports whether a stage that ended for this reason did what it should: nil, or a shutdown. Every other reason is
// abnormal and ends the consumers of a transient subscription.
func Clean(reason error) bool {
	return reason == nil || errors.Is(reason, context.Canceled)
}

// stopped is the reason of a stage whose context is done. It matches the cause, so that a supervisor knows its own again.
func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ErrShutdown, cause) {
		return ErrShutdown
	}
	return fmt.Errorf("%w: %w", ErrShutdown, cause)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalidOption}, args...)...)
}
