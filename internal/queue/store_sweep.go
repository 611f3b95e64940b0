package queue

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of sweeping. Every worker sweeps: all writes are on conditions, so that several do no
// harm.
const (
	sweepFirst    = 5 * time.Second // after the start
	sweepAgain    = 10 * time.Second
	sweepEvery    = time.Minute
	sweepOverdue  = time.Minute // a schedule is late by so much before it is fired in the broker's stead
	sweepReads    = 64          // waiting jobs that are looked at in a pass, from where the last one ended
	sweepAfter    = 20_000      // the same, after the broker had stored nothing for a while
	sweepTypes    = 16          // consumers that are looked at in a pass
	sweepFinished = 1_000       // messages of one that may be found to be acknowledged, in a pass
)

// A Sweeper mends what a broker leaves behind that could not write.
//
// A job that waits for its time is not made ready any more once the broker has tried to and had
// no room: it takes the attempt for one that is still in flight. And an acknowledgement that
// came while the disk was full removed nothing, so that the message, which nobody is handed any
// more, takes up room and its id. Besides, who publishes a job to wait for its time and
// forgets to say for which, has it run. What no consumer can be handed, because its subject is no
// job's, is buried.
type Sweeper struct {
	store *Store
	queue job.Name
	types []job.Name
	log   *slog.Logger

	later    uint64 // sequence where the next look at the waiting jobs begins
	next     int    // place in types of the next consumer
	refused  int64  // that of the store, when all waiting jobs were looked at for it
	thorough bool   // which is going on
	acked    map[uint64]bool
	place    uint64 // sequence where the next look for misplaced messages begins
	odd      bool   // the next pass is to begin there, and not at the head
}

// NewSweeper returns a sweeper of one queue, and of the consumers of the types.
func NewSweeper(s *Store, queue string, types []string) (*Sweeper, error) {
	name, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	w := &Sweeper{store: s, queue: name, log: s.log.With(slog.String("queue", queue))}
	for _, t := range types {
		typ, err := job.TypeName(t)
		if err != nil {
			return nil, err
		}
		w.types = append(w.types, typ)
	}
	return w, nil
}

// Run sweeps until ctx ends: soon after the start, and after the broker stores again, and then
// now and then.
func (w *Sweeper) Run(ctx context.Context) error {
	pause := sweepFirst
	timer := time.NewTimer(pause)
	defer timer.Stop()
	mended := w.store.untilMended()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mended:
			mended = w.store.untilMended()
			pause = sweepFirst
			timer.Reset(pause)
			continue
		case <-timer.C:
		}
		if err := w.sweep(ctx); err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "cannot look for jobs that the broker left behind", slog.Any("err", err))
		}
		if pause == sweepFirst {
			pause = sweepAgain
		} else {
			pause = sweepEvery*9/10 + rand.N(sweepEvery/5)
		}
		timer.Reset(pause)
	}
}

// sweep is one pass.
func (w *Sweeper) sweep(ctx context.Context) error {
	info, err := w.store.queueInfo(ctx, w.queue)
	if err != nil {
		return err
	}
	// The pin comes back even if it is lost while nobody asks whether the worker is ready.
	return errors.Join(
		w.store.drivePin(ctx, w.queue),
		w.fireOverdue(ctx, info),
		w.buryMisplaced(ctx, info.TimeStamp),
		w.removeAcked(ctx),
	)
}

// fireOverdue looks at some of the jobs that wait for their time.
func (w *Sweeper) fireOverdue(ctx context.Context, info *jetstream.StreamInfo) error {
	reads := sweepReads
	if at := w.store.refusedAt.Load(); at != w.refused && info.TimeStamp.Sub(time.Unix(0, at)) > sweepOverdue {
		w.refused, w.thorough, w.later = at, true, 0
	}
	if w.thorough {
		reads = sweepAfter
	}
	for range reads {
		m, err := w.store.client.Next(ctx, info.Config.Name, w.store.names.allLater(w.queue), w.later)
		if errors.Is(err, ErrNotFound) {
			w.later, w.thorough = 0, false
			return nil
		}
		if err != nil {
			return err
		}
		w.later = m.Seq + 1
		if buried, err := w.buryIfMisplaced(ctx, m, info.TimeStamp); buried || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if !overdue(m, info.TimeStamp) {
			continue
		}
		if err := w.fire(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// overdue reports whether a job should have been made ready before now, which is the broker's.
// Other schedules than those of workers are their publisher's concern.
func overdue(m *stream.Message, now time.Time) bool {
	schedule := m.Header.Get(stream.HeaderSchedule)
	if schedule == "" {
		return now.Sub(m.Time) > sweepOverdue
	}
	at, ok := cutSchedule(schedule)
	return ok && now.Sub(at) > sweepOverdue
}

// fire makes a waiting job ready, on the condition that it is the newest message of its id.
func (w *Sweeper) fire(ctx context.Context, m *stream.Message) error {
	s := w.store
	r, ok := s.names.parseJobSubject(m.Subject)
	if !ok {
		return nil
	}
	p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
	if err != nil {
		return nil //nolint:nilerr // nobody could be handed it
	}
	ready := &nats.Msg{Subject: s.names.ready(p), Header: nats.Header{}, Data: m.Data}
	for k, v := range m.Header {
		if !ofTheBroker(k) {
			ready.Header[k] = v
		}
	}
	if ready.Header.Get(job.HeaderLife) == "" {
		ready.Header[job.HeaderLife] = []string{lifeOf(m.Seq)}
	}
	stream.Expect(ready, m.Seq, s.names.check(p))
	scheduled := m.Header.Get(stream.HeaderSchedule) != ""
	var fired bool
	if scheduled { // which the broker removes then, in the same write
		ready.Header[stream.HeaderScheduler] = []string{m.Subject}
		ready.Header[stream.HeaderScheduleNext] = []string{"purge"}
		_, err = s.client.Publish(ctx, ready)
		fired = err == nil
	} else {
		fired, err = w.move(ctx, p, m, ready)
	}
	if fired {
		w.log.WarnContext(ctx, "a job's time had come and the broker had not made it ready: made it ready",
			slog.String("job_id", r.ID), slog.String("type", r.Type), slog.Bool("had_a_time", scheduled))
	}
	if errors.Is(err, stream.ErrConflict) {
		return nil // it was fired meanwhile, or another job has its id
	}
	return err
}

// move makes m, which has no time, ready and removes it. Another sweeper, or an earlier pass,
// may have done the one and not the other.
func (w *Sweeper) move(ctx context.Context, p job.Place, m *stream.Message, ready *nats.Msg) (moved bool, err error) {
	s := w.store
	over, err := w.hasEnded(ctx, p, m)
	if err != nil {
		return false, err
	}
	if !over {
		_, err = s.client.Publish(ctx, ready)
		moved = err == nil
	}
	if errors.Is(err, stream.ErrConflict) {
		newest, err := s.Find(ctx, p)
		if err != nil || newest.Seq == m.Seq || newest.Life != lifeIn(m) {
			return false, err
		}
	} else if err != nil {
		return false, err
	}
	return moved, s.client.Remove(ctx, s.names.queueStream(w.queue), m.Seq)
}

// lifeIn returns the life that a stored message is of.
func lifeIn(m *stream.Message) string {
	if life := m.Header.Get(job.HeaderLife); life != "" {
		return life
	}
	return lifeOf(m.Seq)
}

// ofTheBroker reports whether a header is about the message that has it, and not the job.
func ofTheBroker(header string) bool { return len(header) > 5 && header[:5] == "Nats-" }
