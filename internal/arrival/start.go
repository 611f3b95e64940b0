package arrival

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// ErrAbandoned says that whoever started a workflow was too slow: its run is barred.
var ErrAbandoned = errors.New("the start of the workflow took too long, so it was given up: start it again")

// beginWithin is how long a creator has before the workflow's own job looks whether it began, and one more second for
// each MiB of payloads.
const beginWithin = 10 * time.Second

// beginTime is how long the creator of a workflow has, in all.
func beginTime(spec *workflow.Spec) time.Duration {
	return beginWithin + time.Duration(payloadsOf(spec)>>20)*time.Second
}

// payloadsOf returns how many bytes the payloads of groups have, also of those in workflows that are steps.
func payloadsOf(spec *workflow.Spec) (size int) {
	for i := range spec.Steps {
		step := &spec.Steps[i]
		for _, data := range step.Items.Documents {
			size += len(data)
		}
		if step.Child != nil {
			size += payloadsOf(step.Child)
		}
	}
	return size
}

// A driver is the payload of the workflow's own job.
type driver struct {
	Run string `json:"run"`
	Gen int    `json:"gen"`
}

// Start stores a workflow and releases what may run. The tally is what begins it: until it is stored
// nothing runs, and if it is not within ten seconds, and one more for each MiB of payloads, nothing ever will.
// It returns a [*queue.DuplicateError] while a workflow of the id is alive, [ErrAbandoned], or an
// [*workflow.InvalidError].
//
// The workflow is cancelled if it has not ended within a time, unless that is 0.
func (s *Store) Start(ctx context.Context, spec *workflow.Spec, within time.Duration) error {
	if _, err := spec.Encode(); err != nil { // before anything is made for it
		return err
	}
	if err := s.prepare(ctx, spec, within); err != nil {
		return err
	}
	g, err := workflow.NewGraph(spec)
	if err != nil {
		return err
	}
	data, err := spec.Encode()
	if err != nil {
		return err
	}
	before, _, err := s.specRun(ctx, spec.ID)
	if err != nil {
		return err
	}
	if err := s.storeDriver(ctx, spec); err != nil {
		return err
	}
	if err := s.storeSpec(ctx, spec, data, replaces(before)); err != nil {
		return err
	}
	if err := s.storeItems(ctx, spec.Run, spec.Steps); err != nil {
		return err
	}
	t := workflow.NewTally(spec.ID, spec.Gen, len(spec.Steps))
	t = g.Close(&t)
	if err := s.begin(ctx, spec.Run, &t); err != nil {
		return err
	}
	return s.release(ctx, g, &t, g.Open(&t))
}

// StartAgain is Start of a run that an earlier call may have begun, which may even have ended: then it releases what may
// run. It returns [ErrAbandoned] for one that is barred.
func (s *Store) StartAgain(ctx context.Context, spec *workflow.Spec, within time.Duration) error {
	t, _, err := s.tally(ctx, spec.Run)
	switch {
	case errors.Is(err, errGone):
		return s.Start(ctx, spec, within)
	case err != nil:
		return err
	case t.Abandoned:
		return ErrAbandoned
	}
	g, t, _, err := s.look(ctx, spec.ID, spec.Run)
	if errors.Is(err, errGone) { // it has ended, and its id is another one's
		return nil
	}
	if err != nil {
		return err
	}
	return s.release(ctx, g, &t, g.Open(&t))
}

// prepare checks what the jobs of the steps are to be, makes what a workflow needs, and notes by the broker's
// clock when this one begins.
func (s *Store) prepare(ctx context.Context, spec *workflow.Spec, within time.Duration) error {
	if err := s.prepareSteps(ctx, spec, 0, ""); err != nil {
		return err
	}
	name, err := job.QueueName(spec.Queue)
	if err != nil {
		return err
	}
	if err := s.useQueue(ctx, spec.Queue); err != nil {
		return err
	}
	if err := s.ensure(ctx); err != nil {
		return err
	}
	if spec.Created, err = s.queues.Now(ctx, name); err != nil {
		return err
	}
	spec.Created = spec.Created.UTC()
	spec.WithinMS = within.Milliseconds()
	spec.Deadline = spec.DeadlineFrom(spec.Created)
	return nil
}

