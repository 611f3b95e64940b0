package stream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrConflict says that a conditional write was refused: something newer is there.
	ErrConflict = errors.New("newer message exists")
	// ErrNotFound says that no message matches.
	ErrNotFound = errors.New("not found")
	// ErrExists says that a stream is not restored since one of its name is there.
	ErrExists = errors.New("it exists")
)

// A ConflictError is an [ErrConflict] with the sequence of what is there: the newest message that
// the condition is about. It is 0 if there is none, or if the server does not say.
type ConflictError struct{ Seq uint64 }

func (e *ConflictError) Error() string { return ErrConflict.Error() }

// Is makes it an [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// newConflict reads the sequence from the server's text, which is the one place that has it.
func newConflict(e *jetstream.APIError) *ConflictError {
	digits := e.Description[strings.LastIndexByte(e.Description, ' ')+1:]
	seq, _ := strconv.ParseUint(digits, 10, 64)
	return &ConflictError{Seq: seq}
}

// Code returns the server's code for err, 0 if it is no answer of a server.
func Code(err error) jetstream.ErrorCode {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode
	}
	return 0
}

// unconnected puts plain words before the error of a connection that is lost and buffers nothing
// meanwhile: its own text is about the buffer.
func unconnected(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("no connection to the broker: %w", err)
	}
	return err
}

// IsRefusal reports whether err is an answer that the server would give again.
func IsRefusal(err error) bool {
	if errors.Is(err, nats.ErrPermissionViolation) {
		return true
	}
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.Code < http.StatusInternalServerError
}
