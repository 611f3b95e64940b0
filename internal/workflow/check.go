package workflow

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// minKeepMS is an hour: a retry, and whoever looks what has failed, needs what is kept.
const minKeepMS = 3600 * 1000

// maxSleepMS is ten years of 365 days: no job is due later.
const maxSleepMS = 3650 * 24 * 3600 * 1000

// Check returns an [*InvalidError] for the first rule that s breaks. What it has of queues and types is
// for others to check.
func (s *Spec) Check() error {
	if err := CheckID(s.ID); err != nil {
		return err
	}
	if err := CheckRun(s.Run); err != nil {
		return err
	}
	if of := s.Parent; of != nil {
		if err := cmp.Or(CheckID(of.ID), CheckRun(of.Run)); err != nil {
			return err
		}
	}
	switch {
	case s.Gen < 1 || s.Gen > maxGen:
		return invalid("generation", "", "must be 1 to %d", maxGen)
	case s.KeepMS != 0 && (s.KeepMS < minKeepMS || s.KeepMS > maxSleepMS):
		return invalid("workflow", s.ID, "is to be kept for %v after its end: must be 1 hour to 3650 days", time.Duration(s.KeepMS)*time.Millisecond)
	case s.Depth < 0 || s.Depth > 0 && s.Parent == nil:
		return invalid("workflow", s.ID, "is inside %d others, and a step of none", s.Depth)
	}
	return s.checkSteps(nil)
}

// checkSteps checks the graph of s, which is inside others: the first of them may be a step of one that is stored.
func (s *Spec) checkSteps(inside []*Spec) error {
	depth := len(inside) + s.Depth
	if len(inside) > 0 {
		depth = len(inside) + inside[0].Depth
	}
	switch n := len(s.Steps); {
	case slices.Contains(inside, s):
		return invalid("workflow", s.Name, "contains itself")
	case depth >= maxDepth:
		return invalid("workflow", s.Name, "is inside %d others, at most %d levels are allowed", depth, maxDepth)
	case n == 0:
		return invalid("workflow", s.Name, "has no steps")
	case n > maxSteps:
		return invalid("workflow", s.Name, "has %d steps, at most %d are allowed", n, maxSteps)
	}
	if err := checkTitle(s.Name); err != nil {
		return err
	}
	inside = append(slices.Clip(inside), s)
	names := make(map[string]bool, len(s.Steps))
	for i := range s.Steps {
		step := &s.Steps[i]
		if err := s.checkName(step); err != nil {
			return err
		}
		if names[step.Name] {
			return invalid("step", step.Name, "two steps have this name")
		}
		names[step.Name] = true
		if by := step.AddedBy; by != nil && (*by < 0 || *by >= i) {
			return invalid("step", step.Name, "is added by step %d, which is not before it", *by)
		}
		if err := step.checkKind(inside); err != nil {
			return err
		}
		for _, c := range step.After {
			if err := s.checkCondition(step, c); err != nil {
				return err
			}
		}
	}
	if order := s.order(); len(order) < len(s.Steps) {
		return s.cycle(order)
	}
	return nil
}

func (s *Spec) checkName(step *Step) error {
	if step.UndoOf == nil {
		return CheckStep(step.Name)
	}
	of := *step.UndoOf
	switch {
	case of < 0 || of >= len(s.Steps):
		return invalid("step", step.Name, "undoes step %d, and there are %d, from 0", of, len(s.Steps))
	case step.Name != UndoName(s.Steps[of].Name):
		return invalid("step", step.Name, "undoes %s, so it has to be called %s", s.Steps[of].Name, UndoName(s.Steps[of].Name))
	case s.Steps[of].UndoOf != nil, s.Steps[of].waits():
		return invalid("step", step.Name, "undoes a step at which nothing is done that could be undone")
	case step.Kind != KindJob:
		return invalid("step", step.Name, "undoes another, so it has to be a job")
	case len(step.After) > 0:
		return invalid("step", step.Name, "undoes another, so it comes after nothing else")
	}
	return nil
}

