package arrival

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// Arrive implements [queue.Steps].
func (s *Store) Arrive(ctx context.Context, e queue.StepEnd) error {
	m, is, err := s.member(ctx, e.Record)
	switch {
	case err != nil:
		return err
	case !is:
		if err := s.fillEnded(ctx, e.Record, e.Kind); err != nil {
			return err
		}
		return s.driverEnded(ctx, e.Record, e.Kind)
	}
	if err := s.driverEnded(ctx, e.Record, e.Kind); err != nil { // of a workflow that is a step
		return err
	}
	end := stepEnd{state: workflow.Failed, result: e.Result, trace: e.Trace, held: e.Held}
	if e.Kind == job.EventSucceeded {
		end.state = workflow.Succeeded
	}
	if m.Job >= 0 {
		return s.arriveInGroup(ctx, m, end)
	}
	return s.count(ctx, m, end)
}

// A stepEnd is how a step has ended, or a job of one.
type stepEnd struct {
	state  workflow.State
	result []byte
	trace  string       // of its run
	held   func() error // as that of [queue.StepEnd]
}

// check returns an error if somebody else may have the job.
func (e *stepEnd) check() error {
	if e.held == nil {
		return nil
	}
	return e.held()
}

// Lost implements [queue.Steps]. It writes again what is there, unless the end is counted.
func (s *Store) Lost(ctx context.Context, r *job.Record) (succeeded bool, err error) {
	m, is, err := s.member(ctx, r)
	if err != nil || !is || r.Type == job.WorkflowType { // which never ends in silence
		return false, err
	}
	if m.Job >= 0 {
		return s.lostInGroup(ctx, m)
	}
	for conflicts := (stream.Conflicts{}); ; {
		g, t, seq, err := s.lookOf(ctx, m)
		if err != nil || g == nil || t.At(m.Step) != workflow.Pending {
			return g != nil && t.At(m.Step) == workflow.Succeeded, err
		}
		if err := s.write(ctx, m.Run, &t, seq); !errors.Is(err, stream.ErrConflict) {
			return false, err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return false, err
		}
	}
}

