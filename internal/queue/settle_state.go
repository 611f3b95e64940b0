package queue

import (
	"slices"
	"sync"
	"time"
)

// A settleState says who owns a settlement.
//
//	                      ┌─── its id is to be kept ──┐  ┌─► queuedCount ──► counting: of a group
//	                      ▼                           │  │                      │
//	a success ──────► queuedFast ──► inFlight ──► answered ──► settled ◄────────┤
//	   │ its id is old    ▲              │ lost       │ not stored, or the lease is lost, or not counted
//	   ▼                  │              ▼            │                         │
//	queuedLook ──► looking┘          queuedSlow ◄─────┴── all others ◄──────────┘
//	                                     ▼    ▲ Run was restarted
//	                                   slow ──┴──────────────► settled
type settleState uint8

const (
	unowned     settleState = iota // it was not handed to a settler
	queuedLook                     // Run's, which is to have it looked whether its id has a last event
	looking                        // the looker's, who queues it again
	queuedFast                     // Run's, which is to publish its event
	inFlight                       // of whoever claims it first: the answer, or Run once that is overdue
	answered                       // the claimer's, who acknowledges it or queues it again
	queuedCount                    // Run's, which is to have it counted in the group that it is of
	counting                       // the counter's, who acknowledges it or queues it again
	queuedSlow                     // Run's, which is to start a goroutine for it
	slow                           // its goroutine's, which goes by the rules step by step
	settled                        // nobody's: it is over
)

// fast reports whether a settlement is on the fast path, with the broker or with what it said.
func (s settleState) fast() bool { return s == inFlight || s == answered }

// A tracker keeps the settlements that are not over and the state of each, which nobody else
// changes. It is safe for concurrent use.
type tracker struct {
	wake chan struct{} // capacity 1; tells Run that there is something to take, or nothing left

	mu         sync.Mutex
	open       map[*settlement]struct{} // all that are not over
	queue      []*settlement            // those of open that Run is to take
	taken      []*settlement            // what was queued before, its memory to be used again
	unlooked   []*settlement            // those of open that are to be looked at, once somebody else has looked
	looks      bool                     // somebody does
	uncounted  []*settlement            // those of open that are to be counted, once somebody else has counted
	counts     bool                     // somebody does
	onFastPath int                      // how many of open are inFlight or answered
	batchAbove int                      // with more of them, events are confirmed in batches
	draining   bool                     // nothing more comes, so that the last one on the fast path has to wake Run
}

func newTracker() *tracker {
	return &tracker{wake: make(chan struct{}, 1), open: make(map[*settlement]struct{}), batchAbove: batchAbove}
}

// become moves t to a state and keeps the account. It must be called with mu held.
func (k *tracker) become(t *settlement, next settleState) {
	if t.state.fast() {
		k.onFastPath--
	}
	t.state = next
	switch next {
	case queuedFast, queuedSlow, queuedLook:
		k.open[t] = struct{}{}
		k.queue = append(k.queue, t)
	case inFlight, answered:
		k.onFastPath++
	case queuedCount:
		k.uncounted = append(k.uncounted, t)
	case slow, looking, counting: // in open, and nothing else
	case settled, unowned:
		delete(k.open, t)
	}
}

// add takes in a settlement, for the fast path or the slow one.
func (k *tracker) add(t *settlement, queued settleState) {
	k.mu.Lock()
	k.become(t, queued)
	first := len(k.queue) == 1
	k.mu.Unlock()
	if first {
		wake(k.wake)
	}
}

// take hands over what is queued: settlements whose events are to be published, in batches if
// there are many, and those that are to have a goroutine each. The first slice is the caller's
// until the next call.
func (k *tracker) take() (publish []*settlement, batched bool, start []*settlement) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.taken) // they hold whole jobs
	k.queue, k.taken = k.taken[:0], k.queue
	publish = slices.DeleteFunc(k.taken, func(t *settlement) bool {
		switch t.state { //nolint:exhaustive // the others are not queued
		case queuedSlow:
			k.become(t, slow)
			start = append(start, t)
			return true
		case queuedLook:
			k.unlooked = append(k.unlooked, t)
			return true
		}
		k.become(t, inFlight)
		return false
	})
	return publish, k.onFastPath > k.batchAbove, start
}

// takeUnlooked hands over those that are to be looked at, all together: none while somebody looks.
// Whoever gets any is to call looked.
func (k *tracker) takeUnlooked() []*settlement {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.looks || len(k.unlooked) == 0 {
		return nil
	}
	ts := k.unlooked
	k.unlooked, k.looks = nil, true
	for _, t := range ts {
		k.become(t, looking)
	}
	return ts
}

