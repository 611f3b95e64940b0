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
	readAgain  = 10 * time.Minute       // after it was read, a cursor is read again: whatever was heard since may be wrong
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
	current ReadEntry
	log     *slog.Logger

	ticking map[string]*ticking // by name; of Run's goroutine
}

// A ReadEntry returns an entry as the registry has it now, be it removed. What is known of it otherwise
// may be behind.
type ReadEntry func(ctx context.Context, name string) (cron.Entry, error)

// NewTicker returns a ticker of the entries that crons returns whenever changed says that they are
// others than before.
func NewTicker(s *Store, crons func() []Cron, changed <-chan struct{}, current ReadEntry) *Ticker {
	return &Ticker{store: s, crons: crons, changed: changed, current: current, log: s.log, ticking: make(map[string]*ticking)}
}

// ticking is an entry with what is known of its cursor.
type ticking struct {
	Cron
	queue, name job.Name

	cursor  cron.Cursor
	seq     uint64    // of the cursor; 0: there is none
	known   bool      // the cursor is as it was read or told
	reread  time.Time // when it is to be read again in any case
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
		for range len(hints) { // what has come by now, and no more: hints keep nobody from a tick
			t.hear(ctx, <-hints)
		}
		e, wait := t.first()
		if e != nil && wait <= 0 && len(t.changed) == 0 {
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
			e.cursor, e.seq, e.known, e.reread = before.cursor, before.seq, before.known, before.reread
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
	if !e.known || !time.Now().Before(e.reread) {
		if err := t.read(ctx, e, now); err != nil {
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
	e.wake = e.reread
	at, ok := e.possible(now)
	if !ok {
		return
	}
	if at.Before(now) {
		at = now
	}
	spread := dueSpread
	if _, first, _ := e.Wake(e.cursor); first.Sub(at) > dueSpread {
		spread = min(first.Sub(at)/2, maxLead)
	}
	if wake := time.Now().Add(at.Sub(now) + rand.N(spread)); wake.Before(e.reread) {
		e.wake = wake
	}
}

// knows notes that the cursor is as the broker has it.
func (e *ticking) knows(c cron.Cursor, seq uint64) {
	e.cursor, e.seq, e.known = c, seq, true
	e.reread = time.Now().Add(readAgain - rand.N(readAgain/10))
}

// read reads the cursor. Of one that is lost with its stream, what was known of it holds.
func (t *Ticker) read(ctx context.Context, e *ticking, now time.Time) error {
	if err := t.store.Require(ctx, e.queue); err != nil {
		return err
	}
	c, seq, err := t.store.readCursor(ctx, e.queue, e.name)
	if err != nil {
		return err
	}
	if seq == 0 && e.cursor.Rev == e.Rev {
		c = e.cursor
	}
	if c, err = t.mend(ctx, e, c, now); err != nil {
		return err
	}
	e.knows(c, seq)
	return nil
}

// mend returns a cursor that was read, or the one to go on from if it would keep all ticks from coming. What
// such a one published ahead ends, but for what may be on its way.
func (t *Ticker) mend(ctx context.Context, e *ticking, c cron.Cursor, now time.Time) (cron.Cursor, error) {
	why := "it is ahead of the time, as after the broker's clock was wrong"
	switch {
	case c.Rev < e.Rev, c.Rev == e.Rev && e.Holds(c, now):
		return c, nil
	case c.Rev == noRev:
		why = "it cannot be read"
	case c.Rev > e.Rev:
		// Read after the cursor, so that whoever published that knew this revision or an earlier one.
		current, err := t.current(ctx, e.Name)
		if err != nil || current.Rev > e.Rev { // the follower has yet to hear of it
			return c, err
		}
		why = "it is of an edit that the registry does not have, as after that was restored"
	}
	if err := t.store.endTicks(ctx, e.queue, e.name, c); err != nil {
		return c, err
	}
	t.log.WarnContext(ctx, "how far a schedule has come is not to be believed: its ticks go on from now",
		slog.String("cron", e.Name), slog.String("reason", why), slog.Time("last", c.Last))
	return e.Mended(c, now.Add(dueGuard)), nil
}

// hear takes in what another worker published. What it cannot have published has the cursor read.
func (t *Ticker) hear(ctx context.Context, m *nats.Msg) {
	h, ok := readCronHint(m.Data)
	e := t.ticking[h.Entry]
	if !ok || e == nil || e.Removed || !e.known || h.Queue != e.Job.Queue || h.Seq <= e.seq {
		return
	}
	now, err := t.store.Now(ctx, e.queue)
	if err == nil && e.Credible(h.Cursor, now) {
		e.cursor, e.seq = h.Cursor, h.Seq
		e.turn(now)
		return
	}
	e.known, e.wake = false, time.Now().Add(rand.N(dueSpread))
}
