package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// MaxAtomic is how many messages an atomic batch has at most, unless the server is configured to
// take fewer.
const MaxAtomic = 1000

// Headers of the messages of an atomic batch.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// atomicBytesPerSecond is the least speed at which a batch is expected to reach the server.
const atomicBytesPerSecond = 1 << 20

// An AtomicBatch stores messages in one stream, all of them or none (nats-server: ADR-50). They are
// staged one by one, and the last one has the stream check the conditions of all and store them. A
// stream is slower at one such batch than at a few messages by themselves: where it has one copy,
// it writes and syncs a file for each batch.
//
// Each message may have a condition and a message id. The stream checks the conditions against what
// it had before the batch, so two messages of a batch do not exclude each other.
type AtomicBatch struct {
	client *Client
	id     string
	staged int
	bytes  int
}

// NewAtomicBatch begins a batch. One that is not committed is dropped by the stream after 10 s.
func (c *Client) NewAtomicBatch() *AtomicBatch {
	return &AtomicBatch{client: c, id: strconv.FormatUint(rand.Uint64(), 36)}
}

// Stage sends m, which is not the last of the batch. Without an answer asked for, by a nil to, a
// refusal of m shows in that of the batch only. It keeps nothing of m, and sets headers in it.
func (b *AtomicBatch) Stage(m *nats.Msg, to Receiver) (token uint64, err error) {
	b.number(m)
	if to != nil {
		return b.client.Send(m, to)
	}
	m.Reply = ""
	if err := fits(m.Subject, ""); err != nil {
		return 0, err
	}
	return 0, unconnected(b.client.nc.PublishMsg(m))
}

// Commit sends m, the last of the batch. The answer is the sequence of m: those before have the
// sequences before it.
func (b *AtomicBatch) Commit(m *nats.Msg, to Receiver) (token uint64, err error) {
	b.number(m)
	m.Header[headerBatchCommit] = []string{"1"}
	return b.client.Send(m, to)
}

// Timeout is how long the answer to a batch is waited for.
func (b *AtomicBatch) Timeout() time.Duration {
	return RequestTimeout + time.Duration(b.bytes)*time.Second/atomicBytesPerSecond
}

func (b *AtomicBatch) number(m *nats.Msg) {
	b.staged++
	b.bytes += len(m.Data)
	m.Header[headerBatchID] = []string{b.id}
	m.Header[headerBatchSeq] = []string{strconv.Itoa(b.staged)}
	delete(m.Header, headerBatchCommit) // of a message that is used again
}

// IsStored reports whether err says that an atomic batch was stored before, of which each message has
// an id of its own: the stream knows one of these ids. A stream with one copy that ran out of room in
// the middle has stored the first messages and not the others, and gave no answer.
func IsStored(err error) bool { return Code(err) == CodeAtomicDuplicate }

// A StagedError says which message of an atomic batch the stream did not take, whatever the
// others are.
type StagedError struct {
	Index int
	Err   error
}

func (e *StagedError) Error() string {
	return fmt.Sprintf("message %d of the batch: %v", e.Index, e.Err)
}

// Unwrap returns the stream's word on that message.
func (e *StagedError) Unwrap() error { return e.Err }

// PublishAtomic sends all messages to a stream once, and returns the sequence of the last one: the
// others have those before it. It returns a [*ConflictError] if the condition of one of them does
// not hold, and an error that [IsStored] if the batch was stored before. After
// [context.DeadlineExceeded] it may be stored or not.
func (c *Client) PublishAtomic(ctx context.Context, msgs []*nats.Msg) (seq uint64, err error) {
	return c.publishAtomic(ctx, msgs, (*atomicWrite).sendAll)
}

// ConfirmAtomic is [Client.Confirm] of an atomic batch. An error that [IsStored] comes after an answer
// was lost. A [*StagedError] names the one message that the stream will never take.
func (c *Client) ConfirmAtomic(ctx context.Context, msgs []*nats.Msg, p RetryPolicy, maxPause time.Duration) (seq uint64, err error) {
	send := (*atomicWrite).sendAll
	return c.confirm(ctx, fmt.Sprintf("%d messages at once", len(msgs)), p, maxPause, func(ctx context.Context) (uint64, error) {
		seq, err := c.publishAtomic(ctx, msgs, send)
		send = (*atomicWrite).sendWatched
		return seq, err
	})
}

