package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/batch"
)

// BatcherConfig describes a batcher. Handle is needed.
//
// Values of one key make a batch; it goes to Handle when it is full, when Wait has passed since its first
// value, or when nothing more can come into it. Calls of Handle for one key may run at the same time if
// Concurrency is more than one: batch keys do not serialise them. The pipeline's OrderBy does.
type BatcherConfig[V any] struct {
	Name        string        // in logs and events. "": default
	Size        int           // how many values a batch has at most. 0: 100
	Wait        time.Duration // how long the first value of a batch waits for others. 0: 1 s
	Bytes       int           // what the values of a batch weigh together at most, by SizeOf. 0: no bound. A value above it is alone
	SizeOf      func(V) int   // needed with Bytes. Less than 0 is 0
	Key         func(V) string
	Keys        int // how many batches are open at once, after which the oldest is flushed. 0: 1000
	Concurrency int // how many calls of Handle run at once. 0: 1

	// Split, if set, makes for each batch a function that is called for each of its values, and says
	// whether the batch ends with that one. Size and Bytes hold all the same.
	Split func() func(V) (emit bool)

	// Handle handles a batch. What it returns is the end of those values that [Batch.Fail] has not given
	// one; so does a panic.
	Handle func(context.Context, *Batch[V]) error
}

// AnyBatcher is a [Batcher] of whatever values.
type AnyBatcher interface {
	check() (name string, inFlight int, err error)
	start(*run) batching
}

// Batcher gathers values into batches. It is made once, listed in [Config.Batchers], and added to by
// Process; it may serve several pipelines, which share no batch.
type Batcher[V any] struct{ config BatcherConfig[V] }

// NewBatcher returns a batcher. [New] checks its configuration.
func NewBatcher[V any](c BatcherConfig[V]) *Batcher[V] {
	if c.Name == "" {
		c.Name = "default"
	}
	if c.Size == 0 {
		c.Size = 100
	}
	if c.Wait == 0 {
		c.Wait = time.Second
	}
	if c.Keys == 0 {
		c.Keys = 1000
	}
	if c.Concurrency == 0 {
		c.Concurrency = 1
	}
	return &Batcher[V]{config: c}
}

func (b *Batcher[V]) check() (name string, inFlight int, err error) {
	c := &b.config
	switch {
	case c.Handle == nil:
		return "", 0, invalid("batcher %s: Handle is missing", c.Name)
	case c.Size < 0 || c.Wait < 0 || c.Bytes < 0 || c.Keys < 0 || c.Concurrency < 0:
		return "", 0, invalid("batcher %s: Size %d, Wait %v, Bytes %d, Keys %d and Concurrency %d must not be negative",
			c.Name, c.Size, c.Wait, c.Bytes, c.Keys, c.Concurrency)
	case (c.Bytes > 0) != (c.SizeOf != nil):
		return "", 0, invalid("batcher %s: Bytes and SizeOf need each other", c.Name)
	}
	return c.Name, c.Size * (c.Concurrency + 1), nil
}

// Add puts v into a batch. The message ends when all its values have been handled, and has failed if one of
// them has. Process calls it, on any goroutine, before it returns; the values reach their batches then, with
// those of the other messages that were delivered together, and none does if Process fails. A message may
// add several values, to several batchers.
func (b *Batcher[V]) Add(m Envelope, v V) { b.add(m.sealed(), v, false) }

// AddNow is Add, and has the batch handled without waiting for more than was delivered together.
func (b *Batcher[V]) AddNow(m Envelope, v V) { b.add(m.sealed(), v, true) }

func (b *Batcher[V]) add(e *envelope, v V, now bool) {
	item := batch.Item[batchKey, entry[V]]{Value: entry[V]{value: v, of: e}, Flush: now}
	item.Key.lane = e.lane(b.config.Concurrency)
	if b.config.Key != nil {
		item.Key.key = b.config.Key(v)
	}
	if b.config.SizeOf != nil {
		item.Weight = b.config.SizeOf(v)
	}
	if g := e.group.Load(); g == nil || !g.add(e, b, func(s staging) {
		if own, ok := s.(*staged[V]); ok {
			own.add(item)
		}
	}) {
		e.run.logLost(b.config.Name, e)
	}
}

// Batch is what Handle gets: values of one key, in the order they were added in. It is Handle's until that
// returns.
type Batch[V any] struct {
	Items   []V
	Key     string
	Trigger Trigger

	entries []*entry[V]
	name    string
	ends    map[int]error // by Fail
}

// Trigger is why a batch is handled now.
type Trigger uint8

// The triggers.
const (
	Full    = Trigger(batch.Full)    // it can take no more
	Due     = Trigger(batch.Due)     // Wait has passed since its first value
	Flushed = Trigger(batch.Flushed) // by AddNow, because nothing more can come into it, or to make room for another key
)

func (t Trigger) String() string {
	switch t {
	case Full:
		return "full"
	case Due:
		return "due"
	case Flushed:
		return "flushed"
	}
	return fmt.Sprintf("Trigger(%d)", uint8(t))
}

// Fail makes the item with this index fail with err, whatever Handle returns. A nil error says that it has
// not failed, also if the batch does.
func (b *Batch[V]) Fail(item int, err error) {
	if item < 0 || item >= len(b.Items) {
		panic(fmt.Sprintf("pipeline: batch of %d items has no item %d", len(b.Items), item))
	}
	if b.ends == nil {
		b.ends = map[int]error{}
	}
	b.ends[item] = askable(err)
}

// failures is how many items have been failed so far.
func (b *Batch[V]) failures() (n int) {
	for _, err := range b.ends {
		if err != nil {
			n++
		}
	}
	return n
}

// ID returns what to call an item where it may be handled again, as "<message>/<batcher>/<n>": n is which
// of its message's values it is.
func (b *Batch[V]) ID(item int) string {
	e := b.entries[item]
	return fmt.Sprintf("%s/%s/%d", e.of.id(), b.name, e.index)
}

// entry is a value and whose it is.
type entry[V any] struct {
	value V
	of    *envelope
	index int // among the values of its message for this batcher
	err   error
}

// batchKey is what makes values meet in a batch.
type batchKey struct {
	key  string
	lane int
}
