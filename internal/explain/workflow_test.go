package explain_test

import (
	"testing"
	"time"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
	"github.com/millhand/millhand/internal/workflow"
)

// What is said of a workflow, and of a step of one that has no job.
func TestReasonsOfWorkflows(t *testing.T) {
	gone := func(c *view.Case) { c.Message = nil }
	later := func(in time.Duration) func(c *view.Case) { return func(c *view.Case) { c.Message.RunAt = now.Add(in) } }
	step := arrival.Part{Workflow: "w", Step: "b"}
	held, skipped, ended := step, step, step
	held.Waits = []string{"a", "one of c, d"}
	skipped.State, ended.State = workflow.Skipped, workflow.Succeeded
	whole := arrival.Part{
		Workflow: "w", Steps: 9, Ended: 1, Deadline: now.Add(time.Hour), Signals: []string{"approved"},
		Going: []string{"s1", "s2", "s3", "s4", "s5", "s6"},
	}
	for name, tt := range map[string]struct {
		change  func(c *view.Case)
		part    arrival.Part
		code    explain.Code
		blocked bool
		text    string
		advice  string
	}{
		"a workflow": {
			later(time.Hour), whole, explain.Workflow, true,
			"it is a workflow, and ends with its steps, of which 1 of 9 have; under way: s1, s2, s3, s4, s5 and 1 more; not signalled: approved", "millhand workflow show w",
		},
		"a workflow whose time has come": {later(-6 * time.Second), whole, explain.ScheduleLate, true, "", "millhand verify --only S02"},
		"a step that waits": {
			gone, held, explain.Held, true, "it is a step of workflow w, and waits for a; one of c, d", "millhand workflow show w",
		},
		"a step that waits again": {func(c *view.Case) {
			c.Message, c.Event = nil, &queue.Event{Kind: job.EventSucceeded, Life: "l0"}
		}, held, explain.Held, true, "", "millhand workflow show w"},
		"a step that is skipped": {gone, skipped, explain.Skipped, false, "", "millhand workflow show w"},
		"a step that has ended": {func(c *view.Case) {
			c.Message, c.Event = nil, &queue.Event{Kind: job.EventSucceeded, Life: "l1"}
		}, ended, explain.Succeeded, false, "", ""},
	} {
		c := readyCase(t)
		tt.change(c)
		c.Part = &tt.part
		a := explain.Explain(c)
		if a.First().Code != tt.code || a.Blocked != tt.blocked || tt.text != "" && a.First().Text != tt.text {
			t.Errorf("%s: %+v", name, a)
		}
		if tt.advice != "" && (len(a.Advice) == 0 || a.Advice[0].Command != tt.advice) {
			t.Errorf("%s advises %v", name, a.Advice)
		}
		if a.Headline() == "" && tt.code != explain.Succeeded {
			t.Errorf("%s has no headline", name)
		}
	}
}
