package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// keepID keeps the id of a job taken after its end, for as long as its enqueue asked for. It comes
// before the ack and under the condition of a successor: so there is no moment between the two at
// which the id is free, and nobody keeps it who has lost the job.
func (t *settlement) keepID(ctx context.Context) error {
	if !t.keepsID() || !t.store.keepsIDs(t.place.Queue) {
		return nil
	}
	now, err := t.now(ctx)
	if err != nil || !t.UniqueUntil.After(now) {
		return err
	}
	m := t.store.holdMsg(t.place, t.Life, t.heldUntil(now))
	stream.Expect(m, t.Seq, t.store.names.check(t.place))
	for {
		_, err := t.write(ctx, m, "hold of the id")
		switch {
		case final(err):
			t.store.log.WarnContext(ctx, "the broker does not keep the id of this job, which has ended: another one with it may come at once",
				append(t.attrs(), slog.Time("until", t.UniqueUntil), slog.Any("err", err))...)
			return nil
		case !errors.Is(err, stream.ErrConflict):
			return wrap(err, "hold of the id")
		}
		newest, err := t.newestMessage(ctx)
		if err != nil || newest == nil || newest.Seq != t.Seq {
			return err // it is kept already, or others have it
		}
		// What stood in the way has left between the refusal and this look.
		if err := stream.Sleep(ctx, stream.RetryPause); err != nil {
			return err
		}
	}
}

// sendHold publishes the hold of the id of t, whose event is stored, unless that takes more than a
// write: then the slow path does it.
func (s *Settler) sendHold(t *settlement) (token uint64, err error) {
	now, known := s.store.knownNow(t.place.Queue)
	if !known || !s.store.keepsIDs(t.place.Queue) || !t.UniqueUntil.After(now) {
		return 0, errSlowPath
	}
	m := s.store.holdMsg(t.place, t.Life, t.heldUntil(now))
	stream.Expect(m, t.Seq, s.store.names.check(t.place))
	return s.store.client.Send(m, t)
}

// heldUntil is until when the id stays taken. Whoever publishes without this library may have asked for a
// time that the broker cannot count to: its schedule would fire at once.
func (t *settlement) heldUntil(now time.Time) time.Time {
	if last := now.Add(job.MaxUnique); t.UniqueUntil.After(last) {
		return last
	}
	return t.UniqueUntil
}

// errSlowPath says that there is more to be done than one write.
var errSlowPath = errors.New("to be settled step by step")

// keepsID reports whether the id of t is to be kept if its time has not come: whether its enqueue
// asked for that, and something may have been done that is not to be done twice. What was lost may
// have started, as far as anybody knows but whoever lost it: not so whoever cancelled it from afar.
func (t *settlement) keepsID() bool {
	if t.UniqueUntil.IsZero() || !t.Kind.Final() {
		return false
	}
	switch t.Reason {
	case job.ReasonExpired, job.ReasonMalformed, job.ReasonSuperseded: // nothing was
		return false
	}
	return t.Kind == job.EventSucceeded || !t.startedAt.IsZero() || t.HasStarted() || t.redelivered && !t.unstarted
}
