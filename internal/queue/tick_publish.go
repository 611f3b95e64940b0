package queue

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// publish stores the jobs of the plan with the cursor that says so, all or none, and tells the other
// workers. If that is refused it finds out why: somebody was first, or a job with the id of a tick is
// alive.
func (t *Ticker) publish(ctx context.Context, e *ticking, p cron.Plan, now time.Time) error {
	next := e.after(p, now)
	msgs := []*nats.Msg{t.store.cursorMsg(e, next)}
	for _, tick := range p.Ticks {
		m, err := t.store.tickMsg(e, tick, now)
		if err != nil {
			return err
		}
		msgs = append(msgs, m)
	}
	last, err := t.store.client.PublishAtomic(ctx, msgs)
	switch {
	case err == nil:
		t.moved(e, next, last-uint64(len(msgs)-1), now)
		return nil
	case stream.Code(err) == stream.CodeAtomicBusy, stream.Code(err) == stream.CodeWrongLastSeqBusy:
		e.known, e.wake = false, time.Now().Add(rand.N(dueSpread))
		return nil
	case !errors.Is(err, stream.ErrConflict):
		return err
	}
	before := e.seq
	if err := t.read(ctx, e, now); err != nil {
		return err
	}
	if e.seq != before { // somebody was first
		e.turn(now)
		return nil
	}
	if len(p.Ticks) > 1 { // one of them, and the others are not to wait for it
		p.Ticks, p.Last = p.Ticks[:1], p.Ticks[0]
		return t.publish(ctx, e, p, now)
	}
	return t.refused(ctx, e, p, now)
}

// refused does what there is to be done about the only tick of a plan, whose id has a job.
func (t *Ticker) refused(ctx context.Context, e *ticking, p cron.Plan, now time.Time) error {
	there, err := t.store.jobOf(ctx, e, p.Last)
	switch {
	case err != nil:
		return err
	case there.of(e, p.Last): // so it was published, and a cursor was lost that said so
		return t.move(ctx, e, e.after(p, now), now)
	case p.Last.After(now):
		e.kept = p.Last
		e.turn(now)
		return nil
	case there.superseded(e, now):
		// A worker is about to end it. The pauses grow, since the queue may be paused.
		e.wake = time.Now().Add(min(max(now.Sub(p.Last), dueSpread), maxLead) + rand.N(dueSpread))
		return nil
	}
	t.log.InfoContext(ctx, "a schedule's tick is skipped: the job of an earlier one is alive", slog.String("cron", e.Name), slog.String("id", e.ID(p.Last)), slog.Time("tick", p.Last))
	next := e.after(cron.Plan{Missed: p.Missed, Last: p.Last}, now)
	next.Skipped, next.SkippedAt = next.Skipped+1, p.Last
	return t.move(ctx, e, next, now)
}

// move moves the cursor past a tick of which no job is published.
func (t *Ticker) move(ctx context.Context, e *ticking, next cron.Cursor, now time.Time) error {
	seq, err := t.store.client.Publish(ctx, t.store.cursorMsg(e, next))
	if errors.Is(err, stream.ErrConflict) {
		e.known, e.wake = false, time.Now()
		return nil
	}
	if err != nil {
		return err
	}
	t.moved(e, next, seq, now)
	return nil
}

// A tickJob is what has the id of a tick. Without a message it is something that has just ended.
type tickJob struct{ *Message }

// jobOf returns what has the id of a tick.
func (s *Store) jobOf(ctx context.Context, e *ticking, tick time.Time) (tickJob, error) {
	place, err := job.PlaceOf(e.Job.Queue, e.Job.Type, e.ID(tick))
	if err != nil {
		return tickJob{}, err
	}
	m, err := s.Find(ctx, place)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return tickJob{m}, err
}

// of reports whether j is the job of a tick, as it has to be.
func (j tickJob) of(e *ticking, tick time.Time) bool {
	return j.Message != nil && j.Tick != nil && j.Tick.Entry == e.Name && j.Tick.Rev >= e.Rev && j.Tick.Time.Equal(tick)
}

// superseded reports whether j is the job of a tick of an earlier revision, which was on its way when the
// entry was edited and does not run.
func (j tickJob) superseded(e *ticking, now time.Time) bool {
	switch {
	case j.Message == nil:
		return true
	case j.Tick == nil, j.Tick.Entry != e.Name, j.HasStarted(), j.RetryOf != "":
		return false
	}
	return e.Judge(cron.Tick{Rev: j.Tick.Rev, At: j.Tick.Time, Due: j.Due}, now) == cron.Superseded
}

