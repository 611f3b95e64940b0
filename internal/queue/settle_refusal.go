package queue

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// settlePauseMax is the longest pause before a write of an end is tried again.
const settlePauseMax = 5 * time.Second

// errUnwritable says that a message cannot be encoded.
var errUnwritable = errors.New("cannot be encoded")

// final reports whether a message that was refused with err will be refused whenever it is sent
// again. The list is complete: any other error of a broker or a connection may pass, and an end
// that is given up too early costs a second run.
func final(err error) bool {
	switch stream.Code(err) {
	case stream.CodeStreamSealed, // a stream that is sealed stays so
		stream.CodeScheduleInvalid, stream.CodeTargetInvalid:
		return true
	}
	return tooLarge(err) ||
		errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrInvalidMsg) ||
		errors.Is(err, errUnwritable) || errors.Is(err, stream.ErrSubjectTooLong)
}

// tooLarge reports whether a message is over a limit of the broker's or a stream's, so that
// a smaller one may be taken.
func tooLarge(err error) bool {
	switch stream.Code(err) {
	case stream.CodeMessageTooLarge, stream.CodeHeadersTooLarge:
		return true
	}
	return errors.Is(err, nats.ErrMaxPayload)
}

// write publishes m until the stream has taken it or refuses it for good, for as long as the lease
// lives. It returns the sequence, [ErrLeaseLost], [stream.ErrConflict] or an error that is [final].
func (t *settlement) write(ctx context.Context, m *nats.Msg, what string) (uint64, error) {
	seq, err := t.store.client.Confirm(ctx, m, &endWrite{settlement: t, what: what}, settlePauseMax)
	if ctx.Err() == nil {
		t.store.refused.drop(t)
	}
	return seq, err
}

// An endWrite is the policy of a write of a settlement: it is tried for as long as the lease
// lives, unless the broker will never take it.
type endWrite struct {
	*settlement
	what string // is written
}

// Final implements [stream.RetryPolicy].
func (w *endWrite) Final(err error) bool { return final(err) }

// Restore implements [stream.RetryPolicy].
func (w *endWrite) Restore(ctx context.Context) error { return w.store.restore(ctx) }

// Failed implements [stream.RetryPolicy].
func (w *endWrite) Failed(err error) {
	w.store.refused.add(w.settlement, w.what, err)
	w.store.Doubt()
}

// readFor reads what a settlement has to know, until there is an answer or the lease is lost.
func readFor[T any](ctx context.Context, t *settlement, what string, read func(context.Context) (T, error)) (T, error) {
	refused := &t.store.refused
	v, err := stream.KeepReading(ctx, t.Alive, func(ctx context.Context) (T, error) {
		v, err := read(ctx)
		if err != nil && !errors.Is(err, ErrNotFound) {
			refused.add(t, what, err)
		}
		return v, err
	})
	if ctx.Err() == nil {
		refused.drop(t)
	}
	return v, err
}
