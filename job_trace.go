package millhand

import (
	"context"
	"time"
)

// TraceRun is for [Middleware] that traces runs: parent is the traceparent of this one. Its trace id
// stands in the [Event] of the run, and the job's next run has parent as its RunTrace. Unless it is
// nil, settled is called once the end of the run is written, or cannot be, from any goroutine, with
// the time since the handler's end. It must not block. A run of no worker, as in a test, is not noted.
func (j *Job[T]) TraceRun(parent string, settled func(took time.Duration, err error)) {
	if j.held != nil {
		j.held.TraceRun(parent, settled)
	}
}

// StepTraces returns the traceparents of the runs of the steps that j comes directly after in its workflow, or undoes, of
// those that were traced: for [Middleware] that traces runs. A group has none, and of many steps there are at most 64. It
// reads them with one or two requests, once for all jobs of a group, and waits for half a second at most. A job of no
// workflow, or of no worker, has none.
func (j *Job[T]) StepTraces(ctx context.Context) []string {
	if j.held == nil || j.held.Workflow == "" {
		return nil
	}
	flows, err := flowsOf(j)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepTracesWithin)
	defer cancel()
	traces, err := flows.Traces(ctx, &j.held.Record)
	if err != nil {
		return nil // a run is not to wait for what it is linked to
	}
	return traces
}

// stepTracesWithin is how long a run waits for what it is to be linked to.
const stepTracesWithin = 500 * time.Millisecond

// Worker is the id of the worker that runs the job, empty if none does, as in a test.
func (j *Job[T]) Worker() string {
	if j.held == nil {
		return ""
	}
	return j.held.Node()
}

// Waited is for how long the job was ready before this run, by the broker's clock, as far as the worker knows
// that. It is 0 of a job of no worker.
func (j *Job[T]) Waited() time.Duration {
	if j.held == nil {
		return 0
	}
	return j.held.Waited()
}