func (s *Step) checkKind(inside []*Spec) error {
	switch s.Kind {
	case KindJob:
		if s.Type == "" {
			return invalid("step", s.Name, "has no type")
		}
	case KindGroup:
		if err := s.checkGroup(); err != nil {
			return err
		}
	case KindSleep:
		if s.SleepMS <= 0 || s.SleepMS > maxSleepMS {
			return invalid("step", s.Name, "sleeps for %d ms, want more than 0 and at most 3650 days", s.SleepMS)
		}
	case KindSignal:
		if len(s.After) > 0 {
			return invalid("step", s.Name, "is a signal, which comes when somebody sends it, so it comes after nothing: let what waits for it wait for the others too")
		}
	case KindWorkflow:
		if s.Child == nil {
			return invalid("step", s.Name, "is a workflow and has none")
		}
		return s.Child.checkSteps(inside)
	default:
		return invalid("step", s.Name, "kind %s: want job, group, sleep, signal or workflow", shown(string(s.Kind)))
	}
	switch {
	case s.Child != nil:
		return invalid("step", s.Name, "is no workflow and has one")
	case s.Kind != KindGroup && (s.Jobs != 0 || s.Tolerate != nil || s.KeepResults):
		return invalid("step", s.Name, "is no group, and says what is of one")
	case s.Kind != KindSleep && s.SleepMS != 0:
		return invalid("step", s.Name, "does not sleep, and says for how long")
	case s.Options.MaxAttempts < 0:
		return invalid("step", s.Name, "max attempts must not be negative")
	case len(s.Args) > 0 && !json.Valid(s.Args):
		return invalid("step", s.Name, "its payload is no JSON")
	}
	return nil
}

func (s *Step) checkGroup() error {
	for _, name := range []string{s.Payloads, s.PayloadsRun} { // the store gives them
		if name == "" {
			continue
		}
		if err := CheckRun(name); err != nil {
			return err
		}
	}
	switch {
	case s.Jobs < 0 || s.Jobs > MaxGroup:
		return invalid("step", s.Name, "has %d jobs, at most %d are allowed", s.Jobs, MaxGroup)
	case s.Type == "" && s.Jobs > 0:
		return invalid("step", s.Name, "has no type")
	case s.Tolerate != nil && *s.Tolerate < 0:
		return invalid("step", s.Name, "tolerates %d failures, want 0 or more", *s.Tolerate)
	case len(s.Args) > 0:
		return invalid("step", s.Name, "is a group, whose jobs have a payload each, and has one itself")
	}
	return nil
}

func (s *Spec) checkCondition(step *Step, c Condition) error {
	switch c.Mode {
	case AllSucceeded, AllEnded, OneFailed, AnySucceeded:
	default:
		return invalid("step", step.Name, "comes after mode %s: want all, end, fail or any", shown(string(c.Mode)))
	}
	if c.Early && c.Mode != OneFailed {
		return invalid("step", step.Name, "comes early after mode %s: want fail, which a failure opens", c.Mode)
	}
	if len(c.Of) == 0 {
		return invalid("step", step.Name, "comes after no step in mode %s", c.Mode)
	}
	for _, d := range c.Of {
		switch {
		case d < 0 || d >= len(s.Steps):
			return invalid("step", step.Name, "comes after step %d, and there are %d, from 0", d, len(s.Steps))
		case s.Steps[d].UndoOf != nil:
			return invalid("step", step.Name, "comes after %s, which runs when all others have ended", s.Steps[d].Name)
		}
	}
	return nil
}

// order returns the steps so that each stands behind all that it comes after. Those of cycles, and what
// is behind them, are missing.
func (s *Spec) order() []int {
	feeds, missing := s.feeds(), make([]int, len(s.Steps))
	var order []int
	for i := range s.Steps {
		for _, c := range s.Steps[i].After {
			missing[i] += len(c.Of)
		}
		if missing[i] == 0 {
			order = append(order, i)
		}
	}
	for at := 0; at < len(order); at++ {
		for _, d := range feeds[order[at]] {
			if missing[d]--; missing[d] == 0 {
				order = append(order, d)
			}
		}
	}
	return order
}

// feeds returns, for each step, those that come directly after it, once for each time they say so.
func (s *Spec) feeds() [][]int {
	feeds := make([][]int, len(s.Steps))
	for i := range s.Steps {
		for _, c := range s.Steps[i].After {
			for _, d := range c.Of {
				feeds[d] = append(feeds[d], i)
			}
		}
	}
	return feeds
}

// cycle names a step of a cycle: what has no place in order comes after another such step, so whoever
// goes back often enough is in one.
func (s *Spec) cycle(order []int) error {
	placed := make([]bool, len(s.Steps))
	for _, i := range order {
		placed[i] = true
	}
	at := slices.Index(placed, false)
	for range s.Steps {
		at = s.waitsFor(at, placed)
	}
	return invalid("step", s.Steps[at].Name, "comes after itself")
}

// waitsFor returns a step without a place that step i comes after.
func (s *Spec) waitsFor(i int, placed []bool) int {
	for _, c := range s.Steps[i].After {
		for _, d := range c.Of {
			if !placed[d] {
				return d
			}
		}
	}
	return i
}
