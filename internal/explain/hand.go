package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
)

// inHand says who has a job that was handed to a worker.
func (e *explainer) inHand() {
	m, w := e.Message, &e.Located
	e.at(job.Ready, m.Stored)
	r := w.Running
	if r != nil && r.Life != "" && r.Life != m.Life { // of a life before, whose handler ignores that it is over
		r = nil
	}
	e.cancelling()
	switch {
	case r != nil && slices.Contains(w.Silent, r.Node):
		e.at(job.Running, r.Since)
		e.silent(r.Node)
	case r != nil:
		e.running(r)
	case len(w.InHand) > 0:
		e.say(Reason{
			Code: WaitsInHand, Blocking: true, Data: RunData{Worker: w.InHand[0], Workers: w.InHand, Attempt: m.Attempt},
			Text: "worker " + w.InHand[0] + " has it and is about to start it, or to give it back: it waits for a slot there for a second at most",
		})
	default:
		e.unclaimed()
	}
}

// running says how a job runs.
func (e *explainer) running(r *registry.Running) {
	e.at(job.Running, r.Since)
	data := RunData{Worker: r.Node, Attempt: e.Message.Attempt, TimeoutAt: r.TimeoutAt, Progress: r.Progress, Told: r.Told, Trace: job.TraceID(e.Message.Trace["traceparent"])}
	if r.Told != "" && !e.said(Cancelling) {
		e.say(Reason{
			Code: Stuck, Since: r.Since.UTC(), Data: data,
			Text: "its handler on worker " + r.Node + " was told to stop (" + r.Told + ") and goes on; it is given up soon, and its goroutine stays as long as it ignores that",
		})
		e.advise("see its attempts, and where a handler stood that was given up", "millhand inspect "+e.ref()+" --stack")
		return
	}
	text := fmt.Sprintf("worker %s runs attempt %d%s", r.Node, e.Message.Attempt, ofMax(e.Message.MaxAttempts))
	if r.TimeoutAt.IsZero() {
		text += ", without a timeout"
	}
	e.say(Reason{Code: Running, Text: text, Since: r.Since.UTC(), Until: r.TimeoutAt.UTC(), Data: data})
	e.advise("follow it", "millhand inspect "+e.ref()+" --watch")
	e.advise("end it", "millhand cancel "+e.ref())
}

// silent says that the worker which has the job says nothing any more.
func (e *explainer) silent(worker string) {
	e.say(Reason{
		Code: WorkerSilent, Blocking: true, Until: e.leaseEnd(worker), Data: RunData{Worker: worker, Attempt: e.Message.Attempt},
		Text: "worker " + worker + " has it and does not answer: it was killed, stands still, or cannot reach the broker; unless it comes back, the job goes to another worker when its lease ends",
	})
	e.advise("see the workers", "millhand workers")
}

// leaseEnd is when the lease of a job of a worker ends, at the latest, if that is gone since it was last
// heard of: leases are renewed while presence is.
func (e *explainer) leaseEnd(worker string) time.Time {
	for _, n := range e.Registry.Nodes {
		if n.ID == worker && e.Consumer != nil {
			return latest(n.Ends, n.Seen).Add(e.Consumer.Config.AckWait).UTC()
		}
	}
	return e.leaseEndOfAny()
}

func (e *explainer) leaseEndOfAny() time.Time {
	if e.Consumer == nil {
		return time.Time{}
	}
	return e.At.Add(e.Consumer.Config.AckWait).UTC()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// unclaimed says that nobody has the job, which was handed out: whoever had it is gone, or does not
// answer. What keeps a ready job keeps this one, too, once its lease has ended.
func (e *explainer) unclaimed() {
	w := &e.Located
	if len(w.Silent) > 0 && len(e.Serving()) > 0 {
		names := strings.Join(w.Silent, ", ")
		e.say(Reason{
			Code: WorkerSilent, Blocking: true, Until: e.leaseEndOfAny(), Data: RunData{Workers: w.Silent, Attempt: e.Message.Attempt},
			Text: "no worker that answers has it; it may be with one that does not: " + names + "; unless that comes back, the job goes to another worker when its lease ends",
		})
		e.advise("see the workers", "millhand workers")
	} else {
		e.say(Reason{
			Code: Unclaimed, Blocking: true, Until: e.leaseEndOfAny(), Data: RunData{Attempt: e.Message.Attempt},
			Text: "it was handed to a worker, and none has it: that worker is gone, and the job is delivered again when its lease ends",
		})
	}
	e.blockers()
}

func (e *explainer) said(c Code) bool {
	return slices.ContainsFunc(e.answer.Reasons, func(r Reason) bool { return r.Code == c })
}

// cancelling says that somebody ordered the job to end.
func (e *explainer) cancelling() {
	m := e.Message
	for _, o := range e.Registry.Orders {
		if !o.Matches(&m.Record, m.State()) || o.Done && !o.Many() {
			continue
		}
		text := "somebody cancels it"
		if o.By != "" {
			text = o.By + " cancels it"
		}
		if o.Reason != "" {
			text += ": " + o.Reason
		}
		data := CancelData{By: o.By, Reason: o.Reason, At: o.At.UTC(), Grace: o.Grace.String()}
		if r := e.Located.Running; r != nil {
			text += "; its handler on worker " + r.Node + " has " + o.Grace.String() + " to return, from when it was told"
		}
		e.say(Reason{Code: Cancelling, Text: text, Since: o.At.UTC(), Data: data})
		return
	}
}