// moved takes in that the cursor is next, and tells the other workers.
func (t *Ticker) moved(e *ticking, next cron.Cursor, seq uint64, now time.Time) {
	e.knows(next, seq)
	e.turn(now)
	h, err := json.Marshal(cronHint{Entry: e.Name, Queue: e.Job.Queue, Seq: seq, Cursor: next})
	if err == nil {
		err = t.store.nc.Publish(t.store.names.cronHints(), h)
	}
	if err != nil {
		t.log.Debug("no hint sent", slog.String("cron", e.Name), slog.Any("err", err))
	}
}

// after is the cursor once the plan is carried out.
func (e *ticking) after(p cron.Plan, now time.Time) cron.Cursor {
	next := e.cursor
	next.Rev, next.Last, next.Ahead = e.Rev, p.Last.UTC(), nil
	if p.Missed > 0 {
		next.Missed += p.Missed
		next.MissedAt = now.UTC()
	}
	if e.cursor.Rev == e.Rev {
		for _, a := range e.cursor.Ahead {
			if a.At.After(now) {
				next.Ahead = append(next.Ahead, a)
			}
		}
	}
	for _, tick := range p.Ticks {
		if tick.After(now) {
			next.Ahead = append(next.Ahead, cron.Published{Type: e.Job.Type, ID: e.ID(tick), At: tick})
		}
	}
	return next
}

// cursorMsg replaces the cursor that e was decided by.
func (s *Store) cursorMsg(e *ticking, c cron.Cursor) *nats.Msg {
	body, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers, texts and times
	}
	m := &nats.Msg{Subject: s.names.cron(e.queue, e.name), Header: nats.Header{}, Data: body}
	stream.Replace(m)
	stream.Expect(m, e.seq, m.Subject)
	return m
}

// tickMsg is the job of a tick: ready if that is due, else waiting for its time.
func (s *Store) tickMsg(e *ticking, tick, now time.Time) (*nats.Msg, error) {
	r := e.Job
	r.ID, r.Attempt = e.ID(tick), 1
	// The same for every worker, so that of two jobs of one tick, should they ever be, one counts.
	r.Life = "c-" + strconv.FormatUint(e.Rev, 10) + "-" + strconv.FormatInt(tick.Unix(), 10)
	r.EnqueuedAt, r.Due = now, tick
	r.Reused = e.Overlap == cron.SkipOverlap
	r.Tick = &job.Tick{Entry: e.Name, Rev: e.Rev, Time: tick.In(e.Schedule.Zone())}
	place, err := r.Place()
	if err != nil {
		return nil, err
	}
	runAt := tick
	if !tick.After(now) {
		runAt = time.Time{}
	}
	m := s.jobMsg(place, &r, runAt)
	stream.Expect(m, 0, s.names.check(place))
	return m, nil
}

// noRev is the revision of a cursor that cannot be read: none that there is.
const noRev = math.MaxUint64

// readCursor returns the cursor of an entry, and the sequence of its message: 0 if there is none.
func (s *Store) readCursor(ctx context.Context, queue, entry job.Name) (c cron.Cursor, seq uint64, err error) {
	m, err := s.client.Last(ctx, s.names.queueStream(queue), s.names.cron(queue, entry))
	switch {
	case errors.Is(err, ErrNotFound):
		return cron.Cursor{}, 0, nil
	case err != nil:
		return cron.Cursor{}, 0, err
	}
	if json.Unmarshal(m.Data, &c) != nil {
		c = cron.Cursor{Rev: noRev}
	}
	return c, m.Seq, nil
}

// A cronHint tells what was published. It may be lost: then a refusal leads to the same.
type cronHint struct {
	Entry  string      `json:"entry"`
	Queue  string      `json:"queue"`
	Seq    uint64      `json:"seq"`
	Cursor cron.Cursor `json:"cursor"`
}

func readCronHint(data []byte) (h cronHint, ok bool) {
	err := json.Unmarshal(data, &h)
	return h, err == nil
}

// CronCursor returns how far an entry has come in a queue, the zero cursor if nobody has begun, and
// what time it is by the clock that its ticks come by.
func (s *Store) CronCursor(ctx context.Context, queue, entry string) (cron.Cursor, time.Time, error) {
	q, err := job.QueueName(queue)
	if err != nil {
		return cron.Cursor{}, time.Time{}, err
	}
	name, err := job.CronName(entry)
	if err != nil {
		return cron.Cursor{}, time.Time{}, err
	}
	c, _, err := s.readCursor(ctx, q, name)
	if err != nil {
		return cron.Cursor{}, time.Time{}, err
	}
	now, err := s.Now(ctx, q)
	return c, now, err
}
