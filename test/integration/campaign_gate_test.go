package integration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/workflow"
)

// lifeOf is that of the job of a step, or of the n-th one of a group.
func lifeOf(spec *workflow.Spec, gen, i, n int) string {
	switch step := &spec.Steps[i]; step.Kind {
	case workflow.KindGroup:
		return workflow.GroupLife(spec.Run, gen, i, n)
	case workflow.KindWorkflow:
		return workflow.Life(workflow.ChildRun(spec.Run, step.Name), gen)
	case workflow.KindJob, workflow.KindSleep, workflow.KindSignal:
	}
	return workflow.StepLife(spec.Run, gen, i)
}

// began judges the runs of a job: each belongs to the first life that ended behind it, whose gate was open by then. One
// that is cancelled may be about to ask the stage; and one that a killed broker has forgotten to have handed out runs again
// if its end is not counted yet, or it is of a group.
func (j *judge) began(spec *workflow.Spec, tally *workflow.Tally, i, n int, id string, atLeastOnce bool) {
	j.t.Helper()
	runs := j.runs[id]
	if atLeastOnce && len(runs) == 0 {
		j.fault("job %s has succeeded, and never ran", id)
	}
	for _, at := range runs {
		gen, last := 1, (*millhand.Event)(nil)
		for ; gen <= tally.Gen; gen++ {
			end := j.ended(lifeOf(spec, gen, i, n))
			if end != nil && end.Time.After(at) {
				break
			}
			if end != nil {
				last = end
			}
		}
		switch {
		case gen <= tally.Gen && !j.open(spec, gen, i, at):
			j.fault("job %s ran before its gate was open, at %s in generation %d: %+v\n%s", id, at.UTC().Format(time.StampMicro), gen, spec.Steps[i].After, j.describe(spec, gen, at))
		case gen > tally.Gen && last != nil && last.Kind != millhand.EventCancelled && !j.forgot(last.Time, at):
			j.fault("job %s ran after its end, at %s: %s", id, at.UTC().Format(time.StampMicro), j.history(spec, tally.Gen, i, n))
		case gen > tally.Gen && last == nil:
			j.fault("job %s ran at %s, and has no end", id, at.UTC().Format(time.StampMicro))
		}
	}
}

// forgot reports whether a broker was killed in between.
func (j *judge) forgot(from, to time.Time) bool {
	return slices.ContainsFunc(j.kills, func(at time.Time) bool { return !at.Before(from) && !at.After(to) })
}

func (j *judge) history(spec *workflow.Spec, gens, i, n int) string {
	var text strings.Builder
	for gen := 1; gen <= gens; gen++ {
		for _, e := range j.events[lifeOf(spec, gen, i, n)] {
			fmt.Fprintf(&text, "%d: %s at %s by %s, begun at %s; ", gen, e.Kind, e.Time.Format(time.StampMicro), e.Worker, e.StartedAt.Format(time.StampMicro))
		}
	}
	return text.String()
}

// open reports whether a step could run at a time.
func (j *judge) open(spec *workflow.Spec, gen, i int, at time.Time) bool {
	step := &spec.Steps[i]
	if of := spec.Parent; of != nil {
		if outer := j.specs[of.Run]; outer != nil && !j.open(outer, gen, of.Step, at) {
			return false
		}
	}
	if of := step.UndoOf; of != nil {
		for d := range spec.Steps {
			if spec.Steps[d].UndoOf == nil && j.state(spec, gen, d, at, false) == workflow.Pending {
				return false
			}
		}
		return j.state(spec, gen, *of, at, false) == workflow.Succeeded
	}
	for _, c := range step.After {
		count := make(map[workflow.State]int)
		for _, d := range c.Of {
			count[j.state(spec, gen, d, at, c.Early)]++
		}
		held := false
		switch c.Mode {
		case workflow.AllSucceeded:
			held = count[workflow.Succeeded] == len(c.Of)
		case workflow.AnySucceeded:
			held = count[workflow.Succeeded] > 0
		case workflow.AllEnded:
			held = count[workflow.Pending] == 0
		case workflow.OneFailed:
			held = count[workflow.Failed] > 0 && (count[workflow.Pending] == 0 || c.Early)
		}
		if !held {
			return false
		}
	}
	return true
}

