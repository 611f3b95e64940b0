package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// How often an awaited job is looked for without a hint, and how soon after one: the hint overtakes
// the stream, which stores the event a little later. Each pause after a hint is twice the one before.
// So are those after the first look for somebody, who may have come between the two.
const (
	lookEvery      = 2 * time.Second
	lookAfterHint  = 2 * time.Millisecond
	lookAfterJoin  = 16 * time.Millisecond // so 32 ms before the second look
	lookHintedMost = 500 * time.Millisecond
)

// aliveEvery is how often at most it is asked whether an awaited job is alive. Each pause is twice
// the one before: only jobs that end without an event are found out that way.
const aliveEvery = 30 * time.Second

// startupMax is how long JetStream may take to answer after its server has started.
const startupMax = 30 * time.Second

// waiters are all who wait for the end of a job through one store. They share what they hear, and
// they share their looks: one of them, the leader, looks for everybody whose turn it is, until its
// own job has ended or its context, and then passes that on to another. So no goroutine, timer or
// consumer belongs to a waiter. The zero value but for the store is usable.
//
// The leader subscribes before it looks, and looks before it waits, and hints are only that: what
// they missed is found by the look at all that comes every two seconds.
type waiters struct {
	store *Store
	news  chan struct{} // capacity 1: somebody came or went

	// The leader's.
	hints  chan *nats.Msg // what all subscriptions hear
	denied bool           // direct reads are; of the look that goes on

	mu     sync.Mutex
	jobs   map[string][]*waiter // by the subject of their events
	types  map[typePlace]*hearing
	leader *waiter // nil: nobody waits
	// soon are those whose turn comes before everybody's, and next is when the first of them is due.
	soon      map[*waiter]struct{}
	next      time.Time
	everybody time.Time // when it is everybody's turn
}

// A waiter waits for the end of one life of a job.
type waiter struct {
	place   job.Place
	subject string        // of its events
	told    chan verdict  // capacity 1
	lead    chan struct{} // capacity 1: it is the leader now

	// Of the table's mutex.
	life     string        // empty: the newest, until that is known
	due      time.Time     // its turn, if that comes before everybody's
	pause    time.Duration // before it, after a hint or the first look
	alive    time.Time     // when it is to be asked whether the job is alive
	patience time.Duration // the pause before it is asked again
	foreign  uint64        // the newest event of another life that was followed up
	failure  error         // of the last look
	absent   outage
	gone     bool // told, or has left
}

// A verdict is what a waiter waits for: the final event, or why there will be none.
type verdict struct {
	event *Event
	err   error
}

// join puts w into the table. Its turn is now.
func (t *waiters) join(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.leader == nil {
		t.jobs, t.types, t.soon = make(map[string][]*waiter), make(map[typePlace]*hearing), make(map[*waiter]struct{})
		if t.news == nil {
			t.news, t.hints = make(chan struct{}, 1), make(chan *nats.Msg, maxHints)
		}
		t.everybody = now.Add(lookEvery)
		t.leader = w
		w.lead <- struct{}{}
	}
	if len(t.jobs[w.subject]) == 0 {
		t.hearing(w.place).add(w.subject)
	}
	t.jobs[w.subject] = append(t.jobs[w.subject], w)
	t.turn(w, now)
	t.tellLeader()
}

// leave takes w out of the table. If it was the leader another one is now.
func (t *waiters) leave(w *waiter) {
	t.mu.Lock()
	t.remove(w)
	var silenced []*hearing
	if t.leader == w {
		if t.leader = t.anybody(); t.leader != nil {
			t.leader.lead <- struct{}{}
		} else {
			for _, h := range t.types {
				silenced = append(silenced, h)
			}
			t.types = nil
		}
	} else if t.leader != nil {
		t.tellLeader()
	}
	t.mu.Unlock()
	for _, h := range silenced {
		h.silence()
	}
}

// remove takes w out of everything but the leadership. It needs the mutex.
func (t *waiters) remove(w *waiter) {
	if w.gone {
		return
	}
	w.gone = true
	delete(t.soon, w)
	all := t.jobs[w.subject]
	if len(all) == 1 {
		delete(t.jobs, w.subject)
		t.hearing(w.place).remove(w.subject)
		return
	}
	i := slices.Index(all, w)
	all[i] = all[len(all)-1]
	all[len(all)-1] = nil
	t.jobs[w.subject] = all[:len(all)-1]
}

func (t *waiters) anybody() *waiter {
	for _, all := range t.jobs {
		return all[0]
	}
	return nil
}

