package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// The broker finds the next message of a subject by going through the stream from there on, under a lock
// that holds up all who write: a second for each half million messages that have to be read from the
// disk. So a round of looking at what waits for its time ends at its last message, which the broker knows
// by its index of subjects, and one that came upon a long stretch without any is for once an hour.
const (
	longStretch = 50_000 // sequences
	goesThrough = time.Hour
)

// fireOverdue looks at some of the jobs that wait for their time.
func (w *Sweeper) fireOverdue(ctx context.Context, info *jetstream.StreamInfo) error {
	reads := sweepReads
	if at := w.store.refusedAt.Load(); at != w.refused && info.TimeStamp.Sub(time.Unix(0, at)) > sweepOverdue {
		w.refused, w.thorough, w.later = at, true, 0
	}
	if w.thorough {
		reads = sweepAfter
	}
	if w.later == 0 {
		if begun, err := w.beginRound(ctx, info); !begun || err != nil {
			return err
		}
	}
	for range reads {
		if w.later > w.laterEnd {
			w.later, w.thorough = 0, false
			return nil
		}
		m, err := w.store.client.Next(ctx, info.Config.Name, w.store.names.allLater(w.queue), w.later)
		if errors.Is(err, ErrNotFound) {
			w.later, w.thorough = 0, false
			return nil
		}
		if err != nil {
			return err
		}
		if w.later > 1 && m.Seq-w.later > longStretch {
			w.gone = info.TimeStamp
		}
		w.later = m.Seq + 1
		if err := w.lookAtLater(ctx, m, info.TimeStamp); err != nil {
			return err
		}
	}
	return nil
}

// beginRound begins a round, if there is anything to look at and it is not too early for what the last
// one cost.
func (w *Sweeper) beginRound(ctx context.Context, info *jetstream.StreamInfo) (begun bool, err error) {
	if !w.thorough && info.TimeStamp.Sub(w.gone) < goesThrough {
		return false, nil
	}
	last, err := w.store.client.Last(ctx, info.Config.Name, w.store.names.allLater(w.queue))
	if errors.Is(err, ErrNotFound) {
		w.thorough = false
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w.later, w.laterEnd = 1, last.Seq
	return true, nil
}

// lookAtLater fires or buries a message that waits for its time, if that is due.
func (w *Sweeper) lookAtLater(ctx context.Context, m *stream.Message, now time.Time) error {
	if buried, err := w.buryIfMisplaced(ctx, m, now); buried || err != nil {
		return err
	}
	if !overdue(m, now) {
		return nil
	}
	return w.fire(ctx, m)
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
			slog.String("id", r.ID), slog.String("type", r.Type), slog.Bool("had_a_time", scheduled))
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
