package bulk

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
)

// A Kind is what is done to jobs.
type Kind string

// The kinds.
const (
	Retry  Kind = "retry"  // dead jobs run again
	Start  Kind = "run"    // jobs that wait for their time do so no more, or until another time
	Cancel Kind = "cancel" // jobs that are alive end
	Delete Kind = "delete" // the records of dead jobs go
)

// states are those of the jobs that it can be done to.
func (k Kind) states() []job.State {
	switch k {
	case Retry, Delete:
		return []job.State{job.Dead}
	case Start:
		return []job.State{job.Scheduled, job.Retrying}
	case Cancel:
	}
	return []job.State{job.Scheduled, job.Ready, job.Running, job.Retrying}
}

// Meant returns the filter of an operation, which names the state of the jobs. It has to say more than
// that, unless all of the state are meant. The error says what is missing.
func (k Kind) Meant(f filter.Filter, all bool) (filter.Filter, error) {
	if f.Has(filter.Word) {
		return f, errors.New("a word by itself may be an id or a part of the payload; write id: or payload: before it")
	}
	states := k.states()
	if !f.Has(filter.State) && len(states) == 1 {
		f = f.With(filter.Term{Key: filter.State, Values: []filter.Value{{Text: string(states[0])}}})
	}
	other := slices.DeleteFunc(f.States(), func(s job.State) bool { return slices.Contains(states, s) })
	switch {
	case !f.Has(filter.State):
		return f, fmt.Errorf("in which state? add state: with one or more of %s", listed(states))
	case len(other) > 0:
		return f, fmt.Errorf("state: jobs that are %s cannot be meant, only %s", listed(other), listed(states))
	}
	says := slices.ContainsFunc(f.Terms, func(t filter.Term) bool { return t.Key != filter.State })
	switch {
	case !says && !all:
		return f, errors.New("which jobs? want a filter with more than a state, or --all without one")
	case says && all:
		return f, errors.New("--all, and a filter that means less: use one")
	}
	return f, nil
}

func listed(states []job.State) string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}
