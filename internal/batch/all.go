package batch

import "errors"

// allError is what failed a call for all its values.
type allError struct{ err error }

func (e *allError) Error() string { return e.err.Error() }
func (e *allError) Unwrap() error { return e.err }

// All marks an error of a call that none of its values is at fault for, so that halves of them would fail
// alike. All of nil is nil.
func All(err error) error {
	if err == nil {
		return nil
	}
	return &allError{err}
}

// OfAll reports whether an error was marked by [All].
func OfAll(err error) bool {
	_, all := errors.AsType[*allError](err)
	return all
}
