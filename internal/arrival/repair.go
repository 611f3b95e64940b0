package arrival

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// A Fault is something that a workflow needs to go on, and that nobody is going to do. Only a broker that forgot
// what it had confirmed leaves one, or somebody who removed a message.
type Fault struct {
	Step string // empty: it is the workflow's own
	Kind FaultKind
	Job  int // of a group, from 1; 0: it is about none of its jobs
}

// A FaultKind says what is missing.
type FaultKind string

// The kinds.
const (
	NotCounted  FaultKind = "not_counted"  // the job of the step has ended, and the workflow does not know
	NotReleased FaultKind = "not_released" // the step may run, and there is no job of it
	NotEnded    FaultKind = "not_ended"    // all steps have ended, and the workflow has not
	NoJob       FaultKind = "no_job"       // the workflow's own job is gone, so nobody keeps its deadline
)

// faultyFor is how long something is missing before it is a fault: whoever does it may be about to.
const faultyFor = time.Second

// Faults returns what is missing of a workflow, seen twice.
func (s *Store) Faults(ctx context.Context, v *View) ([]Fault, error) {
	first, err := s.faults(ctx, v)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	if err := stream.Sleep(ctx, faultyFor); err != nil {
		return nil, err
	}
	_, again, err := s.still(ctx, v, first)
	return again, err
}

// still returns which of the faults there are now, and the workflow as it is now.
func (s *Store) still(ctx context.Context, v *View, before []Fault) (*View, []Fault, error) {
	v, err := s.Look(ctx, v.ID, workflow.Life(v.Run, v.Tally.Gen))
	if errors.Is(err, queue.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	was := make(map[Fault]bool, len(before))
	for _, f := range before {
		was[f] = true
	}
	now, err := s.faults(ctx, v)
	return v, slices.DeleteFunc(now, func(f Fault) bool { return !was[f] }), err
}

func (s *Store) faults(ctx context.Context, v *View) (found []Fault, err error) {
	_, ended := v.Outcome(&v.Tally)
	own := driverRecord(v.Spec, v.Tally.Gen)
	there, end, err := s.trace(ctx, own)
	switch {
	case err != nil:
		return nil, err
	case ended && there && end == nil:
		found = append(found, Fault{Kind: NotEnded})
	case !ended && !there && end == nil:
		found = append(found, Fault{Kind: NoJob})
	}
	for _, i := range v.Open(&v.Tally) {
		if v.Steps[i].Kind == workflow.KindGroup {
			faults, err := s.groupFaults(ctx, v, i)
			if err != nil {
				return nil, err
			}
			found = append(found, faults...)
			continue
		}
		there, end, err := s.trace(ctx, v.Job(i))
		switch {
		case err != nil:
			return nil, err
		case there:
		case end != nil:
			found = append(found, Fault{Step: v.Steps[i].Name, Kind: NotCounted})
		case v.Steps[i].Kind != workflow.KindSignal: // which nobody may have sent
			found = append(found, Fault{Step: v.Steps[i].Name, Kind: NotReleased})
		}
	}
	return found, nil
}

// groupReleased reports whether the jobs of a group were published, or the job is there that does so.
func (s *Store) groupReleased(ctx context.Context, v *View, step int) (bool, error) {
	if done, err := s.published(ctx, v.Spec, v.Tally.Gen, step); done || err != nil {
		return done, err
	}
	r, err := fillRecord(v.Spec, v.Tally.Gen, step)
	if err != nil {
		return false, err
	}
	there, _, err := s.trace(ctx, r)
	return there, err
}

// trace looks whether there is a message of a job, and for the event of its end.
func (s *Store) trace(ctx context.Context, r *job.Record) (there bool, end *queue.Event, err error) {
	p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
	if err != nil {
		return false, nil, err
	}
	m, err := s.queues.Find(ctx, p)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return false, nil, err
	}
	if err == nil && m.Life == r.Life {
		return true, nil, nil
	}
	history, err := s.queues.History(ctx, p, r.Life)
	if err != nil {
		return false, nil, err
	}
	for i := range history {
		if e := &history[i]; e.Life == r.Life && e.Kind.Final() {
			end = e
		}
	}
	return false, end, nil
}

// repairPause is how long Repair waits before it does once more what has not helped.
const repairPause = 3 * time.Second

// Repair does what is missing of a workflow, and returns what that was. It may be repeated, and does nothing to one
// in which nothing is. Where messages are missing that were stored within the last half minute it takes as long: the
// broker remembers them, and takes those that replace them for the same.
func (s *Store) Repair(ctx context.Context, v *View) ([]Fault, error) {
	found, err := s.Faults(ctx, v)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if err := s.queues.Open(ctx, v.Queue); err != nil {
		return nil, err
	}
	for began, missing := time.Now(), found; ; {
		if err := s.repair(ctx, v, missing); err != nil {
			return nil, err
		}
		missing = slices.DeleteFunc(slices.Clone(missing), func(f Fault) bool { return f.Kind != NotReleased && f.Kind != NoJob })
		if len(missing) == 0 {
			return found, nil
		}
		if v, missing, err = s.still(ctx, v, missing); err != nil || len(missing) == 0 {
			return found, err
		}
		if time.Since(began) > queue.DedupWindow+repairPause {
			return nil, fmt.Errorf("%d of %d faults are there still: somebody removes what is published", len(missing), len(found))
		}
		if err := stream.Sleep(ctx, repairPause); err != nil {
			return nil, err
		}
	}
}

// repair does what is missing once.
func (s *Store) repair(ctx context.Context, v *View, found []Fault) error {
	if slices.Contains(found, Fault{Kind: NoJob}) {
		if err := s.enqueueChore(ctx, driverRecord(v.Spec, v.Tally.Gen), 0); err != nil {
			return err
		}
	}
	for _, i := range v.Open(&v.Tally) {
		if v.Steps[i].Kind == workflow.KindGroup {
			if err := s.repairGroup(ctx, v, i, found); err != nil {
				return err
			}
			continue
		}
		if !slices.Contains(found, Fault{Step: v.Steps[i].Name, Kind: NotCounted}) {
			continue
		}
		r := v.Job(i)
		_, end, err := s.trace(ctx, r)
		if err != nil {
			return err
		}
		if end == nil {
			continue
		}
		if err := s.Arrive(ctx, queue.StepEnd{Record: r, Kind: end.Kind, Result: end.Output()}); err != nil {
			return err
		}
	}
	g, t, _, err := s.look(ctx, v.ID, v.Run)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.release(ctx, g, &t, g.Open(&t))
}
