package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/hash"
)

// A Message is a value on its way through a pipeline. It is the pipeline's: a function that was given one
// may use it until it returns.
type Message[T any] struct {
	Value   T
	Key     string            // its order goes by it; empty: none
	At      time.Time         // when it happened, as its source says
	Attempt int               // which delivery it is, as its source says
	Meta    map[string]string // what is known about it

	envelope envelope

	// Of the key dispatcher, and of the processor that has the message.
	of       *keyState[T]  // its key's; nil: it has none
	behind   []*Message[T] // that go with it
	prepared bool
}

// An Envelope is a [Message] of whatever type.
type Envelope interface{ sealed() *envelope }

func (m *Message[T]) sealed() *envelope { return &m.envelope }

func (m *Message[T]) end(err error) End { return End{Ref: m.envelope.ref, Err: err, Meta: m.Meta} }

// ID returns what the message is called wherever it is handled again: the key for idempotence. If its
// source has no such name, it is a number of this run.
func (m *Message[T]) ID() string { return m.envelope.id() }

// Fail makes the message fail with err, whatever the function returns. In Prepare, Process is not called
// for it then. It does nothing for a nil error.
func (m *Message[T]) Fail(err error) {
	if err != nil {
		m.envelope.fail(askable(err))
	}
}

// Err returns what the message has failed with; nil: it has not.
func (m *Message[T]) Err() error { return m.envelope.failure() }

// AckNow settles the message at once: handled, or failed if Fail was called. What it ends with later
// changes nothing. The message has left the pipeline then: it takes up no room, and a crash does not bring
// it back.
func (m *Message[T]) AckNow() { AckNow(m) }

// AckNow settles several messages at once, in one call of each Acker.
func AckNow[T any](messages ...*Message[T]) {
	if len(messages) == 0 {
		return
	}
	ended := make([]*envelope, 0, len(messages))
	for _, m := range messages {
		if e := &m.envelope; e.end(e.failure()) {
			ended = append(ended, e)
		}
	}
	messages[0].envelope.run.settle(ended)
}

// ConfigureAck tells the message's Acker something about this message, such as what to do if it fails. It
// is an error if that is no [Configurer].
func (m *Message[T]) ConfigureAck(option any) error {
	c, ok := m.envelope.acker.(Configurer)
	if !ok {
		return fmt.Errorf("pipeline: the source of message %s takes no options (its acker %T is no Configurer)", m.ID(), m.envelope.acker)
	}
	return c.Configure(m.envelope.ref, option)
}

// OnFailure replaces the pipeline's Failure for this message. Bisect is that of the pipeline: it is
// batches that are bisected.
func (m *Message[T]) OnFailure(f Failure) { m.envelope.policy = &f }

// envelope is what the machinery knows of a message, whatever its type.
type envelope struct {
	self interface {
		Envelope
		end(err error) End
	}
	run     *run
	acker   Acker
	ref     any
	number  uint64
	attempt int             // as the source counts
	key     string          // that its order goes by
	hash    uint32          // of key
	policy  *Failure        // nil: the pipeline's
	life    context.Context //nolint:containedctx // of its Delivery; nil: the run's
	traced  string          // the traceparent of its last run that was traced

	group atomic.Pointer[group] // what it is in while Process runs
	open  atomic.Int32          // Process and the values that are not handled yet
	ended atomic.Bool
	told  atomic.Bool // the log knows why it failed: its batch did

	mu  sync.Mutex
	err error

	// Of account.
	prev, next *envelope
}

func (e *envelope) id() string {
	if named, ok := e.ref.(interface{ ID() string }); ok {
		var id string
		if caught(func() error { id = named.ID(); return nil }) == nil {
			return id
		}
	}
	return fmt.Sprintf("%s/%d", e.run.name, e.number)
}

// lane returns which of n handlers has the values of the message's key, in a pipeline with an order.
func (e *envelope) lane(n int) int {
	switch {
	case !e.run.ordered:
		return 0
	case e.key == "":
		return int(e.number % uint64(n))
	default:
		return hash.Bucket(e.hash, n)
	}
}

// end ends the message, and returns whether it had not ended. Whoever is told so settles it.
func (e *envelope) end(err error) bool {
	if !e.ended.CompareAndSwap(false, true) {
		return false
	}
	e.mu.Lock()
	e.err = err
	e.mu.Unlock()
	return true
}

// fail adds a failure.
func (e *envelope) fail(err error) {
	if err == nil || e.ended.Load() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	} else {
		e.err = errors.Join(e.err, err)
	}
}

func (e *envelope) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// forgive takes back what a try that is repeated has failed with.
func (e *envelope) forgive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended.Load() {
		e.err = nil
	}
}

// done ends one share of the message: its Process, or a value in a batch. It returns whether the message
// ended with that, and is to be settled.
func (e *envelope) done() bool {
	return e.open.Add(-1) == 0 && e.end(e.failure())
}

// lost returns why the message is no longer this process's; nil: it is.
func (e *envelope) lost() error {
	if e.life == nil || e.life.Err() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrHandedBack, context.Cause(e.life))
}

// failures returns what is to be done if the message fails.
func (e *envelope) failures() Failure {
	if e.policy != nil {
		return e.policy.withDefaults()
	}
	return e.run.failures
}
