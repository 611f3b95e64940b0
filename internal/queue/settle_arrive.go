package queue

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Steps are the workflows of a namespace.
type Steps interface {
	// Arrive counts the end of a job that is a step of a workflow, keeps what it returned, and releases
	// what that opens. It is called between the event of the end and the removal of the message, by whoever
	// does these, and so more than once if one of them dies.
	Arrive(ctx context.Context, r *job.Record, end job.EventKind, result []byte) error

	// Requeue has the failed part of a workflow run again whose own job died in a life, and returns the life in which
	// that goes on. To do it twice is to do it once. The error is a [*job.InvalidError] if it cannot be.
	Requeue(ctx context.Context, id, died string) (life string, err error)

	// Together reports whether r is one of many jobs whose ends are counted in one place.
	Together(r *job.Record) bool

	// ArriveTogether is Arrive of jobs that have succeeded and of which Together reports true, with as few
	// writes as there are places. It returns an error for each of them.
	ArriveTogether(ctx context.Context, ends []StepEnd) []error
}

// A StepEnd is that of a job which has succeeded.
type StepEnd struct {
	Record *job.Record
	Result []byte
}

// CountSteps has c count the ends of steps. It is to be called before the store is used.
func (s *Store) CountSteps(c Steps) { s.steps = c }

// Steps returns the workflows of the namespace that h is of, nil if nobody counts their steps.
func (h *Delivery) Steps() Steps { return h.store.steps }

func (s *Store) arrive(ctx context.Context, r *job.Record, end job.EventKind, result []byte) error {
	if !r.InWorkflow() || s.steps == nil || !end.Final() {
		return nil
	}
	return s.steps.Arrive(ctx, r, end, result)
}

func (s *Store) countsTogether(r *job.Record) bool { return s.steps != nil && s.steps.Together(r) }

// countTogether counts the ends of ts, whose events are stored, and then has their messages removed. More ends
// come meanwhile, which are counted together next: so the more jobs end, the fewer writes each takes. What
// cannot be counted this way is left to the slow path, which goes on for as long as the lease lives.
func (s *Settler) countTogether(ctx context.Context, ts []*settlement) {
	defer s.tracker.counted()
	ends := make([]StepEnd, len(ts))
	for i, t := range ts {
		ends[i] = StepEnd{Record: &t.Record, Result: t.Result}
	}
	errs := s.store.steps.ArriveTogether(ctx, ends)
	done := make([]*settlement, 0, len(ts))
	for i, t := range ts {
		if errs[i] != nil {
			s.tracker.toSlowPath(ts[i : i+1])
			continue
		}
		done = append(done, t)
	}
	s.acknowledge(done)
}

// arrive counts the end of t in its workflow, for as long as the job is in hand.
func (t *settlement) arrive(ctx context.Context) error {
	if !t.InWorkflow() || t.store.steps == nil || !t.Kind.Final() {
		return nil
	}
	_, err := readFor(ctx, t, "the end in its workflow", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, t.store.arrive(ctx, &t.Record, t.Kind, t.Result)
	})
	return err
}

// End ends a life that nobody is to run any more, whatever it waits for, unless it has ended: the job
// of a workflow that has come to its end. It does the rest of an end that somebody began, and goes on until no
// message of the life is left: whoever had it in hand may have put it back meanwhile.
func (s *Store) End(ctx context.Context, p job.Place, life string, o Outcome) error {
	for conflicts := (stream.Conflicts{}); ; {
		m, err := s.Find(ctx, p)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case m.Life != life:
			return nil
		}
		fired, err := s.letFire(ctx, p, m)
		if err != nil {
			return err
		}
		if fired {
			continue
		}
		end, last, err := s.endOf(ctx, p, life)
		if err != nil {
			return err
		}
		t := &settlement{
			store: s, Outcome: o,
			Delivery: &Delivery{
				Record: m.Record, place: p, Seq: m.Seq, lastEvent: last, store: s,
				holder: "workflow/" + life, lease: newLease(cancelWithin, time.Now()),
			},
		}
		if end != nil {
			if err := t.completeEnd(ctx, end); err != nil {
				return err
			}
			if err := t.ack(ctx); err != nil {
				return err
			}
			continue
		}
		err = t.run(ctx)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, errTaken) && !errors.Is(err, stream.ErrConflict):
			return err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return err
		}
	}
}
