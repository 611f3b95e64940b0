package job

import (
	"errors"
	"fmt"
	"time"
)

// Causes of the end of a handler's context. The public package shows them as they are.
var (
	ErrLeaseLost  = errors.New("millhand: lease lost")
	ErrHandedBack = errors.New("millhand: worker is stopping")
	ErrPermitLost = errors.New("millhand: permit lost")
	ErrTimeout    = errors.New("millhand: job timed out")
	ErrCancelled  = errors.New("millhand: job cancelled")
)

// A CancelledError is the [ErrCancelled] of a running job.
type CancelledError struct {
	Grace time.Duration // that its handler has before it is given up
}

func (e *CancelledError) Error() string { return ErrCancelled.Error() }

// Is makes it an [ErrCancelled].
func (e *CancelledError) Is(target error) bool { return target == ErrCancelled }

// A PermanentError is a failure that no further attempt will mend.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// Permanent tells pipelines, which do not import this package.
func (e *PermanentError) Permanent() bool { return true }

// A MalformedError says that a payload is not what the type's handler decodes.
type MalformedError struct{ Err error }

func (e *MalformedError) Error() string { return "payload: " + e.Err.Error() }
func (e *MalformedError) Unwrap() error { return e.Err }

// A HandBackError is trouble of the worker and not of the job.
type HandBackError struct{ Err error }

func (e *HandBackError) Error() string { return e.Err.Error() }
func (e *HandBackError) Unwrap() error { return e.Err }

// A LaterError says when the job is to run again.
type LaterError struct {
	Err     error
	Delay   time.Duration
	Attempt bool // the run counts as an attempt
}

func (e *LaterError) Error() string { return e.Err.Error() }
func (e *LaterError) Unwrap() error { return e.Err }

// RetryAfter tells pipelines, which do not import this package.
func (e *LaterError) RetryAfter() time.Duration { return e.Delay }

// A PanicError is a handler's panic.
type PanicError struct {
	Value any
	Stack string // of the goroutine
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
