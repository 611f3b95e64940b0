package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/batch"
)

// batching is what a run needs of a batcher at work, whatever its values.
type batching struct {
	stage       func() staging
	handlers    []func()
	oldest      func() (since time.Time, ok bool)
	flushOldest func()
	flush       func()
	open        func() (batches int)
	close       func()

	// Of folds, which keep to an order: they are told of what was pulled, and of what is out of Process. nil:
	// it does not matter.
	pulled func([]*envelope)
	left   func([]*envelope)
}

// batches are those of one batcher in one run: the open ones, and the ones that wait for a handler.
type batches[V any] struct {
	config *BatcherConfig[V]
	run    *run

	mu      sync.Mutex
	work    *sync.Cond // there is a batch to handle, or none will come
	space   *sync.Cond // fewer batches wait
	gather  *batch.Batcher[batchKey, entry[V]]
	queues  [][]gathered[V] // of a pipeline with an order one a lane, else one
	waiting int             // in queues
	scratch []gathered[V]
	timer   *time.Timer // nil until the first batch
	closed  bool
}

type gathered[V any] = batch.Batch[batchKey, entry[V]]

func (b *Batcher[V]) start(r *run) batching {
	c := &b.config
	core := batch.Config[entry[V]]{Size: c.Size, Ceiling: c.Bytes, Keys: c.Keys, Wait: c.Wait}
	if c.Split != nil {
		core.Split = func() func(entry[V]) bool { return splitter(r, c) }
	}
	bs := &batches[V]{config: c, run: r, gather: batch.New[batchKey](core), queues: make([][]gathered[V], 1)}
	if r.ordered {
		bs.queues = make([][]gathered[V], c.Concurrency)
	}
	bs.work, bs.space = sync.NewCond(&bs.mu), sync.NewCond(&bs.mu)
	all := batching{
		stage: func() staging { return &staged[V]{to: bs} }, handlers: make([]func(), c.Concurrency),
		oldest: bs.oldest, flushOldest: bs.flushOldest, flush: bs.flush, open: bs.open, close: bs.close,
	}
	for i := range all.handlers {
		all.handlers[i] = func() { bs.handle(i % len(bs.queues)) }
	}
	return all
}

// splitter is a Split that cannot hurt: one that fails ends its batch.
func splitter[V any](r *run, c *BatcherConfig[V]) func(entry[V]) bool {
	var split func(V) bool
	failed := func(f func()) bool {
		err := contained(func() error { f(); return nil })
		if err != nil {
			r.log.Error("a Split failed: the batch ends here", slog.String("batcher", c.Name), slog.Any("err", err))
		}
		return err != nil
	}
	failed(func() { split = c.Split() })
	return func(e entry[V]) (last bool) {
		return split == nil || failed(func() { last = split(e.value) }) || last
	}
}

// add puts values into batches. It waits while as many batches wait as there are handlers.
func (b *batches[V]) add(ctx context.Context, items []batch.Item[batchKey, entry[V]]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting >= b.config.Concurrency {
		defer context.AfterFunc(ctx, b.wakeAll)()
		for b.waiting >= b.config.Concurrency && ctx.Err() == nil {
			b.space.Wait()
		}
	}
	if b.closed || ctx.Err() != nil {
		return // their messages are handed back
	}
	b.enqueue(b.gather.Add(time.Now(), items, b.scratch[:0]))
}

func (b *batches[V]) wakeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.space.Broadcast()
}

// enqueue has batches handled, and sets the timer for the oldest of the open ones.
func (b *batches[V]) enqueue(left []gathered[V]) {
	b.run.account.called(len(left))
	for i := range left {
		lane := 0
		if len(b.queues) > 1 {
			lane = left[i].Key.lane
		}
		b.queues[lane] = append(b.queues[lane], left[i])
		b.waiting++
	}
	if len(left) > 0 {
		b.work.Broadcast()
	}
	clear(left)
	b.scratch = left[:0]
	due, ok := b.gather.Next()
	switch {
	case !ok && b.timer != nil:
		b.timer.Stop()
	case !ok:
	case b.timer == nil:
		b.timer = time.AfterFunc(time.Until(due), func() { b.run.guard(partBatchers, b.due) })
	default:
		b.timer.Reset(time.Until(due))
	}
}

func (b *batches[V]) due() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.enqueue(b.gather.Due(time.Now(), b.scratch[:0]))
	}
}

func (b *batches[V]) oldest() (since time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	due, ok := b.gather.Next()
	return due.Add(-b.config.Wait), ok
}

func (b *batches[V]) flushOldest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left, ok := b.gather.Oldest(); ok && !b.closed {
		b.enqueue(append(b.scratch[:0], left))
	}
}

func (b *batches[V]) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.enqueue(b.gather.Flush(b.scratch[:0]))
	}
}

func (b *batches[V]) open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, _ := b.gather.Len()
	return n
}

// close ends the handlers when they are out of their calls. What waits is left to the run.
func (b *batches[V]) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.work.Broadcast()
	b.space.Broadcast()
}

func (b *batches[V]) handle(lane int) {
	for {
		next, ok := b.next(lane)
		if !ok {
			return
		}
		c := call[V]{batches: b, batch: &next}
		c.run()
		b.run.account.update(func() { b.run.account.calls-- })
	}
}

// next waits for a batch.
func (b *batches[V]) next(lane int) (gathered[V], bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queues[lane]) == 0 && !b.closed {
		b.work.Wait()
	}
	if b.closed {
		return gathered[V]{}, false
	}
	q := b.queues[lane]
	next := q[0]
	q[0] = gathered[V]{}
	b.queues[lane] = q[1:]
	b.waiting--
	b.space.Broadcast()
	return next, true
}
