package explain

import (
	"fmt"
	"strings"

	"github.com/millhand/millhand/internal/workflow"
)

// maxNamed is how many steps are named of those that have not ended.
const maxNamed = 5

// held says what a step of a workflow waits for, or that it never runs. There is no job of it.
func (e *explainer) held() {
	p := e.Part
	data := StepData{Workflow: p.Workflow, Step: p.Step, Waits: p.Waits}
	if p.State == workflow.Skipped {
		e.say(Reason{Code: Skipped, Data: data, Text: "it is a step of workflow " + p.Workflow + " that does not run, since what it waited for cannot come any more"})
	} else {
		e.say(Reason{Code: Held, Blocking: true, Data: data, Text: "it is a step of workflow " + p.Workflow + ", and waits for " + strings.Join(p.Waits, "; ")})
	}
	e.advise("see the other steps", "millhand workflow show "+p.Workflow)
}

// workflow says what a workflow goes on for. Its own job sleeps until the deadline.
func (e *explainer) workflow() {
	p, m := e.Part, e.Message
	e.at(m.State(), m.EnqueuedAt)
	text := fmt.Sprintf("it is a workflow, and ends with its steps, of which %d of %d have", p.Ended, p.Steps)
	if len(p.Going) > 0 {
		text += "; under way: " + named(p.Going)
	}
	if len(p.Signals) > 0 {
		text += "; not signalled: " + named(p.Signals)
	}
	e.cancelling()
	e.say(Reason{
		Code: Workflow, Blocking: true, Since: m.EnqueuedAt.UTC(), Until: p.Deadline, Text: text,
		Data: WorkflowData{Phase: string(p.Phase), Steps: p.Steps, Ended: p.Ended, UnderWay: p.Going, Signals: p.Signals},
	})
	e.advise("see its steps", "millhand workflow show "+p.Workflow)
	e.advise("or cancel all of it", "millhand workflow cancel "+p.Workflow)
}

func named(steps []string) string {
	if more := len(steps) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(steps[:maxNamed], ", "), more)
	}
	return strings.Join(steps, ", ")
}
