package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Bounds of what one EnqueueMany keeps.
const (
	maxInFlight   = 4096     // writes that are not answered yet: the broker queues no more than 100,000, of all clients
	maxBulkBytes  = 16 << 20 // of those; and no more than 128 MiB, of all clients
	maxSharedKeys = 32       // headers of a message that is used again

	lastAnswers = 100 * time.Millisecond // for answers to come once the context has ended
)

// A bulk is an EnqueueMany in progress.
type bulk struct {
	store *Store
	items []bulkItem
	wake  chan struct{} // capacity 1: an answer has come

	mu       sync.Mutex
	inFlight int
	bytes    int // of those payloads
}

// A bulkItem is one job of it.
type bulkItem struct {
	bulk  *bulk
	token uint64 // 0: not sent
	size  int

	// Of bulk.mu.
	stored bool
}

// Answered implements [stream.Receiver].
func (i *bulkItem) Answered(_ uint64, err error) {
	b := i.bulk
	b.mu.Lock()
	i.stored = err == nil
	b.inFlight--
	b.bytes -= i.size
	b.mu.Unlock()
	wake(b.wake)
}

// EnqueueMany stores jobs with their writes in flight together. The error of
// batch[i] is errs[i]; those without one are stored. Once the context has ended, nothing more
// is sent, which is [ErrNotSent]; of what was sent, answers are waited for a moment longer.
func (s *Store) EnqueueMany(ctx context.Context, batch []Enqueue) (errs []error) {
	errs = make([]error, len(batch))
	if err := s.client.CheckConnected(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	s.scheduleAll(ctx, batch, errs)
	began := time.Now()
	b := s.sendMany(ctx, batch, errs)
	var alive func() error // one patience for all that is not answered
	for i, e := range batch {
		if errs[i] != nil || b.items[i].stored {
			continue
		}
		if ctx.Err() != nil {
			errs[i] = context.Cause(ctx) // it may be stored
			if b.items[i].token == 0 {
				errs[i] = notSent(ctx)
			}
			continue
		}
		// Refused, or not heard of: the single path tells which, and its message
		// id makes a second send harmless.
		if alive == nil {
			alive = s.patience()
		}
		errs[i] = s.enqueue(ctx, e, effort{alive: alive, since: began})
		if errs[i] == nil || isRefusal(errs[i]) {
			alive = nil // an answer: the next may take its time as well
		}
	}
	return errs
}

// sendMany sends the batch and waits for the answers. Of what was not sent for good it notes why.
func (s *Store) sendMany(ctx context.Context, batch []Enqueue, errs []error) *bulk {
	b := &bulk{store: s, items: make([]bulkItem, len(batch)), wake: make(chan struct{}, 1)}
	b.send(ctx, batch, errs)
	if !b.wait(ctx, 0) && !b.waitLonger(ctx) {
		b.forget()
	}
	return b
}

// send publishes the batch, as long as answers come. The connection keeps nothing of a
// message, so one is enough.
func (b *bulk) send(ctx context.Context, batch []Enqueue, errs []error) {
	m := &nats.Msg{Header: make(nats.Header)}
	for i, e := range batch {
		b.store.useQueue(e.place.Queue)
		if e.Below > 0 || errs[i] != nil {
			continue // one after the other, or not at all
		}
		if len(m.Header) > maxSharedKeys {
			m.Header = make(nats.Header)
		}
		if errs[i] = b.store.fillEnqueue(m, e); errs[i] != nil {
			continue
		}
		size := len(e.Record.Payload)
		if ctx.Err() != nil || !b.waitUntil(ctx, func() bool { return b.fits(size) }) {
			return
		}
		item := &b.items[i]
		item.bulk, item.size = b, size
		b.add(1, size)
		token, err := b.store.client.Send(m, item)
		item.token = token
		if err != nil {
			b.add(-1, -size)
			if !errors.Is(err, nats.ErrReconnectBufExceeded) { // that may pass
				errs[i] = err
			}
		}
	}
}

// wait waits until no more than n writes are in flight. It reports false if no answer
// comes for too long: a broker that stands still never refuses.
func (b *bulk) wait(ctx context.Context, n int) bool {
	return b.waitUntil(ctx, func() bool { return b.unanswered() <= n })
}

// waitUntil is wait for another end.
func (b *bulk) waitUntil(ctx context.Context, done func() bool) bool {
	if done() {
		return true
	}
	silence := time.NewTimer(defaultPatience)
	defer silence.Stop()
	for !done() {
		select {
		case <-b.wake:
			silence.Reset(defaultPatience)
		case <-silence.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// waitLonger waits a moment for the last answers if ctx has ended: it is worth that to know
// which jobs are stored.
func (b *bulk) waitLonger(ctx context.Context) bool {
	if ctx.Err() == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	return b.wait(ctx, 0)
}

// fits reports whether a write of this size may be in flight with the others.
func (b *bulk) fits(bytes int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight == 0 || b.inFlight < maxInFlight && b.bytes+bytes <= maxBulkBytes
}

func (b *bulk) add(writes, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight += writes
	b.bytes += bytes
}

func (b *bulk) unanswered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight
}

// forget gives up waiting. An answer that is being told is waited for.
func (b *bulk) forget() {
	for i := range b.items {
		if b.store.client.Forget(b.items[i].token) {
			b.add(-1, -b.items[i].size)
		}
	}
	for b.unanswered() > 0 {
		<-b.wake
	}
}
