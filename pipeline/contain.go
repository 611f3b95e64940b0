package pipeline

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// A PanicError is how a message fails whose function panicked.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the goroutine's stack, as debug.Stack formats it
}

// Error leaves the stack out: it belongs in a log attribute of its own.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught calls f and returns its panic as an error; that of its error's own methods, too, such as a nil
// pointer's: nothing that is asked of an error later panics.
func caught(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	if err = f(); err != nil {
		_, _ = triesAgain(err), bisects(err)
	}
	return err
}

// askable returns err, or the panic of one whose methods panic.
func askable(err error) error {
	return caught(func() error { return err })
}

// contained is caught for functions that may end their goroutine, too: it gives f one of its own. What is
// called for each message has another way, since that costs more than most messages do: see worker.
func contained(f func() error) error {
	err := ErrExited
	var call sync.WaitGroup
	call.Go(func() { err = caught(f) })
	call.Wait()
	return err
}
