package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// ErrConflict is what a value fails with whose [Msg] had a condition that does not hold.
var ErrConflict = internal.ErrConflict

// A Msg is what [Publish] stores of a value.
type Msg struct {
	Subject string // some stream has to keep it
	Data    []byte
	Header  nats.Header

	// Expect, if set, is the sequence that the newest message on Subject has to have, 0 for none: else
	// nothing is stored, and the value fails with [ErrConflict].
	Expect *uint64
}

// Publish returns a Handle that stores each value of a batch in a JetStream stream, all at once, and fails
// those that are not stored one by one. Each has the header Nats-Msg-Id "<message>/<batcher>/<n>", n counting
// the values of one message from 0: within the stream's window for duplicates one that is handled again is
// stored once. encode may be called several times for a value.
//
// An error of encode fails its value for good, and what the broker refuses fails alone. Without an answer a
// value may be stored or not: that, and a stream that is not there, is what the Handle returns, for the
// Attempts of the pipeline's Failure.
func Publish[V any](nc *nats.Conn, encode func(V) (Msg, error)) func(context.Context, *pipeline.Batch[V]) error {
	return func(ctx context.Context, b *pipeline.Batch[V]) error {
		if nc == nil || encode == nil {
			return fmt.Errorf("%w: Publish needs a connection and an encoder", ErrInvalid)
		}
		client, err := internal.New(nc, internal.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer client.Close()
		w := &writes{client: client, failed: make(map[int]error), answered: make(chan struct{}, 1)}
		for i, v := range b.Items {
			m, err := message(encode, v, b.ID(i))
			if err != nil {
				b.Fail(i, err)
				continue
			}
			w.send(m, i)
		}
		w.wait(ctx)
		return w.ends(b.Fail)
	}
}

// An encodeError fails for good: the next attempt would have the same value.
type encodeError struct{ error }

func (encodeError) Permanent() bool { return true }

func (e encodeError) Unwrap() error { return e.error }

func message[V any](encode func(V) (Msg, error), v V, id string) (m *nats.Msg, err error) {
	var of Msg
	if err := caught(func() (err error) { of, err = encode(v); return err }); err != nil {
		return nil, encodeError{fmt.Errorf("encode: %w", err)}
	}
	m = &nats.Msg{Subject: of.Subject, Data: of.Data, Header: nats.Header{}}
	maps.Copy(m.Header, of.Header)
	m.Header[internal.HeaderMsgID] = []string{id}
	if of.Expect != nil {
		internal.Expect(m, *of.Expect, m.Subject)
	}
	return m, nil
}

// writes are those of one batch that have no answer yet, and why others failed.
type writes struct {
	client   *internal.Client
	answered chan struct{} // all are; capacity 1

	mu     sync.Mutex
	open   []*write
	left   int
	failed map[int]error
}

// A write is that of one item.
type write struct {
	of    *writes
	item  int
	token uint64
	done  bool
}

func (w *writes) send(m *nats.Msg, item int) {
	one := &write{of: w, item: item}
	w.mu.Lock()
	w.open = append(w.open, one)
	w.left++
	w.mu.Unlock()
	token, err := w.client.Send(m, one)
	if err != nil {
		one.Answered(0, err)
		return
	}
	w.mu.Lock()
	one.token = token
	w.mu.Unlock()
}

// Answered takes the broker's answer, on the connection's goroutine.
func (o *write) Answered(_ uint64, err error) {
	w := o.of
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.done {
		return
	}
	o.done = true
	if err != nil {
		w.failed[o.item] = err
	}
	if w.left--; w.left == 0 {
		wake(w.answered)
	}
}

// wait waits for all answers, as long as one takes at most.
func (w *writes) wait(ctx context.Context) {
	w.mu.Lock()
	none := w.left == 0
	w.mu.Unlock()
	if none {
		return
	}
	timer := time.NewTimer(internal.RequestTimeout)
	defer timer.Stop()
	var cause error
	select {
	case <-w.answered:
		return
	case <-timer.C:
		cause = errNoAnswer
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	w.mu.Lock()
	open := w.open
	w.mu.Unlock()
	for _, o := range open {
		w.mu.Lock()
		done, token := o.done, o.token
		w.mu.Unlock()
		if !done && w.client.Forget(token) {
			o.Answered(0, cause)
		}
	}
	w.mu.Lock()
	none = w.left == 0
	w.mu.Unlock()
	if !none {
		<-w.answered // some are about to be given
	}
}

// ends says which items are stored, and which never will be. What may pass is the error of the rest.
func (w *writes) ends(fail func(item int, err error)) (rest error) {
	for _, o := range w.open {
		switch err := w.failed[o.item]; {
		case err == nil:
			fail(o.item, nil)
		case errors.Is(err, ErrConflict) || internal.IsRefusal(err) || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject):
			fail(o.item, err)
		default:
			rest = err
		}
	}
	return pipeline.All(rest)
}

var errNoAnswer = errors.New("no answer from the broker: it may be stored or not")