// looked queues ts, which were looked at.
func (k *tracker) looked(ts []*settlement) {
	k.mu.Lock()
	k.looks = false
	for _, t := range ts {
		k.become(t, queuedFast)
	}
	k.mu.Unlock()
	wake(k.wake)
}

// toCount queues ts, which are the caller's, to be counted in their groups.
func (k *tracker) toCount(ts []*settlement) {
	if len(ts) == 0 {
		return
	}
	k.mu.Lock()
	for _, t := range ts {
		k.become(t, queuedCount)
	}
	k.mu.Unlock()
	wake(k.wake)
}

// takeUncounted hands over those that are to be counted, all together: none while somebody counts. Whoever
// gets any is to call counted.
func (k *tracker) takeUncounted() []*settlement {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts || len(k.uncounted) == 0 {
		return nil
	}
	ts := k.uncounted
	k.uncounted, k.counts = nil, true
	for _, t := range ts {
		k.become(t, counting)
	}
	return ts
}

// counted lets others be counted.
func (k *tracker) counted() {
	k.mu.Lock()
	k.counts = false
	k.mu.Unlock()
	wake(k.wake)
}

// claim returns those of ts that are still in flight, and that are the caller's from now on. It
// uses the slice for them.
func (k *tracker) claim(ts []*settlement) []*settlement {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(ts, func(t *settlement) bool {
		if t.state != inFlight {
			return true
		}
		k.become(t, answered)
		return false
	})
}

// claimOverdue moves to the slow path what was sent at or before a time and is still in flight. It
// returns the tokens of these writes, and whether anything was on the fast path.
func (k *tracker) claimOverdue(sent time.Time) (tokens []uint64, busy bool) {
	k.mu.Lock()
	busy = k.onFastPath > 0
	for t := range k.open {
		if t.state == inFlight && !t.sent.After(sent) {
			k.become(t, queuedSlow)
			tokens = append(tokens, t.token)
		}
	}
	k.mu.Unlock()
	if len(tokens) > 0 {
		wake(k.wake)
	}
	return tokens, busy
}

// toSlowPath queues ts, which are the caller's, to be settled step by step.
func (k *tracker) toSlowPath(ts []*settlement) {
	if len(ts) == 0 {
		return
	}
	k.mu.Lock()
	for _, t := range ts {
		k.become(t, queuedSlow)
	}
	k.mu.Unlock()
	wake(k.wake)
}

// again queues t, which is the caller's, for another write on the fast path.
func (k *tracker) again(t *settlement) {
	k.mu.Lock()
	k.become(t, queuedFast)
	k.mu.Unlock()
	wake(k.wake)
}

// settled notes that ts, which are the caller's, are over.
func (k *tracker) settled(ts ...*settlement) {
	k.mu.Lock()
	for _, t := range ts {
		k.become(t, settled)
	}
	last := k.draining && k.onFastPath == 0
	k.mu.Unlock()
	if last {
		wake(k.wake)
	}
}

// restart has Run take up what an earlier one left, step by step: what was in flight, and what had
// a goroutine, since that has ended. It returns the tokens of the writes in flight.
func (k *tracker) restart() (tokens []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.draining, k.looks, k.counts = false, false, false
	for t := range k.open {
		switch t.state {
		case inFlight:
			k.become(t, queuedSlow)
			tokens = append(tokens, t.token)
		case slow, counting:
			k.become(t, queuedSlow)
		case looking:
			k.become(t, queuedFast)
		case queuedFast, queuedSlow, queuedLook, queuedCount: // still queued
		case answered: // goes on by itself
		case unowned, settled: // not open
		}
	}
	return tokens
}

// drain has Run woken when the fast path is empty.
func (k *tracker) drain() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.draining = true
}

// idle reports whether nothing is queued, looked at, counted, or on the fast path.
func (k *tracker) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queue) == 0 && len(k.unlooked) == 0 && !k.looks && len(k.uncounted) == 0 && !k.counts && k.onFastPath == 0
}

// each calls f with all settlements that are not over, with the lock held.
func (k *tracker) each(f func(*settlement)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.open {
		f(t)
	}
}

// ids returns the ids of jobs that are not settled, most of them at most, and how many there are.
func (k *tracker) ids(most int) (ids []string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.open {
		if len(ids) == most {
			break
		}
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids, len(k.open)
}
