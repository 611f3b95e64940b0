package millhand

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/workflow"
)

// ErrResultGone says that what a job of a group has returned is not kept any more: see [KeepResults].
var ErrResultGone = errors.New("millhand: the result is not kept any more")

// MaxGroup is how many jobs a group may have.
const MaxGroup = workflow.MaxGroup

// Group adds a step of many jobs, all of one type, which run beside each other: at most [MaxGroup], of 256 MiB
// of payloads, 512 KiB each. It ends when all of them have. It has succeeded if none failed, but see [Tolerate];
// a group without jobs has succeeded at once. Job i has the id of the step, "--" and i, from 0.
//
// items is gone through by each [Client.Start], which holds all payloads in memory.
func (w *Workflow) Group(name string, items iter.Seq[Args], opts ...StepOption) *Step {
	s := w.add(workflow.Step{Name: name, Kind: workflow.KindGroup}, opts)
	if s.items = items; items == nil {
		w.refuse(&job.InvalidError{What: "group", Name: name, Rule: "must not be without a sequence of jobs"})
	}
	return s
}

// Tolerate has a group succeed although as many of its jobs as n fail. With more of them it fails at once, and
// what is left of it is cancelled. Without this option all jobs run, and the group fails if one did. It is of
// groups only.
func Tolerate(n int) StepOption { return func(s *Step) { s.spec.Tolerate = &n } }

// KeepResults keeps what the jobs of a group return for as long as the workflow, each in a message of its own.
// Without it [GroupResults] has what the records of jobs still have, which a namespace keeps for a week, or
// until two million other events have come: see [Retention]. It is of groups only.
func KeepResults() StepOption { return func(s *Step) { s.spec.KeepResults = true } }

// fill takes the jobs of a group from its sequence.
func (s *Step) fill(spec *workflow.Step) error {
	for args := range s.items {
		if isNil(args) {
			return &job.InvalidError{What: "job of group " + spec.Name, Rule: "must not be nil"}
		}
		typ := args.Type()
		if spec.Type == "" {
			spec.Type = typ
			if typ == job.WorkflowType {
				return &job.InvalidError{What: "type", Name: typ, Rule: "is that of workflows themselves: a group runs another"}
			}
		}
		if typ != spec.Type {
			return &job.InvalidError{What: "group", Name: spec.Name, Rule: fmt.Sprintf("has jobs of the types %s and %s: all of a group are of one", spec.Type, typ)}
		}
		payload, err := payloadOf(args)
		if err != nil {
			return err
		}
		if err := spec.Items.Add(spec.Name, payload); err != nil {
			return err
		}
	}
	spec.Jobs = spec.Items.Close()
	return nil
}

// GroupResults yields what the jobs of a group in the workflow of j have returned, as JSON of type R, in the order
// of its items: nothing is the zero value. In the place of a job that has not succeeded there is a
// [*NoResultError], and [ErrResultGone] for what is not kept any more: the loop may go on after both. After any
// other error nothing follows.
func GroupResults[R, T any](ctx context.Context, j *Job[T], step string) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var zero R
		flows, err := flowsOf(j)
		if err != nil {
			yield(zero, err)
			return
		}
		n := 0
		for got, err := range flows.Results(ctx, &j.held.Record, step) {
			if err == nil {
				err = got.Err
			}
			if err != nil {
				if !yield(zero, workflowError(err)) {
					return
				}
			} else if !yield(stepResult[R](fmt.Sprintf("%d of group %s", n, step), got.Data)) {
				return
			}
			n++
		}
	}
}

// addProgress says how far a group has come.
func (s *StepInfo) addProgress(p arrival.Progress, jobs int) {
	s.Total, s.Done, s.Failed = jobs, p.Ended(), p.Counts.Failed
	if s.State == StepHeld && p.Published > 0 {
		s.State = StepRunning
	}
}

// addPublishing says what a group waits for, and why not all its jobs are published.
func (c *Client) addPublishing(ctx context.Context, v *arrival.View, step, published int, s *StepInfo) error {
	if s.State == StepHeld {
		s.Waits = v.WaitsFor(&v.Tally, step)
	}
	if published >= s.Total || len(s.Waits) > 0 || s.State == StepSkipped || s.State == StepSucceeded {
		return nil
	}
	p, err := c.flows.PublishingOf(ctx, v, step)
	switch {
	case err != nil:
		return workflowError(err)
	case s.State == StepFailed && p.Ended != "":
		s.Error = "its jobs could not be published: " + p.Ended
	case s.State == StepFailed:
	case p.There:
		s.Waits = []string{"its jobs to be published"}
	default:
		s.Waits = []string{"its jobs to be published, which nobody does unless it is repaired"}
	}
	return nil
}