// tellLeader has the leader see to who came or went.
func (t *waiters) tellLeader() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// turn gives w a turn at a time before everybody's, unless it has been told or is gone. It needs the
// mutex.
func (t *waiters) turn(w *waiter, at time.Time) {
	if w.gone {
		return
	}
	if len(t.soon) == 0 || at.Before(t.next) {
		t.next = at
	}
	w.due = at
	t.soon[w] = struct{}{}
}

// tell ends the wait of w.
func (t *waiters) tell(w *waiter, v verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.gone {
		return
	}
	w.told <- v
	t.remove(w)
}

// unread returns why the last look for w failed, nil if it did not.
func (t *waiters) unread(w *waiter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return w.failure
}

// watch is what the leader does: it looks for everybody until it has been told itself, or ctx ends.
func (t *waiters) watch(ctx context.Context, w *waiter) (verdict, bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(w.told) == 0 {
		t.listen()
		if due := t.due(time.Now()); len(due) > 0 {
			t.lookAndHear(ctx, due)
		}
		timer.Reset(t.pause(time.Now()))
		select {
		case v := <-w.told:
			return v, true
		case <-ctx.Done():
			return verdict{}, false
		case m := <-t.hints:
			t.hear(m)
		case <-t.news:
		case <-timer.C:
		}
	}
	return <-w.told, true
}

// lookAndHear looks, and hears meanwhile: hints come with the results of jobs, and are not to pile up.
func (t *waiters) lookAndHear(ctx context.Context, due []*waiter) {
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		defer close(done)
		t.look(ctx, due)
	})
	defer looking.Wait()
	for {
		select {
		case <-done:
			return
		case m := <-t.hints:
			t.hear(m)
		}
	}
}

// maxLook is how many waiters one look is for.
const maxLook = 1000

// due returns whose turn it is, at most maxLook of them.
func (t *waiters) due(now time.Time) (due []*waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.everybody) {
		t.everybody = now.Add(lookEvery)
		for _, all := range t.jobs {
			for _, w := range all {
				t.turn(w, now)
			}
		}
	}
	if len(t.soon) == 0 || now.Before(t.next) {
		return nil
	}
	t.next = t.everybody
	for w := range t.soon {
		switch {
		case w.due.After(now):
			if w.due.Before(t.next) {
				t.next = w.due
			}
		case len(due) == maxLook:
			t.next = now
		default:
			delete(t.soon, w)
			due = append(due, w)
		}
	}
	return due
}

// pause returns how long it is until the next turn of anybody.
func (t *waiters) pause(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.soon) > 0 && t.next.Before(t.everybody) {
		return t.next.Sub(now)
	}
	return t.everybody.Sub(now)
}

// looked gives those who were looked for their next turns, and ends the wait of those for whom it
// is no use to look again. err is why the look failed, nil if it did not. If the leader had enough
// of it, it is their turn again.
func (t *waiters) looked(ctx context.Context, ws []*waiter, err error) {
	now := time.Now()
	for _, w := range ws {
		switch {
		case err == nil, ctx.Err() == nil:
			if t.wasLookedFor(w, err, now) {
				t.tell(w, verdict{err: err})
			}
		default:
			t.mu.Lock()
			t.turn(w, now)
			t.mu.Unlock()
		}
	}
}

func (t *waiters) wasLookedFor(w *waiter, err error, now time.Time) (hopeless bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.failure = err
	if Hopeless(err) || w.absent.lasts(err) > startupMax {
		return true
	}
	if w.pause == 0 {
		return false
	}
	if w.pause *= 2; w.pause > lookHintedMost {
		w.pause = 0
		return false
	}
	t.turn(w, now.Add(w.pause))
	return false
}

// An outage is a time in which the broker answers and nobody behind it does. The zero value is none.
type outage struct{ since time.Time }

// lasts returns for how long reads have ended with [nats.ErrNoResponders], err being the latest.
func (o *outage) lasts(err error) time.Duration {
	switch {
	case !errors.Is(err, nats.ErrNoResponders):
		o.since = time.Time{}
		return 0
	case o.since.IsZero():
		o.since = time.Now()
	}
	return time.Since(o.since)
}

// Hopeless reports whether a read that failed with err will fail again, however often it is
// tried: the answer was definite.
func Hopeless(err error) bool {
	return err != nil && (errors.Is(err, ErrNotFound) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, nats.ErrPermissionViolation) || !passing(err))
}
