package tally

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A Pair is a queue and a type of jobs in it.
type Pair struct{ Queue, Type string }

// A Live are the counters of one queue and type as a worker counts. They only grow. Its methods are
// for the way of every job: they neither block nor allocate. Make it with [Book.Of].
type Live struct {
	n   [counters]atomic.Uint64
	h   [measures]Timer
	due ring
}

// Started counts a handler that is called now, of a job that was ready for that long.
func (l *Live) Started(wait time.Duration) {
	l.n[Started].Add(1)
	l.h[Wait].Observe(wait)
}

// Ran counts that a handler took d.
func (l *Live) Ran(d time.Duration) { l.h[Run].Observe(d) }

// Ended counts an end, with the reason of a dead one. One that is no event is not counted.
func (l *Live) Ended(k job.EventKind, reason string) {
	outcome, ok := outcomeOf(k)
	if !ok {
		return
	}
	l.n[outcome].Add(1)
	if why, ok := reasonOf(reason); ok && outcome == Dead {
		l.n[why].Add(1)
	}
}

// Followed counts a message, written now, that carries a job on after a delay; 0: at once.
func (l *Live) Followed(now time.Time, delay time.Duration) {
	l.n[Successors].Add(1)
	if delay > 0 {
		l.due.add(now, delay)
	}
}

// Fired counts the first delivery of a job that waited for its time, which came that late.
func (l *Live) Fired(late time.Duration) {
	l.n[Fired].Add(1)
	l.h[Late].Observe(late)
}

// Inc counts one of the rest.
func (l *Live) Inc(c Counter) { l.n[c].Add(1) }

// read returns what was counted so far. Busy is the time of the runs that have ended.
func (l *Live) read(now time.Time) (c Counts) {
	l.n[Due].Add(l.due.take(now))
	for i := range l.n {
		c.N[i] = l.n[i].Load()
	}
	for m := range l.h {
		c.H[m] = *l.h[m].Read()
	}
	c.N[Busy] = c.H[Run].micros
	return c
}

// A ring counts what is due in the next hour, by tens of seconds. What is due later is left out:
// those are too few to say whether the broker makes jobs ready in time.
type ring struct {
	mu    sync.Mutex
	slots [ringSlots]uint64
	from  int64 // the first slot that is not taken yet; 0: it was never used
}

const (
	ringSlots = 361
	ringSlot  = 10 // seconds
)

func (r *ring) add(now time.Time, delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from == 0 {
		r.from = now.Unix() / ringSlot
	}
	slot := max(now.Add(delay).Unix()/ringSlot, r.from)
	if slot < r.from+ringSlots {
		r.slots[slot%ringSlots]++
	}
}

// take returns how many have come due since it was called before.
func (r *ring) take(now time.Time) (n uint64) {
	slot := now.Unix() / ringSlot
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 0; r.from < slot && i < ringSlots; i++ {
		n += r.slots[r.from%ringSlots]
		r.slots[r.from%ringSlots] = 0
		r.from++
	}
	r.from = max(r.from, slot)
	return n
}

// A Book has the counters of all queues and types of a worker. It is safe for concurrent use.
type Book struct {
	mu    sync.Mutex
	pairs atomic.Pointer[map[Pair]*Live] // replaced with mu held, never changed
}

// NewBook returns an empty book.
func NewBook() *Book {
	b := new(Book)
	b.pairs.Store(&map[Pair]*Live{})
	return b
}

// Of returns the counters of a queue and type, new ones at first.
func (b *Book) Of(queue, typ string) *Live {
	p := Pair{queue, typ}
	if l := (*b.pairs.Load())[p]; l != nil {
		return l
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	pairs := maps.Clone(*b.pairs.Load())
	if pairs[p] == nil {
		pairs[p] = new(Live)
		b.pairs.Store(&pairs)
	}
	return pairs[p]
}

// A Running is a handler that runs, and since when.
type Running struct {
	Pair
	Since time.Time
	Jobs  int // that one call runs, whose time they share; 0: one
}

// Read returns what was counted since the start, with the time of handlers that still run.
func (b *Book) Read(now time.Time, running []Running) Sums {
	pairs := *b.pairs.Load()
	all := make(Sums, len(pairs))
	for p, l := range pairs {
		c := l.read(now)
		all[p] = &c
	}
	for _, r := range running {
		if c := all[r.Pair]; c != nil {
			c.N[Busy] += microsOf(now.Sub(r.Since)) / uint64(max(r.Jobs, 1)) //nolint:gosec // it is positive
		}
	}
	return all
}
