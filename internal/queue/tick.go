package queue

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
)

// A Cron is an entry of a schedule: when, and which job. Of a removed one there is no job.
type Cron struct {
	cron.Entry
	Job job.Record // what all its jobs have in common
}

const (
	maxLead    = 5 * time.Second        // which workers spread over, before the first of them publishes a tick
	dueSpread  = 250 * time.Millisecond // the same for a tick that is due
	tickPause  = time.Second            // before a tick that could not be published is tried again, up to twice that
	tickWithin = 10 * time.Second       // what is done about an entry at once takes no longer
	followTime = 5 * time.Second        // which a follower has to hear of an edit that another worker knows
	tickHints  = 1024                   // that wait
)

// A Ticker publishes the ticks of all entries, as does every worker: whoever is first wins. How far
// an entry has come is its cursor, a message in the stream of its queue, which moves in the same
// atomic batch that stores the tick's job, on the condition that it is the cursor which the batch was
// made from. So a tick has one job, whoever else was at it, and however late.
//
//	read cursor ─► wait for the next tick's turn ─► publish cursor and job ─► tell the others
//	     ▲                                             │ refused
//	     └─────────────────────────────────────────────┘
type Ticker struct {
	store   *Store
	crons   func() []Cron   // all that are known, removed ones as well
	changed <-chan struct{} // they are others now
	log     *slog.Logger

	ticking map[string]*ticking // by name; of Run's goroutine
}

// NewTicker returns a ticker of the entries that crons returns whenever changed says that they are
// others than before.
func NewTicker(s *Store, crons func() []Cron, changed <-chan struct{}) *Ticker {
	return &Ticker{store: s, crons: crons, changed: changed, log: s.log, ticking: make(map[string]*ticking)}
}

// ticking is an entry with what is known of its cursor.
type ticking struct {
	Cron
	queue, name job.Name

	cursor  cron.Cursor
	seq     uint64    // of the cursor; 0: there is none
	known   bool      // the cursor is as it was read or told
	wake    time.Time // when to look after the entry; zero: never
	kept    time.Time // the tick to come that an earlier one keeps out, until it is due
	left    []job.Name
	failing bool
}

// Run publishes ticks until ctx ends. What fails it tries again.
func (t *Ticker) Run(ctx context.Context) error {
	hints := make(chan *nats.Msg, tickHints)
	sub, err := t.store.nc.ChanSubscribe(t.store.names.cronHints(), hints)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // gone with the connection otherwise
	clear(t.ticking)
	t.learn()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		e, wait := t.first()
		if e != nil && wait <= 0 && len(hints) == 0 && len(t.changed) == 0 {
			t.attend(ctx, e)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-t.changed:
			t.learn()
		case m := <-hints:
			t.hear(ctx, m)
		case <-timer.C:
		}
	}
	return nil
}

// first returns the entry to look after first, and in how long; nil if there is none.
func (t *Ticker) first() (first *ticking, wait time.Duration) {
	for _, e := range t.ticking {
		if !e.wake.IsZero() && (first == nil || e.wake.Before(first.wake)) {
			first = e
		}
	}
	if first == nil {
		return nil, time.Hour
	}
	return first, max(time.Until(first.wake), 0)
}

// learn takes in entries that are new or edited.
func (t *Ticker) learn() {
	for _, c := range t.crons() {
		before := t.ticking[c.Name]
		if before != nil && before.Rev == c.Rev {
			continue
		}
		e := &ticking{Cron: c, wake: time.Now().Add(rand.N(dueSpread))}
		var err error
		if e.name, err = job.CronName(c.Name); err != nil {
			continue // nobody can have written it
		}
		if !c.Removed {
			if e.queue, err = job.QueueName(c.Job.Queue); err != nil {
				continue
			}
		}
		if before != nil {
			e.left = before.left
		}
		switch {
		case before == nil:
		case before.queue == e.queue:
			e.cursor, e.seq, e.known = before.cursor, before.seq, before.known
		case !before.Removed: // which has no queue
			e.left = append(e.left, before.queue)
		}
		t.ticking[c.Name] = e
	}
}

