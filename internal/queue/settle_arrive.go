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
	Arrive(ctx context.Context, e StepEnd) error

	// Lost has whoever had a job in hand before count nothing of it any more that no event says, see
	// [StepEnd.Held], and reports whether he has counted a success: then the job has succeeded. It is called before
	// the job runs once more, or somebody else writes its end.
	Lost(ctx context.Context, r *job.Record) (succeeded bool, err error)

	// Requeue has the failed part of a workflow run again whose own job died in a life, and returns the life in which
	// that goes on. To do it twice is to do it once. The error is a [*job.InvalidError] if it cannot be.
	Requeue(ctx context.Context, id, died string) (life string, err error)

	Groups
}

// Groups are the steps of many jobs.
type Groups interface {
	// Together reports whether r is one of many jobs whose ends are counted in one place.
	Together(r *job.Record) bool

	// ArriveTogether is Arrive of jobs that have succeeded and of which Together reports true, with as few
	// writes as there are places. It returns an error for each of them.
	ArriveTogether(ctx context.Context, ends []StepEnd) []error
}

// A StepEnd is that of a job.
type StepEnd struct {
	Record *job.Record
	Kind   job.EventKind
	Result []byte
	Trace  string // the traceparent of the run, empty if it was not traced

	// Held is of an end that no event says: it returns an error once the job may be in the hand of somebody else,
	// whose run may end otherwise. So it is asked between what was read and the write that has it as its condition:
	// who is handed the job writes there first. nil: an event says how the job ended, whoever counts it.
	Held func() error
}

// CountSteps has c count the ends of steps. It is to be called before the store is used.
func (s *Store) CountSteps(c Steps) { s.steps = c }

// Steps returns the workflows of the namespace that h is of, nil if nobody counts their steps.
func (h *Delivery) Steps() Steps { return h.store.steps }

func (s *Store) arrive(ctx context.Context, r *job.Record, end job.EventKind, result []byte) error {
	if !r.InWorkflow() || s.steps == nil || !end.Final() {
		return nil
	}
	return s.steps.Arrive(ctx, StepEnd{Record: r, Kind: end, Result: result})
}

// lost has whoever had the job of a step in hand before, and may have had it end in silence, not count that any more.
// It reports whether he did.
func (s *Store) lost(ctx context.Context, r *job.Record) (succeeded bool, err error) {
	if r.Workflow == "" || s.steps == nil || r.Awaited || r.LastEvent > 0 {
		return false, nil
	}
	return s.steps.Lost(ctx, r)
}

func (s *Store) countsTogether(r *job.Record) bool { return s.steps != nil && s.steps.Together(r) }

// countTogether counts the ends of ts, whose events are stored, and then has their messages removed. More ends
// come meanwhile, which are counted together next: so the more jobs end, the fewer writes each takes. What
// cannot be counted this way is left to the slow path, which goes on for as long as the lease lives.
func (s *Settler) countTogether(ctx context.Context, ts []*settlement) {
	defer s.tracker.counted()
	ends := make([]StepEnd, len(ts))
	for i, t := range ts {
		ends[i] = t.stepEnd()
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
		return struct{}{}, t.store.steps.Arrive(ctx, t.stepEnd())
	})
	return err
}

func (t *settlement) stepEnd() StepEnd {
	e := StepEnd{Record: &t.Record, Kind: t.Kind, Result: t.Result, Trace: t.RunTraced()}
	if t.silent() {
		e.Held = t.Alive
	}
	return e
}

// hasSucceeded is lost, for as long as the job is in hand.
func (t *settlement) hasSucceeded(ctx context.Context) (bool, error) {
	return readFor(ctx, t, "the end in its workflow", func(ctx context.Context) (bool, error) { return t.store.lost(ctx, &t.Record) })
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
