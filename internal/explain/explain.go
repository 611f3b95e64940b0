package explain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
	"github.com/millhand/millhand/internal/workflow"
)

// Explain says why the job of a case is where it is. It always gives a reason.
func Explain(c *view.Case) *Answer {
	e := &explainer{Case: c, answer: &Answer{
		Queue: c.Place.Queue.String(), Type: c.Place.Type.String(), ID: c.Place.ID.String(),
		Reasons: []Reason{}, Advice: []Advice{}, LookedAt: c.At,
	}}
	e.broker()
	switch m := c.Message; {
	case c.Lacks(view.MissingMessage):
		// That is said already: nothing else is known for certain.
	case c.Part != nil && c.Part.Step != "" && (c.Part.Held() || c.Part.State == workflow.Skipped):
		e.held()
	case c.Ended():
		e.ended()
	case c.Part != nil && c.Part.Step == "" && !m.RunAt.IsZero() && !e.overdue():
		e.workflow()
	case !m.RunAt.IsZero():
		e.later()
	case c.HandedOut():
		e.inHand()
	default:
		e.ready()
	}
	e.finish()
	return e.answer
}

// An explainer collects the reasons of one case.
type explainer struct {
	*view.Case
	answer *Answer
}

// ref names the job as commands take it.
func (e *explainer) ref() string { return e.answer.Queue + "/" + e.answer.Type + "/" + e.answer.ID }

// at says where the job is, and since when.
func (e *explainer) at(s job.State, since time.Time) {
	e.answer.State, e.answer.Since = s, since.UTC()
	if e.Message != nil {
		e.answer.Life = e.Message.Life
	}
}

func (e *explainer) say(r Reason) { e.answer.Reasons = append(e.answer.Reasons, r) }

// advise adds what can be done about the reason that was said last.
func (e *explainer) advise(text, command string) {
	r := &e.answer.Reasons[len(e.answer.Reasons)-1]
	r.advice = append(r.advice, Advice{text, command})
}

// finish sorts the reasons. What only says how it goes is no blocker where something else is.
func (e *explainer) finish() {
	a := e.answer
	for i := range a.Reasons {
		r := &a.Reasons[i]
		d, ok := r.Data.(BehindData)
		switch {
		case !ok:
		case slices.ContainsFunc(a.Reasons, func(o Reason) bool { return o.Blocking && !behindMoves(o.Code) }):
			r.Blocking = false
		default:
			r.Blocking = !slices.ContainsFunc(a.Reasons, func(o Reason) bool { return o.Blocking && o.Code != Behind })
			r.Until = d.turn(a.LookedAt)
			r.Estimate = !r.Until.IsZero()
		}
	}
	slices.SortStableFunc(a.Reasons, func(x, y Reason) int {
		return cmp.Or(
			cmp.Compare(order(&x), order(&y)),
			-cmp.Compare(lasts(&x, a.LookedAt), lasts(&y, a.LookedAt)),
			cmp.Compare(rank(x.Code), rank(y.Code)))
	})
	a.Blocked = a.Reasons[0].Blocking
	for i := range a.Reasons {
		for _, d := range a.Reasons[i].advice {
			if !slices.Contains(a.Advice, d) {
				a.Advice = append(a.Advice, d)
			}
		}
	}
}

// behindMoves reports whether those that go first start all the same, one after the other.
func behindMoves(c Code) bool { return slices.Contains([]Code{Behind, SlotsFull, QuotaFull}, c) }

// order is that of those that block before the others.
func order(r *Reason) int {
	if r.Blocking {
		return 0
	}
	return 1
}

// someJob is as long as it takes until some job ends, to put what lasts for that long among reasons
// whose end is known. It is shown to nobody.
const someJob = time.Minute

// lasts is for how long a reason keeps the job, as far as that can be said.
func lasts(r *Reason, now time.Time) time.Duration {
	switch r.Code { //nolint:exhaustive // of the others the time is known
	case BrokerUnready, NoWorker, Expired, Unexplained:
		return math.MaxInt64 // until somebody does something
	case QuotaFull, QuotaHeldIdle, Outranked, SlotsFull:
		return someJob
	case Behind:
		return someJob / 2
	}
	if r.Until.IsZero() {
		return math.MaxInt64
	}
	return max(r.Until.Sub(now), 0)
}

// rank is the order of reasons that last as long as each other.
func rank(c Code) int {
	return slices.Index([]Code{
		BrokerUnready, Held, Workflow, Expired, NoWorker, QueuePaused, TypePaused, QuotaFull, QuotaLost, QuotaHeldIdle, RateExhausted, Outranked, SlotsFull, Behind,
		Stuck, Cancelling, WorkerSilent, WaitsInHand, Running, Unclaimed,
	}, c)
}