// state returns what a step had come to at a time, as the events say. Of what is skipped there is none; and a timer or
// signal may be skipped, and end all the same.
func (j *judge) state(spec *workflow.Spec, gen, i int, at time.Time, early bool) workflow.State {
	step, tally := &spec.Steps[i], j.tallies[spec.Run]
	if gen == tally.Gen && tally.At(i) == workflow.Skipped {
		return workflow.Skipped
	}
	if step.Kind == workflow.KindGroup {
		return j.groupState(spec, gen, i, at, early)
	}
	state, ever := j.jobState(spec, gen, i, 0, at)
	waits := step.Kind == workflow.KindSleep || step.Kind == workflow.KindSignal
	if state == workflow.Pending && gen < tally.Gen && (!ever || waits) {
		return workflow.Skipped
	}
	return state
}

func (j *judge) groupState(spec *workflow.Spec, gen, i int, at time.Time, early bool) workflow.State {
	step, tally := &spec.Steps[i], j.tallies[spec.Run]
	if gen > j.since(spec, gen) && !j.undone(spec, gen-1, i) && j.groupState(spec, gen-1, i, at, false) == workflow.Succeeded {
		return workflow.Succeeded // with what failed in it
	}
	succeeded, failed := 0, 0
	for n := range step.Jobs {
		switch state, _ := j.jobState(spec, gen, i, n, at); state {
		case workflow.Succeeded:
			succeeded++
		case workflow.Failed:
			failed++
		case workflow.Pending, workflow.Skipped:
		}
	}
	cut := gen < tally.Gen || tally.At(i) == workflow.Failed && (tally.Cancelled || tally.Stopped != nil)
	switch {
	case failed > step.Tolerates() && (step.Tolerate != nil || early), succeeded+failed < step.Jobs && cut:
		return workflow.Failed
	case succeeded+failed < step.Jobs:
		return workflow.Pending
	case failed > step.Tolerates():
		return workflow.Failed
	}
	return workflow.Succeeded
}

// since returns the first generation whose ends still count in another one.
func (j *judge) since(spec *workflow.Spec, gen int) int {
	if since := j.tallies[spec.Run].Since; gen >= since {
		return max(1, since)
	}
	return 1
}

// jobState is state of the job of a step, or of the n-th one of a group. It reports whether it ever ended in the generation.
func (j *judge) jobState(spec *workflow.Spec, gen, i, n int, at time.Time) (state workflow.State, ever bool) {
	for of := gen; of >= j.since(spec, gen); of-- {
		end := j.ended(lifeOf(spec, of, i, n))
		if end == nil {
			continue
		}
		ever = ever || of == gen
		switch {
		case end.Time.After(at):
		case end.Kind != millhand.EventSucceeded && of == gen:
			return workflow.Failed, ever
		case end.Kind == millhand.EventSucceeded && (of == gen || !j.undone(spec, of, i)):
			return workflow.Succeeded, true
		}
	}
	return workflow.Pending, ever
}

// undone reports whether a step was undone in a generation, and so is done again in the next one.
func (j *judge) undone(spec *workflow.Spec, gen, i int) bool {
	return slices.ContainsFunc(spec.Steps, func(s workflow.Step) bool {
		return s.UndoOf != nil && *s.UndoOf == i && j.ended(workflow.StepLife(spec.Run, gen, slices.IndexFunc(spec.Steps, func(of workflow.Step) bool { return of.Name == s.Name }))) != nil
	})
}

// describe tells of all steps what they had come to at a time.
func (j *judge) describe(spec *workflow.Spec, gen int, at time.Time) string {
	var text strings.Builder
	tally := j.tallies[spec.Run]
	for i := range spec.Steps {
		fmt.Fprintf(&text, "%s %s, %s of %d: %s, %s\n", spec.Steps[i].Kind, spec.Steps[i].Name, tally.At(i), tally.Gen, j.state(spec, gen, i, at, false), j.history(spec, tally.Gen, i, 0))
	}
	return text.String()
}