// attend does what there is to be done about an entry now, and sets when it is to be looked after
// again.
func (t *Ticker) attend(ctx context.Context, e *ticking) {
	short, cancel := context.WithTimeout(ctx, tickWithin)
	defer cancel()
	err := t.try(short, e)
	switch {
	case err == nil:
		e.failing = false
		return
	case ctx.Err() != nil:
		return
	case !e.failing:
		e.failing = true
		t.log.WarnContext(ctx, "a schedule's next tick could not be published: trying again", slog.String("cron", e.Name), slog.String("queue", e.Job.Queue), slog.Any("err", err))
	}
	e.known = false
	e.wake = time.Now().Add(tickPause + rand.N(tickPause))
}

func (t *Ticker) try(ctx context.Context, e *ticking) error {
	e.wake = time.Time{}
	for len(e.left) > 0 {
		if err := t.store.leaveCron(ctx, e.left[0], e.name, e.Rev); err != nil {
			return err
		}
		e.left = e.left[1:]
	}
	if e.Removed {
		return nil
	}
	now, err := t.store.Now(ctx, e.queue)
	if err != nil {
		return err
	}
	if !e.known {
		if err := t.read(ctx, e); err != nil {
			return err
		}
		e.turn(now)
		return nil
	}
	if e.cursor.Rev > e.Rev {
		e.known, e.wake = false, time.Now().Add(followTime) // the follower has yet to hear of it
		return nil
	}
	if at, ok := e.possible(now); !ok || at.After(now) {
		e.turn(now)
		return nil
	}
	if e.cursor.Rev < e.Rev {
		if err := t.store.endTicks(ctx, e.queue, e.name, e.cursor); err != nil {
			return err
		}
	}
	return t.publish(ctx, e, e.Plan(e.cursor, now), now)
}

// possible returns when the next ticks can be published, false if there are none to come.
func (e *ticking) possible(now time.Time) (at time.Time, ok bool) {
	at, first, ok := e.Wake(e.cursor)
	if ok && first.Equal(e.kept) && first.After(now) {
		at = first
	}
	return at, ok
}

// turn sets when e's next ticks are to be published by this worker, now being the broker's time: some
// time after that is possible, so that another may be first and spare it the trouble.
func (e *ticking) turn(now time.Time) {
	at, ok := e.possible(now)
	if !ok {
		e.wake = time.Time{}
		return
	}
	if at.Before(now) {
		at = now
	}
	spread := dueSpread
	if _, first, _ := e.Wake(e.cursor); first.Sub(at) > dueSpread {
		spread = min(first.Sub(at)/2, maxLead)
	}
	e.wake = time.Now().Add(at.Sub(now) + rand.N(spread))
}

// read reads the cursor. Of one that is lost with its stream, what was known of it holds.
func (t *Ticker) read(ctx context.Context, e *ticking) error {
	if err := t.store.Require(ctx, e.queue); err != nil {
		return err
	}
	c, seq, err := t.store.readCursor(ctx, e.queue, e.name)
	if err != nil {
		return err
	}
	if seq > 0 || e.cursor.Rev != e.Rev {
		e.cursor = c
	}
	e.seq, e.known = seq, true
	return nil
}

// hear takes in what another worker published.
func (t *Ticker) hear(ctx context.Context, m *nats.Msg) {
	h, ok := readCronHint(m.Data)
	e := t.ticking[h.Entry]
	if !ok || e == nil || e.Removed || h.Queue != e.Job.Queue || h.Seq <= e.seq {
		return
	}
	e.cursor, e.seq, e.known = h.Cursor, h.Seq, true
	if now, err := t.store.Now(ctx, e.queue); err == nil {
		e.turn(now)
	}
}
