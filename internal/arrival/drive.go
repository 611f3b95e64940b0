package arrival

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// lookEvery is how often a workflow's own job looks once its deadline has passed.
const lookEvery = time.Minute

// maxSleep bounds how long it sleeps otherwise.
const maxSleep = 30 * 24 * time.Hour

// Drive runs a job of type [job.WorkflowType]: of a workflow itself, or of a timer or signal, which succeed
// at once, with the payload as their result. The error says what becomes of it, as a handler's does.
func (s *Store) Drive(ctx context.Context, r *job.Record) ([]byte, error) {
	id, step, inner := workflow.Split(r.ID)
	m, is, err := s.member(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case is && inner:
		return s.endInner(ctx, r, m)
	case is:
		if err := s.beginChild(ctx, r, m); err != nil {
			return nil, err
		}
	}
	if !inner {
		return nil, s.drive(ctx, r)
	}
	switch {
	case workflow.IsFill(step):
		return nil, s.fill(ctx, r)
	case workflow.IsDrop(step):
		return nil, s.drop(ctx, r)
	}
	switch chore, run, gen := workflow.ParseChore(step); chore {
	case workflow.ChoreCancel:
		return nil, s.cancel(ctx, id, run, gen, job.ReasonRequested)
	case workflow.ChoreStop:
		return nil, s.stopOthers(ctx, id, run, gen)
	case workflow.ChoreClean:
		return nil, s.clean(ctx, id, run, gen)
	case workflow.NoChore:
	}
	return nil, &job.PermanentError{Err: fmt.Errorf("workflow %s is not known, or has no signal of this name", id)}
}

func (s *Store) drive(ctx context.Context, r *job.Record) error {
	var d driver
	if err := json.Unmarshal(r.Payload, &d); err != nil {
		return &job.MalformedError{Err: err}
	}
	if err := workflow.CheckRun(d.Run); err != nil {
		return &job.MalformedError{Err: err}
	}
	queueName, err := job.QueueName(r.Queue)
	if err != nil {
		return err
	}
	now, err := s.queues.Now(ctx, queueName)
	if err != nil {
		return err
	}
	g, t, err := s.generation(ctx, r.ID, d, now)
	switch {
	case errors.Is(err, errGone):
		return s.bar(ctx, r, d)
	case err != nil:
		return err
	case t.Gen > d.Gen:
		return &job.PermanentError{Err: fmt.Errorf("the workflow was retried: this job is of generation %d, and that of %d goes on", d.Gen, t.Gen)}
	}
	late := !g.Deadline.IsZero() && !now.Before(g.Deadline)
	if late {
		if err := s.cancel(ctx, r.ID, d.Run, d.Gen, job.ReasonDeadline); err != nil {
			return err
		}
	} else if err := s.release(ctx, g, &t, g.Open(&t)); err != nil {
		return err
	}
	pause := maxSleep
	switch {
	case late:
		pause = lookEvery
	case !g.Deadline.IsZero():
		pause = min(pause, g.Deadline.Sub(now))
	}
	return &job.LaterError{Err: errors.New("the workflow goes on"), Delay: pause}
}

// bar has a run never begin whose creator has not begun it, and what that stored removed later. Until then its
// tally has to be there: it is what refuses the creator.
func (s *Store) bar(ctx context.Context, r *job.Record, d driver) error {
	if err := s.ensure(ctx); err != nil { // it may have been removed
		return err
	}
	t := workflow.Tally{ID: r.ID, Gen: max(d.Gen, 1), Abandoned: true}
	err := s.write(ctx, d.Run, &t, 0)
	if errors.Is(err, stream.ErrConflict) {
		t, _, err = s.tally(ctx, d.Run)
	}
	if errors.Is(err, errGone) {
		return &job.LaterError{Err: errors.New("what is known of the workflow is being removed"), Delay: time.Second}
	}
	if err != nil {
		return err
	}
	if t.Abandoned {
		barred := &workflow.Spec{ID: r.ID, Queue: r.Queue, Run: d.Run}
		if err := s.enqueueChore(ctx, cleanJob(barred, t.Gen), barred.KeepFor()); err != nil {
			return err
		}
	} else {
		spec, _, err := s.spec(ctx, r.ID)
		switch {
		case err != nil && !errors.Is(err, errGone):
			return err
		case err == nil && spec.Run == d.Run:
			return &job.LaterError{Err: errors.New("the workflow has begun meanwhile"), Delay: time.Second}
		}
	}
	return &job.PermanentError{Err: errors.New("nothing is known of the workflow: whoever started it did not get further in time, its stream was removed, or its id is another one's by now; start it again")}
}

