package arrival

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// Signal has a step succeed that waits for a signal, and reports false if the workflow has ended. Once it is sent, more
// of them change nothing. One that an older generation or an earlier run of the id has left in the queue counts for
// nothing, so it takes its place. It returns an [*workflow.InvalidError].
func (s *Store) Signal(ctx context.Context, v *View, name string, payload []byte) (sent bool, err error) {
	step := v.Number(name)
	switch {
	case step < 0:
		return false, &workflow.InvalidError{What: "workflow", Name: v.ID, Rule: "has no signal " + name}
	case v.Steps[step].Kind != workflow.KindSignal:
		return false, &workflow.InvalidError{What: "step", Name: name, Rule: "is no signal"}
	}
	gen := v.Tally.Gen
	if _, ended := v.Outcome(&v.Tally); ended {
		gen++
		if is, err := s.isDrivenBy(ctx, v, workflow.Life(v.Run, gen)); err != nil || !is {
			return false, err
		}
	}
	r := stepRecord(v.Spec, gen, step)
	r.Payload = payload
	e, err := queue.NewEnqueue(r)
	if err != nil {
		return false, err
	}
	e.Once = true
	err = s.enqueueInPlace(ctx, e, func(life string) (bool, error) { return life != r.Life && isStepLife(life), nil })
	if _, there := errors.AsType[*queue.DuplicateError](err); there {
		err = nil
	}
	return err == nil, err
}

// isDrivenBy reports whether the workflow's own job is there in a life: of a retry that no worker has begun yet.
func (s *Store) isDrivenBy(ctx context.Context, v *View, life string) (bool, error) {
	place, err := job.PlaceOf(v.Queue, job.WorkflowType, v.ID)
	if err != nil {
		return false, err
	}
	m, err := s.queues.Find(ctx, place)
	if errors.Is(err, queue.ErrNotFound) {
		return false, nil
	}
	return err == nil && m.Life == life, err
}

// isStepLife reports whether a life is that of a step in some generation of some run: others have what somebody else
// has published, which counts for whichever generation it is handled in.
func isStepLife(life string) bool {
	at := max(strings.LastIndexByte(life, '-'), 0)
	_, _, ok := workflow.ParseLife(life[:at])
	_, err := strconv.Atoi(strings.TrimPrefix(life[at:], "-"))
	return ok && err == nil
}

// endInner is what a timer, which is due, and a signal, which was sent, succeed with. One that was sent before a worker
// has begun the retry that it is for waits for that.
func (s *Store) endInner(ctx context.Context, r *job.Record, m workflow.Member) ([]byte, error) {
	t, _, err := s.tally(ctx, m.Run)
	switch {
	case errors.Is(err, errGone):
	case err != nil:
		return nil, err
	case t.Gen < m.Gen:
		return nil, &job.LaterError{Err: errNotBegun, Delay: time.Second}
	}
	return r.Payload, nil
}

var errNotBegun = errors.New("the retry has not begun")
