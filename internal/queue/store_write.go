package queue

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// confirm is [stream.Client.Confirm] of a write that its caller can try again, for as long as
// alive returns nil.
func (s *Store) confirm(ctx context.Context, m *nats.Msg, alive func() error) (uint64, error) {
	return s.client.Confirm(ctx, m, &plainWrite{store: s, alive: alive}, stream.MaxRetryPause)
}

// A plainWrite is the policy of such a write: other than the end of a job it is given up when
// the broker refuses it.
type plainWrite struct {
	store *Store
	alive func() error
}

// Alive implements [stream.RetryPolicy].
func (w *plainWrite) Alive() error { return w.alive() }

// Final implements [stream.RetryPolicy].
func (w *plainWrite) Final(err error) bool {
	if missing, ok := errors.AsType[*stream.MissingError](err); ok {
		return stream.Final(missing.Err) || errors.Is(missing.Err, nats.ErrPermissionViolation)
	}
	return !passing(err)
}

// Restore implements [stream.RetryPolicy].
func (w *plainWrite) Restore(ctx context.Context) error { return w.store.restore(ctx) }

// Failed implements [stream.RetryPolicy].
func (w *plainWrite) Failed(error) { w.store.Doubt() }

// passing reports whether the same request may succeed soon, for a caller that waits.
func passing(err error) bool {
	if final(err) || errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	switch stream.Code(err) {
	case 0:
		return true // no answer at all: timeout, reconnecting
	case stream.CodeWrongLastSeqBusy, stream.CodeNoResources, stream.CodeNoPeers, stream.CodeUnavailable, stream.CodeNoJetStream,
		stream.CodeIDInProcess, stream.CodeTooManyRequests, stream.CodeAtomicIncomplete, stream.CodeAtomicBusy:
		return true
	default:
		return false
	}
}
