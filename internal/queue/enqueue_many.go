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
	batch []Enqueue
	errs  []error // of its jobs
	each  bool    // no atomic batches
	items []bulkItem
	msg   *nats.Msg     // is used again for each job
	wake  chan struct{} // capacity 1: an answer has come

	mu       sync.Mutex
	inFlight int
	bytes    int // of those payloads
}

// A bulkItem is one job of it.
type bulkItem struct {
	bulk  *bulk
	token uint64 // 0: not sent by itself
	sent  bool   // by itself or in an atomic batch
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

// EnqueueMany stores jobs with their writes in flight together, or in atomic batches where those are
// faster. The error of batch[i] is errs[i]; those without one are stored. Once the context has ended,
// nothing more is sent, which is [ErrNotSent]; of what was sent, answers are waited for a moment longer.
func (s *Store) EnqueueMany(ctx context.Context, batch []Enqueue) (errs []error) {
	return s.enqueueMany(ctx, batch, false)
}

func (s *Store) enqueueMany(ctx context.Context, batch []Enqueue, each bool) (errs []error) {
	errs = make([]error, len(batch))
	if err := s.client.CheckConnected(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	s.scheduleAll(ctx, batch, errs)
	began := time.Now()
	b := s.sendMany(ctx, batch, errs, each)
	var alive func() error // one patience for all that is not answered
	for i, e := range batch {
		if errs[i] != nil || b.items[i].stored {
			continue
		}
		if ctx.Err() != nil {
			errs[i] = context.Cause(ctx) // it may be stored
			if !b.items[i].sent {
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

// sendMany sends the batch and waits for the answers. Of what was not sent for good it notes why. If
// each is true, it makes no atomic batches.
func (s *Store) sendMany(ctx context.Context, batch []Enqueue, errs []error, each bool) *bulk {
	b := &bulk{
		store: s, batch: batch, errs: errs, each: each, items: make([]bulkItem, len(batch)),
		msg: &nats.Msg{Header: make(nats.Header)}, wake: make(chan struct{}, 1),
	}
	b.send(ctx)
	if !b.wait(ctx) && !b.waitLonger(ctx) {
		b.forget()
	}
	return b
}

// sendEach publishes the jobs with these indices, each by itself, as long as answers come. It reports
// whether all were.
func (b *bulk) sendEach(ctx context.Context, jobs []int) bool {
	for _, i := range jobs {
		if !b.fill(i) {
			continue
		}
		item := &b.items[i]
		item.bulk, item.size = b, len(b.batch[i].Record.Payload)
		if ctx.Err() != nil || !b.waitUntil(ctx, func() bool { return b.fits(item.size) }) {
			return false
		}
		b.add(1, item.size)
		token, err := b.store.client.Send(b.msg, item)
		item.token, item.sent = token, token != 0
		if err != nil {
			b.add(-1, -item.size)
			if !errors.Is(err, nats.ErrReconnectBufExceeded) { // that may pass
				b.errs[i] = err
			}
		}
	}
	return true
}

// fill makes the one message there is that of a job, since the connection keeps nothing of it. It
// reports whether the job can be sent.
func (b *bulk) fill(i int) bool {
	if len(b.msg.Header) > maxSharedKeys {
		b.msg.Header = make(nats.Header)
	}
	b.errs[i] = b.store.fillEnqueue(b.msg, b.batch[i])
	return b.errs[i] == nil
}

// wait waits until no writes are in flight. It reports false if no answer comes for too long: a
// broker that stands still never refuses.
func (b *bulk) wait(ctx context.Context) bool {
	return b.waitUntil(ctx, func() bool { return b.unanswered() == 0 })
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
	return b.wait(ctx)
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
