package queue

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
)

// fewWaiters are looked for one by one, at the leaders: more are in direct reads first.
const fewWaiters = 4

// readsInFlight is how many jobs are read at once where that is one by one.
const readsInFlight = 32

// look finds out what became of the jobs of these waiters, and tells those whose have ended.
//
// What a direct read finds was there, and a life ends once: so an end that it finds is the end. What
// it does not find may be there nevertheless. So whether a job is alive is asked now and then, and
// only a leader can say that nothing is known of it.
func (t *waiters) look(ctx context.Context, ws []*waiter) {
	if len(ws) > fewWaiters && !t.denied {
		err := t.lookTogether(ctx, ws)
		if errors.Is(err, nats.ErrPermissionViolation) {
			t.denied = true
		}
		if !t.denied && !errors.Is(err, nats.ErrNoResponders) {
			t.looked(ctx, ws, err)
			return
		}
	}
	t.each(ctx, ws, t.lookFor)
}

// lookFor looks for one waiter, at the leaders.
func (t *waiters) lookFor(ctx context.Context, w *waiter) error {
	if t.asks(w, nil) {
		return t.ask(ctx, w)
	}
	e, err := t.store.LastEvent(ctx, w.place)
	switch {
	case errors.Is(err, ErrNotFound): // so far
		return nil
	case err != nil:
		return err
	case t.end(w, e):
		return nil
	case t.asks(w, e):
		return t.ask(ctx, w)
	}
	return nil
}

// ask finds out whether a job is alive, and how it ended if not, as the leaders know it. One that has
// expired it ends.
func (t *waiters) ask(ctx context.Context, w *waiter) error {
	e, m, err := t.store.final(ctx, w.place, t.lifeOf(w))
	if err == nil && e == nil && t.store.expire(ctx, w.place, m) {
		e, err = t.store.finalEvent(ctx, w.place, m.Life)
	}
	switch {
	case err != nil:
		return err
	case e != nil:
		t.tell(w, verdict{event: e})
	default:
		t.isAlive(ctx, w, m)
	}
	return nil
}

// lookTogether looks for many waiters in few reads. An error says that it could not, of none of
// them.
func (t *waiters) lookTogether(ctx context.Context, ws []*waiter) error {
	places := make([]job.Place, len(ws))
	for i, w := range ws {
		places[i] = w.place
	}
	events, err := t.store.LastEvents(ctx, places)
	if err != nil {
		return err
	}
	var open []*waiter
	for _, w := range ws {
		e := events[w.place]
		if (e == nil || !t.end(w, e)) && t.asks(w, e) {
			open = append(open, w)
		}
	}
	t.each(ctx, t.askQueues(ctx, open), t.ask)
	return nil
}

// askQueues notes whose jobs are alive as far as direct reads of their queues show, and returns the
// others.
func (t *waiters) askQueues(ctx context.Context, ws []*waiter) (open []*waiter) {
	waiting := make(map[string][]*waiter) // by the subjects that their messages may have
	subjects := make(map[job.Name][]string)
	for _, w := range ws {
		if t.lifeOf(w) == "" { // only a leader knows which is the newest
			continue
		}
		for _, subject := range t.store.names.alive(w.place) {
			if len(waiting[subject]) == 0 {
				subjects[w.place.Queue] = append(subjects[w.place.Queue], subject)
			}
			waiting[subject] = append(waiting[subject], w)
		}
	}
	alive := make(map[*waiter]struct{})
	for queue, subjects := range subjects {
		for m, err := range t.store.client.LastOfEach(ctx, t.store.names.queueStream(queue), subjects) {
			if err != nil {
				break // a leader may answer
			}
			for _, w := range waiting[m.Subject] {
				if m := messageOf(w.place, m); m.Life == t.lifeOf(w) && t.isAlive(ctx, w, m) {
					alive[w] = struct{}{}
				}
			}
		}
	}
	for _, w := range ws {
		if _, ok := alive[w]; !ok {
			open = append(open, w)
		}
	}
	return open
}

// each has f look for each of the waiters, several at once. It stops at the first that gets no
// answer.
func (t *waiters) each(ctx context.Context, ws []*waiter, f func(context.Context, *waiter) error) {
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(readsInFlight)
	for _, w := range ws {
		g.Go(func() error {
			err := context.Cause(within)
			if err == nil {
				err = f(within, w)
			}
			t.looked(ctx, []*waiter{w}, err)
			if Hopeless(err) { // that one, and not for the others
				return nil
			}
			return err
		})
	}
	_ = g.Wait() // all have been told
}

// end tells w if e is the end of its job, and reports whether it is.
func (t *waiters) end(w *waiter, e *Event) bool {
	if life := t.lifeOf(w); life == "" || e.Life != life || !e.Kind.Final() {
		return false
	}
	t.tell(w, verdict{event: e})
	return true
}

// lifeOf returns the life that w waits for, as far as that is known.
func (t *waiters) lifeOf(w *waiter) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return w.life
}

// asks reports whether it is time to ask whether the job of w is alive: also if the last event e,
// nil if there is none, is of another life and was not seen before.
func (t *waiters) asks(w *waiter, e *Event) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := e != nil && e.Life != w.life && e.Sequence > w.foreign
	if news {
		w.foreign = e.Sequence
	}
	return news || !time.Now().Before(w.alive)
}

// isAlive notes that the job of w is alive, and which life it is. It reports false for one that has
// expired.
func (t *waiters) isAlive(ctx context.Context, w *waiter, m *Message) bool {
	left, expires := t.store.expiresIn(ctx, w.place, m)
	t.mu.Lock()
	defer t.mu.Unlock()
	pause := w.patience
	w.patience = min(2*pause, aliveEvery)
	if expires && left > 0 {
		pause = min(pause, left)
	}
	w.life, w.alive = cmp.Or(m.Life, w.life), time.Now().Add(pause)
	return !expires || left > 0
}