// cancel cancels a generation of a run: what has not begun never will, what has is cancelled. It may be repeated.
// Nothing is left to do if another has begun.
func (s *Store) cancel(ctx context.Context, id, run string, gen int, reason string) error {
	for conflicts := (stream.Conflicts{}); ; {
		g, t, seq, err := s.look(ctx, id, run)
		switch {
		case errors.Is(err, errGone), err == nil && t.Gen > gen:
			return nil
		case err != nil:
			return err
		case t.Gen < gen:
			return &job.LaterError{Err: errNotBegun, Delay: time.Second}
		}
		next, first := g.Cancel(&t, reason)
		if first {
			err := s.write(ctx, run, &next, seq)
			if errors.Is(err, stream.ErrConflict) {
				if err := conflicts.Wait(ctx); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
		}
		return s.stop(ctx, g, &next)
	}
}

// stopOthers cancels the jobs of what goes on after a failure that stops it.
func (s *Store) stopOthers(ctx context.Context, id, run string, gen int) error {
	g, t, _, err := s.lookOf(ctx, workflow.Member{ID: id, Run: run, Gen: gen})
	if err != nil || g == nil {
		return err
	}
	return s.stop(ctx, g, &t)
}

// stop releases what may still run, and then cancels of that what is not to: what was about to be released by
// somebody else would else be so later.
func (s *Store) stop(ctx context.Context, g *workflow.Graph, t *workflow.Tally) error {
	if err := s.release(ctx, g, t, g.Open(t)); err != nil {
		return err
	}
	return s.cancelSteps(ctx, g, t, g.Stops(t))
}

// stopReason is why the jobs of steps are cancelled.
func stopReason(t *workflow.Tally) string {
	if t.Cancelled {
		return "its workflow is cancelled"
	}
	return "another step of its workflow failed"
}

// cancelSteps cancels the jobs of steps.
func (s *Store) cancelSteps(ctx context.Context, g *workflow.Graph, t *workflow.Tally, steps []int) error {
	reason := stopReason(t)
	for _, i := range steps {
		switch g.Steps[i].Kind {
		case workflow.KindSignal:
			continue
		case workflow.KindGroup:
			if err := s.stopGroup(ctx, g.Spec, t.Gen, i, reason); err != nil {
				return err
			}
			continue
		case workflow.KindWorkflow:
			begun, err := s.cancelChild(ctx, g.Spec, t.Gen, i)
			if err != nil {
				return err
			}
			if begun {
				continue
			}
		case workflow.KindJob, workflow.KindSleep:
		}
		r := stepRecord(g.Spec, t.Gen, i)
		_, err := s.queues.Cancel(ctx, orderOf(g.ID, r, r.Life, reason), s.orders)
		if _, finished := errors.AsType[*queue.FinishedError](err); err != nil && !finished && !errors.Is(err, queue.ErrNotFound) {
			return err
		}
	}
	return nil
}

// clean removes what is kept of a run, and the graph if it is that run's, unless it was retried since.
func (s *Store) clean(ctx context.Context, id, run string, gen int) error {
	t, _, err := s.tally(ctx, run)
	if err == nil && t.Gen != gen {
		return nil
	}
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	spec, seq, err := s.spec(ctx, id)
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	if err == nil && spec.Run == run && spec.Parent != nil {
		if of, err := s.Generation(ctx, spec.Parent.Run); err != nil || of > 0 {
			return cmp.Or(err, error(&job.LaterError{Err: errors.New("the workflow that it is a step of may be retried"), Delay: spec.KeepFor()}))
		}
	}
	if err == nil && spec.Run == run {
		if err := s.client.Remove(ctx, s.stream(), seq); err != nil {
			return err
		}
	}
	for _, subject := range s.documentsOf(run) {
		if err := s.client.RemoveAll(ctx, s.stream(), subject); err != nil {
			return err
		}
	}
	return nil
}