// An atomicWrite is one attempt to store a batch.
type atomicWrite struct {
	batch   *AtomicBatch
	msgs    []*nats.Msg
	answers chan atomicAnswer // capacity for all
	tokens  []uint64          // of the answers that are asked for
}

type atomicAnswer struct {
	index int
	seq   uint64
	err   error
}

// An atomicReceiver is told what becomes of one message.
type atomicReceiver struct {
	write *atomicWrite
	index int
}

// Answered implements [Receiver].
func (r *atomicReceiver) Answered(seq uint64, err error) {
	r.write.answers <- atomicAnswer{index: r.index, seq: seq, err: err}
}

func (c *Client) publishAtomic(ctx context.Context, msgs []*nats.Msg, send func(*atomicWrite, context.Context) error) (uint64, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx) // and nobody can say that it was stored all the same
	}
	w := &atomicWrite{batch: c.NewAtomicBatch(), msgs: msgs, answers: make(chan atomicAnswer, len(msgs))}
	defer w.forget()
	if err := send(w, ctx); err != nil {
		return 0, err
	}
	return w.wait(ctx)
}

// sendAll sends the batch and asks for two answers: the first message's says whether the stream
// takes part in another batch.
func (w *atomicWrite) sendAll(context.Context) error {
	for i := range w.msgs {
		if err := w.send(i, i == 0); err != nil {
			return err
		}
	}
	return nil
}

// sendWatched sends the batch after something went wrong. It asks for the answer to each message,
// since that to the last one does not say why a batch is incomplete. It waits for that to the first,
// so that a stream that is busy is not bothered with the others.
func (w *atomicWrite) sendWatched(ctx context.Context) error {
	for i := range w.msgs {
		if err := w.send(i, true); err != nil {
			return err
		}
		if i > 0 || len(w.msgs) == 1 {
			continue
		}
		a, err := w.next(ctx)
		if err != nil {
			return err
		}
		if !isStaged(a.err) {
			return a.err
		}
	}
	return nil
}

func (w *atomicWrite) send(i int, ask bool) error {
	var to Receiver
	if ask {
		to = &atomicReceiver{write: w, index: i}
	}
	var token uint64
	var err error
	if i == len(w.msgs)-1 {
		token, err = w.batch.Commit(w.msgs[i], &atomicReceiver{write: w, index: i})
	} else {
		token, err = w.batch.Stage(w.msgs[i], to)
	}
	if token != 0 {
		w.tokens = append(w.tokens, token)
	}
	return err
}

// wait returns the answer to the batch. If one to a message before the last says why the batch is
// incomplete, it returns that.
func (w *atomicWrite) wait(ctx context.Context) (uint64, error) {
	var refused error
	for {
		a, err := w.next(ctx)
		switch last := len(w.msgs) - 1; {
		case err != nil:
			return 0, err
		case a.index < last && !isStaged(a.err) && refused == nil:
			refused = refusalOf(a)
		case a.index == last && Code(a.err) == CodeAtomicIncomplete && refused != nil:
			return 0, refused
		case a.index == last:
			return a.seq, a.err
		}
	}
}

// refusalOf names the message if that is what is wrong, and not the broker or the batch.
func refusalOf(a atomicAnswer) error {
	switch Code(a.err) {
	case CodeMessageTooLarge, CodeHeadersTooLarge:
		return &StagedError{Index: a.index, Err: a.err}
	}
	return a.err
}

func (w *atomicWrite) next(ctx context.Context) (atomicAnswer, error) {
	timeout := time.NewTimer(w.batch.Timeout())
	defer timeout.Stop()
	select {
	case a := <-w.answers:
		return a, nil
	case <-timeout.C:
		return atomicAnswer{}, context.DeadlineExceeded
	case <-ctx.Done():
		return atomicAnswer{}, ctx.Err()
	}
}

// forget gives up the answers that have not come. Nobody reads one that comes now.
func (w *atomicWrite) forget() {
	for _, t := range w.tokens {
		w.batch.client.Forget(t)
	}
}

// isStaged reports whether err is the stream's word that it has taken a message of a batch.
func isStaged(err error) bool { return errors.Is(err, errEmptyAnswer) }
