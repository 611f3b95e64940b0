package explain

import (
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

// broker says what of the broker does not answer or has no leader. Nothing moves there.
func (e *explainer) broker() {
	var what string
	switch {
	case e.Lacks(view.MissingMessage), e.Lacks(view.MissingStream):
		what = "the stream of queue " + e.answer.Queue + " does not answer"
	case e.Lacks(view.MissingConsumer):
		what = "the consumer of type " + e.answer.Type + " in queue " + e.answer.Queue + " does not answer"
	case e.Leaderless():
		what = "the stream of queue " + e.answer.Queue + " or its consumer of type " + e.answer.Type + " has no leader"
	default:
		return
	}
	silent := func(m view.Missing) bool {
		return slices.Contains([]string{view.MissingMessage, view.MissingStream, view.MissingConsumer}, m.What)
	}
	if i := slices.IndexFunc(e.Missing, silent); i >= 0 {
		what += " (" + e.Missing[i].Why + ")"
	}
	e.say(Reason{Code: BrokerUnready, Blocking: true, Text: "the broker is not ready: " + what})
	e.advise("see what the broker says of itself", "millhand status")
}

// ended says how the job ended, or that nothing is known of it.
func (e *explainer) ended() {
	ev, dead := e.Event, e.Dead
	switch {
	case ev != nil && ev.Kind.Final() && (dead == nil || dead.Life == ev.Life || !dead.DiedAt.After(ev.Time)):
		e.at(ev.Kind.State(), ev.Time)
		e.answer.Life = ev.Life
		e.say(Reason{
			Code: Code(ev.Kind.State()), Text: endText(ev.Kind.State(), ev.Reason, ev.Error, ev.Attempt), Since: ev.Time.UTC(),
			Data: EndData{Worker: ev.Node, Attempt: ev.Attempt, Reason: ev.Reason, Error: ev.Error},
		})
	case dead != nil:
		e.at(job.Dead, dead.DiedAt)
		e.answer.Life = dead.Life
		data := EndData{Reason: dead.Reason, Attempt: dead.Attempt}
		if n := len(dead.Failures); n > 0 {
			last := dead.Failures[n-1]
			data.Worker, data.Attempt, data.Error = last.Node, last.Attempt, last.Error
		}
		e.say(Reason{Code: Dead, Text: endText(job.Dead, data.Reason, data.Error, data.Attempt), Since: dead.DiedAt.UTC(), Data: data})
	default:
		e.notFound()
		return
	}
	if e.answer.State == job.Dead {
		e.advise("see its attempts", "millhand inspect "+e.ref())
		if dead != nil {
			e.advise("have it run again", "millhand retry "+e.ref())
		}
	}
}

func endText(s job.State, reason, err string, attempt int) string {
	text := string(s)
	if s == job.Succeeded && attempt > 1 {
		text += fmt.Sprintf(" at attempt %d", attempt)
	}
	if reason != "" {
		text += ", " + reason
	}
	if err != "" {
		text += ": " + err
	}
	return text
}

// notFound says that there is no trace, and what that may mean.
func (e *explainer) notFound() {
	text := "nothing of it is in its queue, among the dead, or in the events that are kept; a type that keeps nothing of a success leaves no trace"
	if e.Event != nil {
		text = fmt.Sprintf("its message is gone, and the last that is known of it is %q: it has ended since, and its type keeps nothing of that, or somebody removed it", e.Event.Kind)
		e.answer.Since, e.answer.Life = e.Event.Time.UTC(), e.Event.Life
	}
	e.say(Reason{Code: NotFound, Text: text})
	e.advise("look for it under other names", "millhand list id:"+e.answer.ID)
}

// lateAfter is how late the broker may be with a schedule before that is a fault.
const lateAfter = 5 * time.Second

// overdue reports whether the broker has not made the job ready that was due.
func (e *explainer) overdue() bool { return e.At.Sub(e.Message.RunAt) > lateAfter }

// later says what a job waits for whose time has not come.
func (e *explainer) later() {
	m, ev := e.Message, e.Event
	e.at(m.State(), m.Stored)
	due := m.RunAt.UTC()
	if e.overdue() {
		e.say(Reason{
			Code: ScheduleLate, Blocking: true, Since: due, Data: e.dueBy(),
			Text: "it was due, and the broker has not made it ready: it is overloaded, a limit of its stream or account refused the message, or the stream has no leader",
		})
		e.advise("see what the broker says of itself, and find a stream with a limit; a worker makes the job ready within a few minutes of its end", "millhand verify --only S02")
		return
	}
	e.cancelling()
	if ev != nil && ev.Life == m.Life && ev.Kind == job.EventRetrying {
		text := fmt.Sprintf("waits for attempt %d%s", m.Attempt, ofMax(m.MaxAttempts))
		if ev.Error != "" {
			text += "; the last one failed: " + ev.Error
		}
		e.say(Reason{
			Code: Backoff, Blocking: true, Text: text, Until: due, Since: m.Stored.UTC(),
			Data: BackoffData{Attempt: m.Attempt, MaxAttempts: m.MaxAttempts, Error: ev.Error},
		})
	} else {
		by := e.dueBy()
		e.say(Reason{Code: NotDue, Blocking: true, Text: by.text(), Until: due, Since: m.Stored.UTC(), Data: by})
	}
	e.advise("have it run now", "millhand run "+e.ref())
	e.advise("or not at all", "millhand cancel "+e.ref())
}

// dueBy says who set the time that the job waits for.
func (e *explainer) dueBy() DueData {
	m, ev := e.Message, e.Event
	switch {
	case ev != nil && ev.Life == m.Life && ev.Kind == job.EventSnoozed:
		return DueData{By: "snooze"}
	case m.Tick != nil:
		return DueData{By: "cron", Entry: m.Tick.Entry}
	}
	return DueData{By: "caller"}
}

func (d DueData) text() string {
	switch d.By {
	case "snooze":
		return "its handler asked for a later run"
	case "cron":
		return "it is a tick of the schedule " + d.Entry + ", whose time has not come"
	}
	return "it is not due"
}

func ofMax(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d", n)
}
