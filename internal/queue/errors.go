package queue

import (
	"errors"
	"fmt"

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

// A DuplicateError says that a job with the chosen id is alive.
type DuplicateError struct {
	Queue, Type, ID string
	Life            string // of the living job
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("job %s of type %s is already in queue %s", e.ID, e.Type, e.Queue)
}

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

// Codes of the broker that this package decides on (nats-server: errors.json).
const (
	codeNoResources     = 10023
	codeNoPeers         = 10005 // the cluster has fewer nodes than copies, so far
	codeUnavailable     = 10008 // no leader at the moment
	codeNotEnabled      = 10076 // also while a server starts
	codeMessageTooLarge = 10054 // over the stream's max_msg_size
	codeHeadersTooLarge = 10097 // over 64 KiB
	codeStreamSealed    = 10109
	codeIDInProcess     = 10158 // R3: the same message id is being stored
	codeTooManyRequests = 10167 // the stream's inbound queue is full
	codeScheduleInvalid = 10189
	codeTargetInvalid   = 10190
)