// count counts the end of a step.
func (s *Store) count(ctx context.Context, m workflow.Member, end stepEnd) error {
	for conflicts := (stream.Conflicts{}); ; {
		g, t, seq, err := s.lookOf(ctx, m)
		if err != nil || g == nil {
			return err
		}
		next, first := g.End(&t, m.Step, end.state)
		// Whoever counted it before died, or the queue is an old one: what came after it may be missing, too.
		opens := g.Open(&next)
		if first {
			err := s.writeEnd(ctx, g, m, end, &next, seq)
			if errors.Is(err, stream.ErrConflict) {
				if err := conflicts.Wait(ctx); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			opens = g.Opens(&next, m.Step)
		}
		if err := s.stopLater(ctx, g, &next); err != nil {
			return err
		}
		return s.release(ctx, g, &next, opens)
	}
}

// writeEnd stores what a step has returned, and then the tally in which it has ended.
func (s *Store) writeEnd(ctx context.Context, g *workflow.Graph, m workflow.Member, end stepEnd, next *workflow.Tally, seq uint64) error {
	if end.state == workflow.Succeeded {
		if err := s.keepResult(ctx, g, m, end.result); err != nil {
			return err
		}
	}
	s.keepTrace(ctx, m, g.Steps[m.Step].Name, end.trace)
	if err := end.check(); err != nil {
		return err
	}
	return s.write(ctx, m.Run, next, seq)
}

// driverEnded cancels the workflow whose own job somebody has cancelled, as any other job.
func (s *Store) driverEnded(ctx context.Context, r *job.Record, end job.EventKind) error {
	if _, _, inner := workflow.Split(r.ID); inner || r.Type != job.WorkflowType || end != job.EventCancelled {
		return nil
	}
	var d driver
	if err := json.Unmarshal(r.Payload, &d); err != nil || workflow.CheckRun(d.Run) != nil {
		return nil //nolint:nilerr // it is no driver of ours
	}
	g, t, _, err := s.lookOf(ctx, workflow.Member{ID: r.ID, Run: d.Run, Gen: d.Gen})
	if err != nil || g == nil {
		return err
	}
	if _, cancels := g.Cancel(&t, ""); !cancels {
		return nil
	}
	return s.cancel(ctx, r.ID, d.Run, d.Gen, job.ReasonRequested)
}

// lookOf reads how far the workflow of a job has come; no graph if the job is none of its generation.
func (s *Store) lookOf(ctx context.Context, m workflow.Member) (*workflow.Graph, workflow.Tally, uint64, error) {
	g, t, seq, err := s.look(ctx, m.ID, m.Run)
	switch {
	case errors.Is(err, errGone):
		return nil, t, 0, nil
	case err != nil:
		return nil, t, 0, err
	case t.Gen != m.Gen, m.Step >= len(g.Steps):
		return nil, t, 0, nil
	}
	return g, t, seq, nil
}

// release has steps run, and ends the workflow if nothing is left of it.
func (s *Store) release(ctx context.Context, g *workflow.Graph, t *workflow.Tally, steps []int) error {
	for _, i := range steps {
		if err := s.releaseStep(ctx, g, t, i); err != nil {
			return err
		}
	}
	if o, ended := g.Outcome(t); ended {
		return s.end(ctx, g.Spec, t.Gen, o)
	}
	return nil
}

func (s *Store) releaseStep(ctx context.Context, g *workflow.Graph, t *workflow.Tally, i int) error {
	step := &g.Steps[i]
	if step.Kind == workflow.KindSignal {
		return nil // whoever sends it does
	}
	r := stepRecord(g.Spec, t.Gen, i)
	if step.Kind == workflow.KindGroup {
		done, err := s.published(ctx, g.Spec, t.Gen, i)
		if err != nil || done {
			return err
		}
		if r, err = fillRecord(g.Spec, t.Gen, i); err != nil {
			return err
		}
	}
	e, err := queue.NewEnqueue(r)
	if err != nil {
		return err
	}
	e.Once, e.Delay = true, time.Duration(step.SleepMS)*time.Millisecond
	m := workflow.Member{ID: g.ID, Run: g.Run, Gen: t.Gen, Step: i, Job: -1}
	err = s.enqueueInPlace(ctx, e, func(life string) (bool, error) {
		if isOlder(life, g.Run, workflow.ChildRun(g.Run, step.Name), t.Gen, i) {
			return true, nil
		}
		if step.Kind != workflow.KindSleep {
			return false, nil
		}
		// A timer that an earlier run of the id has left: nobody else makes jobs of this type.
		now, tally, _, err := s.lookOf(ctx, m)
		return now != nil && tally.At(i) == workflow.Pending, err
	})
	if duplicate, ok := errors.AsType[*queue.DuplicateError](err); ok {
		s.log.ErrorContext(ctx, "a step of a workflow counts as failed: another job has its id",
			slog.String("id", r.ID), slog.String("type", r.Type), slog.String("queue", r.Queue), slog.Any("err", duplicate))
		return s.count(ctx, m, stepEnd{state: workflow.Failed})
	}
	return err
}

// isOlder reports whether a life is that of a step in an older generation, or of the workflow that it is, of run child;
// or of the step's job that somebody has requeued since.
func isOlder(life, run, child string, gen, step int) bool {
	for g := 1; g < gen; g++ {
		if isOf(life, workflow.StepLife(run, g, step)) || child != "" && life == workflow.Life(child, g) {
			return true
		}
	}
	return false
}

// maxRequeues is how often the job of a step may have been requeued alone and be known for one.
const maxRequeues = 32

// isOf reports whether a life is one that died, or that in which its job goes on, or in which that does, and so on.
func isOf(life, died string) bool {
	if life == died {
		return true
	}
	for i := 0; i < maxRequeues && job.IsRequeuedLife(life); i++ {
		if died = job.RequeuedLife(died); life == died {
			return true
		}
	}
	return false
}

// enqueueInPlace enqueues a job in place of one of an older generation that has not left yet: its end was
// counted, and whoever has it in hand is about to remove it; or it is a timer that nothing waits for any more.
func (s *Store) enqueueInPlace(ctx context.Context, e queue.Enqueue, old func(life string) (bool, error)) error {
	told := ""
	for conflicts := (stream.Conflicts{}); ; {
		err := s.queues.Enqueue(ctx, e)
		duplicate, ok := errors.AsType[*queue.DuplicateError](err)
		if !ok {
			return err
		}
		if is, failed := old(duplicate.Life); failed != nil || !is {
			return cmp.Or(failed, err)
		}
		place, err := job.PlaceOf(e.Record.Queue, e.Record.Type, e.Record.ID)
		if err != nil {
			return err
		}
		if job.IsRequeuedLife(duplicate.Life) && told != duplicate.Life { // somebody may run it outside of the workflow
			told = duplicate.Life
			id, _, _ := workflow.Split(e.Record.ID)
			o := orderOf(id, e.Record, told, "its workflow was retried")
			if err := s.orders.GiveOrder(ctx, o); err != nil {
				return err
			}
		}
		if err := s.queues.End(ctx, place, duplicate.Life, queue.Outcome{Kind: job.EventCancelled, Reason: job.ReasonSuperseded}); err != nil {
			return err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return err
		}
	}
}

// orderOf is an order of a workflow to cancel a life of the job of a step.
func orderOf(id string, r *job.Record, life, reason string) *job.Order {
	return &job.Order{
		Queue: r.Queue, Type: r.Type, ID: r.ID, Lives: []string{life}, Grace: job.DefaultGrace,
		Reason: reason, By: "workflow " + id, At: time.Now().UTC(),
	}
}

// stepRecord is the job of a step.
func stepRecord(spec *workflow.Spec, gen, i int) *job.Record {
	step := &spec.Steps[i]
	r := &job.Record{
		Queue: step.Queue, Type: step.Type, ID: workflow.JobID(spec.ID, step.Name),
		Life: workflow.StepLife(spec.Run, gen, i), Attempt: 1, MaxAttempts: step.Options.MaxAttempts,
		Workflow: workflow.Member{ID: spec.ID, Run: spec.Run, Gen: gen, Step: i, Job: -1}.String(),
		Payload:  step.Args,
		Awaited:  gen > 1, // an end in silence could not be told from that of an older generation
	}
	if r.Queue == "" {
		r.Queue = spec.Queue
	}
	switch step.Kind {
	case workflow.KindSleep, workflow.KindSignal:
		r.Type = job.WorkflowType
	case workflow.KindWorkflow:
		return driverRecord(spec.ChildOf(gen, i), gen)
	case workflow.KindJob, workflow.KindGroup:
	}
	return r
}

// end ends the job of the workflow itself, and has what is known of the run removed later.
func (s *Store) end(ctx context.Context, spec *workflow.Spec, gen int, o workflow.Outcome) error {
	place, err := job.PlaceOf(spec.Queue, job.WorkflowType, spec.ID)
	if err != nil {
		return err
	}
	if err := s.enqueueChore(ctx, cleanJob(spec, gen), spec.KeepFor()); err != nil {
		return err
	}
	return s.queues.End(ctx, place, workflow.Life(spec.Run, gen), outcomeOf(o))
}

// stopLater has a job of its own cancel the others, as long as they may run: the caller has a lease on one of them.
func (s *Store) stopLater(ctx context.Context, g *workflow.Graph, t *workflow.Tally) error {
	if t.Stopped == nil || len(g.Stops(t)) == 0 {
		return nil
	}
	return s.enqueueChore(ctx, stopJob(g.Spec, t.Gen), 0)
}

// enqueueChore enqueues a job of a workflow that is of no step, unless it is there.
func (s *Store) enqueueChore(ctx context.Context, r *job.Record, delay time.Duration) error {
	e, err := queue.NewEnqueue(r)
	if err != nil {
		return err
	}
	e.Once, e.Delay = true, delay
	err = s.queues.Enqueue(ctx, e)
	if _, there := errors.AsType[*queue.DuplicateError](err); there {
		return nil
	}
	return err
}

// outcomeOf is the end of the workflow's own job.
func outcomeOf(o workflow.Outcome) queue.Outcome {
	switch {
	case o.State == workflow.PhaseSucceeded:
		return queue.Outcome{Kind: job.EventSucceeded}
	case o.Undo:
		return queue.Outcome{Kind: job.EventDead, Reason: job.ReasonUndo, Error: fmt.Sprintf("step %s failed, which was to undo another", o.Step)}
	case o.State == workflow.PhaseDead:
		return queue.Outcome{Kind: job.EventDead, Reason: job.ReasonStep, Error: fmt.Sprintf("step %s failed", o.Step)}
	default:
		return queue.Outcome{Kind: job.EventCancelled, Reason: o.Reason}
	}
}
