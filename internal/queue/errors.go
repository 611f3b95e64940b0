package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// What a caller of this package can act on.
var (
	// ErrNotFound says that no job, event or dead record matches.
	ErrNotFound = stream.ErrNotFound
	// ErrLeaseLost says that the job may run elsewhere by now: nothing about it may be written.
	ErrLeaseLost = errors.New("lease lost")
	// ErrNotSent says that a job is surely not stored: the context had ended before it was sent.
	ErrNotSent = errors.New("job was not sent")
	// ErrAckWait says that a consumer exists with another lease than the one asked for.
	ErrAckWait = errors.New("ack wait differs")
)

// A DuplicateError says that a job with the chosen id is alive, or that its id is kept.
type DuplicateError struct {
	Queue, Type, ID string
	Life            string    // of that job
	Until           time.Time // of an id that is kept after its job's end; zero while the job is alive
}

func (e *DuplicateError) Error() string {
	if !e.Until.IsZero() {
		return fmt.Sprintf("id %s of type %s in queue %s is taken until %s", e.ID, e.Type, e.Queue, e.Until.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("job %s of type %s is already in queue %s", e.ID, e.Type, e.Queue)
}

// A FinishedError says that nothing can be done about a job any more.
type FinishedError struct{ State job.State }

func (e *FinishedError) Error() string { return fmt.Sprintf("job has ended already: %s", e.State) }

// A TooLargeError says that a message is over the broker's limit.
type TooLargeError struct {
	What        string // "payload" or "result"
	Size, Limit int    // bytes
	MaxPayload  int64  // the server's, if that is why
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d bytes %s", e.What, e.Size, e.Rule())
}

// Rule says which limit it is over, and what to do.
func (e *TooLargeError) Rule() string {
	text := fmt.Sprintf("is over the limit of %d bytes (%d KiB)", e.Limit, e.Limit>>10)
	if e.MaxPayload > 0 && e.Limit < job.MaxPayload {
		text += fmt.Sprintf(", which the server's max_payload of %d bytes leaves", e.MaxPayload)
	}
	return text + "; store it elsewhere and send a reference"
}
