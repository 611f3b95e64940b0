package flow

import (
	"sync"
	"time"
)

const (
	maxFinished = 4               // deliveries a goroutine may have finished ahead of their turn
	maxAhead    = 2 * maxDelivery // events that one delivery may have made ahead of its turn
)

// order is a layer that keeps the order of its input.
type order struct {
	joined any // the *reorder of the layer, once the lane of its first goroutine is made
}

// turn is what a goroutine of such a layer tells about the delivery it handles.
type turn interface {
	begin(s segment)
	finish() error
}

// arrive ends a lane where its layer ends. If that keeps the order, what is below is made once, and
// entered by the layer's goroutines in turn.
func arrive[T any](l lane, below func(lane) sink[T]) sink[T] {
	o := l.g.order
	if o == nil {
		return below(l)
	}
	r, ok := o.joined.(*reorder[T])
	if !ok {
		inner := lane{ctx: l.ctx, g: &goroutine{wake: make(chan struct{}, 1)}}
		r = &reorder[T]{head: 1, finished: map[uint64]held[T]{}, g: inner.g, next: below(inner)}
		o.joined = r
	}
	r.open++
	t := &ahead[T]{r: r, lane: l}
	l.g.turn = t
	return t
}

// reorder restores the order. Who handles the delivery that is at the head may push, and then does so
// for those that have finished behind it.
type reorder[T any] struct {
	next sink[T]
	g    *goroutine // what next believes to run on

	mu       sync.Mutex
	head     uint64 // the delivery whose turn it is
	finished map[uint64]held[T]
	waiting  []*ahead[T] // bound: the goroutines of the layer
	spare    [][]T
	last     []T // what steps made when their goroutine had ended, such as Top
	open     int // goroutines that have not ended
}

// held is what a delivery has made that was finished ahead of its turn.
type held[T any] struct {
	by     *ahead[T]
	source int
	events []T
}

// ahead is the end of a lane of a layer that keeps the order.
type ahead[T any] struct {
	r        *reorder[T]
	lane     lane
	at       uint64 // the delivery at hand; 0: none
	source   int
	events   []T // what the delivery at hand has made ahead of its turn
	finished int // deliveries that wait for their turn; r.mu
}

func (a *ahead[T]) begin(s segment) { a.at, a.source = s.sequence, s.source }

func (a *ahead[T]) push(batch []T) error {
	r := a.r
	if a.at == 0 {
		a.events = append(a.events, batch...)
		return nil
	}
	r.mu.Lock()
	mine := r.head == a.at
	r.mu.Unlock()
	if !mine && len(a.events)+len(batch) <= maxAhead {
		a.events = append(a.events, batch...)
		return nil
	}
	if !mine {
		if err := a.wait(func() bool { return r.head == a.at }); err != nil {
			return err
		}
	}
	if err := a.release(); err != nil {
		return err
	}
	return a.pass(a.source, batch)
}

// pass hands events on, when it is this lane's turn.
func (a *ahead[T]) pass(source int, events []T) error {
	a.lane.g.below = a.r.g
	a.r.g.source = source
	err := a.r.next.push(events)
	a.lane.g.below = nil
	return err
}

// release hands on what was made before the turn came.
func (a *ahead[T]) release() error {
	if len(a.events) == 0 {
		return nil
	}
	err := a.pass(a.source, a.events)
	clear(a.events)
	a.events = a.events[:0]
	return err
}

func (a *ahead[T]) finish() error {
	r := a.r
	r.mu.Lock()
	if r.head == a.at {
		r.mu.Unlock()
		if err := a.release(); err != nil {
			return err
		}
		a.at = 0
		return a.advance()
	}
	r.finished[a.at] = held[T]{by: a, source: a.source, events: a.events}
	a.at, a.events = 0, nil
	if last := len(r.spare) - 1; last >= 0 {
		a.events, r.spare = r.spare[last], r.spare[:last]
	}
	a.finished++
	full := a.finished >= maxFinished
	r.mu.Unlock()
	if !full {
		return nil
	}
	return a.wait(func() bool { return a.finished < maxFinished })
}

// advance gives the turn to the next delivery that is not finished, after those that are.
func (a *ahead[T]) advance() error {
	for r := a.r; ; {
		r.mu.Lock()
		r.head++
		h, ok := r.finished[r.head]
		delete(r.finished, r.head)
		if ok {
			h.by.finished--
		}
		for _, other := range r.waiting {
			other.lane.g.awake()
		}
		r.mu.Unlock()
		if !ok {
			return nil
		}
		if len(h.events) > 0 {
			if err := a.pass(h.source, h.events); err != nil {
				return err
			}
		}
		clear(h.events)
		r.mu.Lock()
		r.spare = append(r.spare, h.events[:0])
		r.mu.Unlock()
	}
}

// wait returns when ready does, which is called with the lock held.
func (a *ahead[T]) wait(ready func() bool) error {
	r := a.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, a)
	defer func() {
		for i, other := range r.waiting {
			if other == a {
				r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
				break
			}
		}
	}()
	for !ready() {
		r.mu.Unlock()
		_, err := a.lane.wait(time.Time{})
		r.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *ahead[T]) end() error {
	r := a.r
	r.mu.Lock()
	if a.at == 0 { // else it was stopped amid a delivery
		r.last = append(r.last, a.events...)
	}
	r.open--
	last := r.open == 0
	r.mu.Unlock()
	if !last {
		return nil
	}
	a.lane.g.below = r.g
	err := a.lane.interrupted()
	if err == nil && len(r.last) > 0 {
		err = r.next.push(r.last)
	}
	err = first(err, r.next.end())
	a.lane.g.below = nil
	return err
}
