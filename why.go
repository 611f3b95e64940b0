package millhand

import (
	"context"
	"encoding/json"
	"time"

	"github.com/millhand/millhand/internal/explain"
)

// An Explanation says why a job is where it is: what it waits for, who has it, or how it ended.
type Explanation struct {
	Ref
	State    State       `json:"state,omitempty"` // empty: nothing is known of the job
	Since    time.Time   `json:"since,omitzero"`  // when it came into its state
	Blocked  bool        `json:"blocked"`         // it waits, and a reason keeps it
	Reasons  []WhyReason `json:"reasons"`         // at least one; those that block first, and of these the one that lasts longest
	Advice   []Advice    `json:"advice"`          // what can be done, the best first
	LookedAt time.Time   `json:"looked_at"`       // by the broker's clock, if that is known
}

// A WhyReason is one thing that keeps a job where it is, or says what it does there.
type WhyReason struct {
	Code     WhyCode   `json:"code"`
	Blocking bool      `json:"blocking"`           // the job goes on no sooner than this ends
	Text     string    `json:"text"`               // for people, without the times that are in the other fields
	Since    time.Time `json:"since,omitzero"`     // zero: not known
	Until    time.Time `json:"until,omitzero"`     // when it ends by itself at the latest; zero: not known, or never
	Estimate bool      `json:"estimate,omitempty"` // Until is a guess, from how things went lately
	// Data has more, such as who has the permits of a quota. docs/why.md has the fields of each code.
	Data json.RawMessage `json:"data,omitempty"`
}

// An Advice is what can be done about a reason.
type Advice struct {
	Text    string `json:"text"`
	Command string `json:"command,omitempty"` // of millhand, complete; empty: there is none for it
}

// A WhyCode names a reason. Codes are added, and none is renamed.
type WhyCode string

// The codes of reasons, by where the job is.
const (
	WhyNotFound  WhyCode = "not_found"
	WhySucceeded WhyCode = "succeeded"
	WhyDead      WhyCode = "dead"
	WhyCancelled WhyCode = "cancelled"

	WhyHeld         WhyCode = "held"     // it is a step of a workflow, and waits for others
	WhySkipped      WhyCode = "skipped"  // it is one that does not run
	WhyWorkflow     WhyCode = "workflow" // it is a workflow, and ends with its steps
	WhyNotDue       WhyCode = "not_due"
	WhyBackoff      WhyCode = "backoff"       // it waits for its next attempt
	WhyScheduleLate WhyCode = "schedule_late" // its time has come, and the broker has not made it ready

	WhyQueuePaused   WhyCode = "queue_paused"
	WhyTypePaused    WhyCode = "type_paused"
	WhyNoWorker      WhyCode = "no_worker"
	WhyExpired       WhyCode = "expired" // it dies once a worker takes it
	WhyQuotaFull     WhyCode = "quota_full"
	WhyQuotaHeldIdle WhyCode = "quota_held_idle" // workers have permits that nothing uses
	WhyQuotaLost     WhyCode = "quota_lost"      // permits of a worker that vanished stay taken for a while
	WhyRateExhausted WhyCode = "rate_exhausted"
	WhyOutranked     WhyCode = "outranked" // jobs wait in queues that go first
	WhySlotsFull     WhyCode = "slots_full"
	WhyBehind        WhyCode = "behind" // others of its type are before it
	WhyAboutToStart  WhyCode = "about_to_start"
	WhyUnexplained   WhyCode = "unexplained" // a fault

	WhyRunning       WhyCode = "running"
	WhyWaitsInHand   WhyCode = "waits_in_hand" // a worker has it, and no slot yet
	WhyWorkerSilent  WhyCode = "worker_silent" // whoever has it does not answer
	WhyUnclaimed     WhyCode = "unclaimed"     // it was handed out, and nobody has it
	WhyStuck         WhyCode = "stuck"         // its handler was given up, and does not return
	WhyCancelling    WhyCode = "cancelling"
	WhyBrokerUnready WhyCode = "broker_unready"
)

// Why says why a job is where it is, and what can be done about it: the same as 'millhand why'. Of a job
// of which nothing is known it says so ([WhyNotFound]). It costs the broker eight requests at most,
// however long the queues are. Where nothing explains why a job waits it looks again, for up to four seconds.
//
// It returns an [ErrInvalid] for a ref that can name no job. The life of ref is not heeded: the answer is
// about the newest.
func (c *Client) Why(ctx context.Context, ref Ref) (*Explanation, error) {
	_, place, err := ref.checked()
	if err != nil {
		return nil, err
	}
	a, err := explain.Look(ctx, c.view, place)
	if err != nil {
		return nil, publicError(err)
	}
	e := &Explanation{
		Ref:   Ref{Queue: a.Queue, Type: a.Type, ID: a.ID, Life: a.Life},
		State: State(a.State), Since: a.Since, Blocked: a.Blocked, LookedAt: a.LookedAt,
		Reasons: make([]WhyReason, len(a.Reasons)), Advice: make([]Advice, len(a.Advice)),
	}
	for i, r := range a.Reasons {
		e.Reasons[i] = WhyReason{Code: WhyCode(r.Code), Blocking: r.Blocking, Text: r.Text, Since: r.Since, Until: r.Until, Estimate: r.Estimate}
		if r.Data == nil {
			continue
		}
		if e.Reasons[i].Data, err = json.Marshal(r.Data); err != nil {
			return nil, err
		}
	}
	for i, advice := range a.Advice {
		e.Advice[i] = Advice(advice)
	}
	return e, nil
}
