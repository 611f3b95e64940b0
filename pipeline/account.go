package pipeline

import "sync"

// account counts what is in hand. It knows when the source may be asked, when nothing more can come into
// the open batches, and when everything has been settled.
type account struct {
	mu       sync.Mutex
	limit    int // of messages in hand
	inHand   int // pulled and not settled
	before   int // pulled and not out of Process
	calls    int // batches that wait for a handler, or are in a call
	wanted   int // what processors have asked for and the source was not yet
	paused   bool
	waiting  bool      // for the limiter
	shut     bool      // the source says that nothing can come
	full     bool      // the source says that nothing comes before something is settled
	closed   bool      // no further pull
	pulling  bool      // the puller has not ended
	ended    bool      // the source has: nothing more comes, whatever the context
	first    *envelope // in hand, oldest first
	last     *envelope
	number   uint64
	settled  chan struct{} // closed when all is settled after close
	isDone   bool
	changed  chan struct{} // wakes the puller; capacity 1
	hungry   func()        // flushes the oldest batch
	flushAll func()        // flushes all of them
}

func newAccount(limit int) *account {
	return &account{limit: limit, pulling: true, settled: make(chan struct{}), changed: make(chan struct{}, 1)}
}

// update changes the account, and does what is due after that.
func (a *account) update(change func()) {
	a.mu.Lock()
	change()
	idle := a.before == 0 && a.calls == 0
	shut := a.closed || a.paused || a.waiting || a.shut || a.full || a.inHand >= a.limit
	over := a.closed && !a.pulling && a.before == 0
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
	switch {
	case over:
		a.flushAll() // takes nothing if nothing is open
		a.finish()
	case idle && shut:
		a.hungry()
	}
}

// finish tells when all is settled and handled.
func (a *account) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == 0 && a.inHand == 0 && !a.isDone {
		a.isDone = true
		close(a.settled)
	}
}

// begin counts a call that nobody has to wait for, unless all is settled already.
func (a *account) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.isDone {
		return false
	}
	a.calls++
	return true
}

// over reports whether nothing more comes into the batches, and whether the source has ended.
func (a *account) over() (over, ended bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed && !a.pulling && a.before == 0, a.ended
}

// called counts batches that left their batcher. Unlike update it may be called under a lock.
func (a *account) called(n int) {
	a.mu.Lock()
	a.calls += n
	a.mu.Unlock()
}

// state says whether the source is asked.
func (a *account) state() State {
	switch {
	case a.closed:
		return StateDraining
	case a.paused:
		return StatePaused
	case a.shut:
		return StateShut
	case a.waiting:
		return StateLimited
	case a.full || a.inHand >= a.limit:
		return StateFull
	case a.wanted <= 0:
		return StateBusy
	}
	return StateAsking
}

// room returns how many messages the source may be asked for.
func (a *account) room() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused || a.closed {
		return 0
	}
	return max(min(a.limit-a.inHand, a.wanted), 0)
}

// take puts messages in hand. It returns false if the run is over.
func (a *account) take(pulled []*envelope) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.isDone {
		return false
	}
	a.inHand += len(pulled)
	a.before += len(pulled)
	a.wanted -= len(pulled)
	for _, e := range pulled {
		a.number++
		e.number = a.number
		if e.prev = a.last; e.prev != nil {
			e.prev.next = e
		} else {
			a.first = e
		}
		a.last = e
	}
	return true
}

// drop takes settled messages out of hand.
func (a *account) drop(ended []*envelope) {
	a.update(func() {
		for _, e := range ended {
			a.inHand--
			if e.prev != nil {
				e.prev.next = e.next
			} else {
				a.first = e.next
			}
			if e.next != nil {
				e.next.prev = e.prev
			} else {
				a.last = e.prev
			}
			e.prev, e.next = nil, nil
		}
	})
}

// sweep ends whatever is in hand, oldest first, and lets nothing further in.
func (a *account) sweep(err error) (ended []*envelope) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.isDone = true
	for e := a.first; e != nil; e = e.next {
		if e.end(err) {
			ended = append(ended, e)
		}
	}
	return ended
}