// prepareSteps checks what the jobs of the steps from a number on are to be, and has workers run the timers and
// signals among them, which may be of other queues than the workflow's. In a workflow that is a step of one of run inside,
// or of a step of that, the payloads of groups are among those of that run, which is stored with them.
func (s *Store) prepareSteps(ctx context.Context, spec *workflow.Spec, from int, inside string) error {
	own := make(map[string]bool)
	for i := from; i < len(spec.Steps); i++ {
		if step := &spec.Steps[i]; step.Kind == workflow.KindGroup {
			if step.Payloads == "" { // of a start that goes on they may be stored
				step.Payloads, step.PayloadsRun = strings.ReplaceAll(uuid.NewString(), "-", ""), inside
			}
			if step.Jobs == 0 { // and so no type
				continue
			}
		}
		r := stepRecord(spec, 1, i)
		if err := r.Check(); err != nil {
			return fmt.Errorf("step %s: %w", spec.Steps[i].Name, err)
		}
		if spec.Steps[i].Kind == workflow.KindWorkflow {
			if err := s.prepareSteps(ctx, spec.ChildOf(1, i), 0, cmp.Or(inside, spec.Run)); err != nil {
				return err
			}
		}
		if r.Type == job.WorkflowType && r.Queue != spec.Queue {
			own[r.Queue] = true
		}
	}
	for queueName := range own {
		if err := s.useQueue(ctx, queueName); err != nil {
			return err
		}
	}
	return nil
}

// useQueue has the workers of a queue run the jobs by which workflows drive themselves.
func (s *Store) useQueue(ctx context.Context, queueName string) error {
	if err := s.queues.Open(ctx, queueName); err != nil {
		return err
	}
	return s.registry.UseWorkflows(ctx, queueName)
}

func (s *Store) storeDriver(ctx context.Context, spec *workflow.Spec) error {
	e, err := driverOf(spec)
	if err != nil {
		return err
	}
	e.Delay = beginTime(spec)
	return s.queues.Enqueue(ctx, e)
}

// driverOf returns the job of a generation of a workflow itself.
func driverOf(spec *workflow.Spec) (queue.Enqueue, error) {
	e, err := queue.NewEnqueue(driverRecord(spec, spec.Gen))
	e.Once = true
	return e, err
}

func driverRecord(spec *workflow.Spec, gen int) *job.Record {
	payload, err := json.Marshal(driver{Run: spec.Run, Gen: gen})
	if err != nil {
		panic(err) // it cannot fail
	}
	r := &job.Record{
		Queue: spec.Queue, Type: job.WorkflowType, ID: spec.ID, Life: workflow.Life(spec.Run, gen), Attempt: 1, Payload: payload,
	}
	if spec.Parent != nil {
		m := *spec.Parent
		m.Gen = gen
		r.Workflow = m.String()
	}
	return r
}

// specRun reads of which run the graph of an id is. Without one it is of none.
func (s *Store) specRun(ctx context.Context, id string) (run string, seq uint64, err error) {
	m, err := s.client.Last(ctx, s.stream(), s.specSubject(id))
	if errors.Is(err, stream.ErrNotFound) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	if spec, err := workflow.DecodeSpec(m.Data); err == nil {
		run = spec.Run
	}
	return run, m.Seq, nil // one that nobody can read is replaced
}

// storeSpec replaces the graph of the id, if may says so of the run that has it. Its own is left as it is: it may
// have grown meanwhile.
func (s *Store) storeSpec(ctx context.Context, spec *workflow.Spec, data []byte, may func(run string) error) error {
	for conflicts := (stream.Conflicts{}); ; {
		run, seq, err := s.specRun(ctx, spec.ID)
		if err != nil || run == spec.Run {
			return err
		}
		if err := may(run); err != nil {
			return err
		}
		if err := s.publish(ctx, s.specSubject(spec.ID), data, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return err
		}
	}
}

// replaces allows a creator to replace the graph that was there before it had stored the workflow's own job: with any
// other it was so slow that it was barred, and somebody else has started the id.
func replaces(before string) func(string) error {
	return func(run string) error {
		if run != "" && run != before {
			return ErrAbandoned
		}
		return nil
	}
}

// begin stores the first tally of a run.
func (s *Store) begin(ctx context.Context, run string, t *workflow.Tally) error {
	err := s.write(ctx, run, t, 0)
	if !errors.Is(err, stream.ErrConflict) {
		return err
	}
	there, _, err := s.tally(ctx, run)
	if err == nil && there.Abandoned {
		return ErrAbandoned
	}
	return err // its own, of which the answer was lost
}
