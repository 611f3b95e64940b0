// Package batch decides when values that come one by one make a batch. It is pure: it has no clock, no
// goroutine and no lock, and is told what time it is.
//
// Values are added in groups, what was delivered together. A batch has values of one key, in the order
// they were added in. It leaves the batcher
//
//   - [Full], at once: it has Size values or weighs Ceiling, the next value would weigh it beyond that,
//     or Split says so;
//   - [Flushed]: of a group, cut into runs of one key, a run is over that has left a value marked Flush
//     in it; a batch of another key needs its place; or [Batcher.Oldest] or [Batcher.Flush] was called;
//   - [Due], by [Batcher.Due]: Wait has passed since its first value. Later ones do not extend that.
//
// So no batch has more than Size values, none weighs more than Ceiling unless it is one value that
// does, and none is open for longer than Wait if Due is called at [Batcher.Next].
package batch

import (
	"math"
	"time"
)

// Trigger is why a batch left the batcher.
type Trigger uint8

// Why a batch left.
const (
	Full    Trigger = iota + 1 // it can take no more
	Due                        // Wait has passed since its first value
	Flushed                    // it was told to
)

// Config says when a batch is full or due.
type Config[V any] struct {
	Size    int           // how many values a batch has at most; 0: no bound
	Ceiling int           // what its values weigh together at most; 0: no bound
	Keys    int           // how many batches are open at most, after which the oldest is flushed; 0: no bound
	Wait    time.Duration // how long after its first value a batch is due; 0: at once

	// Split, if set, makes for each batch a function that is called for each of its values and says
	// whether the batch ends with that one.
	Split func() func(V) (last bool)
}

// Item is a value to be put into a batch.
type Item[K comparable, V any] struct {
	Key    K
	Value  V
	Weight int  // what it counts against Ceiling; less than 0 is 0
	Flush  bool // do not wait for more than its run
}

// Batch is what values have made.
type Batch[K comparable, V any] struct {
	Key     K
	Values  []V       // never empty; the receiver's
	Weight  int       // at most [math.MaxInt], whatever its values weigh together
	Since   time.Time // when its first value was added
	Trigger Trigger
}

// Batcher holds the open batches. It is not safe for concurrent use.
type Batcher[K comparable, V any] struct {
	config Config[V]
	open   map[K]*openBatch[K, V]
	oldest *openBatch[K, V] // ends of a list by age
	newest *openBatch[K, V]
	values int
}

type openBatch[K comparable, V any] struct {
	Batch[K, V]
	last         func(V) bool
	older, newer *openBatch[K, V]
}

// New returns a batcher without values.
func New[K comparable, V any](c Config[V]) *Batcher[K, V] {
	return &Batcher[K, V]{config: c, open: map[K]*openBatch[K, V]{}}
}

// Len returns how many batches are open, and how many values are in them.
func (b *Batcher[K, V]) Len() (batches, values int) { return len(b.open), b.values }

// Add adds a group of values and appends the batches that leave, in the order they do, to out. now
// must not be before that of an earlier call.
func (b *Batcher[K, V]) Add(now time.Time, group []Item[K, V], out []Batch[K, V]) []Batch[K, V] {
	for len(group) > 0 {
		key, flush, n := group[0].Key, false, 0
		o := b.open[key]
		for ; n < len(group) && group[n].Key == key; n++ {
			o, out = b.add(now, o, &group[n], out)
			flush = o != nil && (flush || group[n].Flush) // what has left takes the mark along
		}
		if flush && o != nil {
			out = append(out, b.end(o, Flushed))
		}
		group = group[n:]
	}
	return out
}

// add adds one value to the open batch o of its key, if there is one, and returns the open batch there
// is afterwards.
func (b *Batcher[K, V]) add(now time.Time, o *openBatch[K, V], item *Item[K, V], out []Batch[K, V]) (*openBatch[K, V], []Batch[K, V]) {
	c := &b.config
	weight := max(item.Weight, 0)
	if o != nil && c.Ceiling > 0 && weight > c.Ceiling-o.Weight {
		out = append(out, b.end(o, Full))
		o = nil
	}
	if o == nil {
		if c.Keys > 0 && len(b.open) >= c.Keys {
			out = append(out, b.end(b.oldest, Flushed))
		}
		o = b.begin(now, item.Key)
	}
	o.Values = append(o.Values, item.Value)
	o.Weight += min(weight, math.MaxInt-o.Weight)
	b.values++
	full := c.Size > 0 && len(o.Values) >= c.Size || c.Ceiling > 0 && o.Weight >= c.Ceiling
	if o.last != nil && o.last(item.Value) || full {
		return nil, append(out, b.end(o, Full))
	}
	return o, out
}

func (b *Batcher[K, V]) begin(now time.Time, key K) *openBatch[K, V] {
	o := &openBatch[K, V]{Batch: Batch[K, V]{Key: key, Since: now}, older: b.newest}
	if b.config.Split != nil {
		o.last = b.config.Split()
	}
	if b.newest != nil {
		b.newest.newer = o
	} else {
		b.oldest = o
	}
	b.newest = o
	b.open[key] = o
	return o
}

func (b *Batcher[K, V]) end(o *openBatch[K, V], t Trigger) Batch[K, V] {
	if o.older != nil {
		o.older.newer = o.newer
	} else {
		b.oldest = o.newer
	}
	if o.newer != nil {
		o.newer.older = o.older
	} else {
		b.newest = o.older
	}
	delete(b.open, o.Key)
	b.values -= len(o.Values)
	o.Trigger = t
	return o.Batch
}

// Next returns when the oldest batch is due, and false if none is open.
func (b *Batcher[K, V]) Next() (time.Time, bool) {
	if b.oldest == nil {
		return time.Time{}, false
	}
	return b.oldest.Since.Add(b.config.Wait), true
}

// Due appends the batches that are due, oldest first.
func (b *Batcher[K, V]) Due(now time.Time, out []Batch[K, V]) []Batch[K, V] {
	for due, ok := b.Next(); ok && !now.Before(due); due, ok = b.Next() {
		out = append(out, b.end(b.oldest, Due))
	}
	return out
}

// Oldest flushes the oldest batch, and returns false if none is open.
func (b *Batcher[K, V]) Oldest() (Batch[K, V], bool) {
	if b.oldest == nil {
		return Batch[K, V]{}, false
	}
	return b.end(b.oldest, Flushed), true
}

// Flush appends all open batches, oldest first.
func (b *Batcher[K, V]) Flush(out []Batch[K, V]) []Batch[K, V] {
	for b.oldest != nil {
		out = append(out, b.end(b.oldest, Flushed))
	}
	return out
}
