package flow

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid is wrapped by the errors of a description, such as a negative number of stages, which
	// Run returns before anything starts.
	ErrInvalid = errors.New("flow: invalid")

	// ErrTooManyKeys ends a flow that has more keys at once than [Keyed.MaxKeys] allows.
	ErrTooManyKeys = errors.New("flow: too many keys")

	errGoexit = errors.New("flow: a function called runtime.Goexit")
)

// newStopped returns why a part of a run ends of which nothing more is wanted. Each run has its own: for a
// flow that is run by a step of another one, that of the other is an interruption.
func newStopped() error { return errors.New("flow: stopped, as nothing more is wanted of it") }

// ItemError says for which event a function failed that may: that of [Try], [FlatTry] or [MapBatch].
type ItemError struct {
	Step string // the name of the function, or what [Stream.Named] said
	Item any    // the event; of MapBatch, a copy of the batch
	Err  error  // what the function returned
}

// Error shows step, event and error.
func (e *ItemError) Error() string {
	item := fmt.Sprintf("%+v", e.Item)
	if len(item) > maxShown {
		item = item[:maxShown] + "…"
	}
	return fmt.Sprintf("flow: %s of %s: %v", e.Step, item, e.Err)
}

// maxShown is how much of an event an error shows, in bytes.
const maxShown = 200

// Unwrap returns what the function returned.
func (e *ItemError) Unwrap() error { return e.Err }

// PanicError says that a function of the flow's user panicked. It ends the flow, and not the process.
type PanicError struct {
	Step  string // the step that was at work; "" is a source, or a function that makes a first value.
	Value any    // what it panicked with
	Stack []byte // of the goroutine that panicked
}

// Error shows step and value; the stack is in the field.
func (e *PanicError) Error() string {
	if e.Step == "" {
		return fmt.Sprintf("flow: panicked: %v", e.Value)
	}
	return fmt.Sprintf("flow: %s panicked: %v", e.Step, e.Value)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error) // any other value is no error
	return err
}
