package explain

import (
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A Code names a reason. Codes are a contract: some are added, and none is renamed.
type Code string

// The codes, by where the job is.
const (
	NotFound  Code = "not_found"
	Succeeded Code = "succeeded"
	Dead      Code = "dead"
	Cancelled Code = "cancelled"

	Held     Code = "held"     // it is a step of a workflow, and not released
	Skipped  Code = "skipped"  // it is one that never will be
	Workflow Code = "workflow" // it is one itself

	NotDue       Code = "not_due"
	Backoff      Code = "backoff"
	ScheduleLate Code = "schedule_late"

	QueuePaused   Code = "queue_paused"
	TypePaused    Code = "type_paused"
	NoWorker      Code = "no_worker"
	Expired       Code = "expired"
	QuotaFull     Code = "quota_full"
	QuotaHeldIdle Code = "quota_held_idle"
	QuotaLost     Code = "quota_lost"
	RateExhausted Code = "rate_exhausted"
	Outranked     Code = "outranked"
	SlotsFull     Code = "slots_full"
	Behind        Code = "behind"
	AboutToStart  Code = "about_to_start"
	Unexplained   Code = "unexplained"

	Running      Code = "running"
	WaitsInHand  Code = "waits_in_hand"
	WorkerSilent Code = "worker_silent"
	Unclaimed    Code = "unclaimed"
	Stuck        Code = "stuck"
	Cancelling   Code = "cancelling"

	BrokerUnready Code = "broker_unready"
)

// An Answer says why a job is where it is. The names of its fields as JSON are a contract.
type Answer struct {
	Queue string `json:"queue"`
	Type  string `json:"type"`
	ID    string `json:"id"`
	Life  string `json:"life,omitempty"`

	State    job.State `json:"state,omitempty"` // empty: not known
	Since    time.Time `json:"since,omitzero"`  // when it came into its state
	Blocked  bool      `json:"blocked"`         // it waits, and a reason keeps it
	Reasons  []Reason  `json:"reasons"`         // at least one; those that block first, and of these the one that lasts longest
	Advice   []Advice  `json:"advice"`          // what can be done, the best first
	LookedAt time.Time `json:"looked_at"`       // by the broker's clock, if that is known
}

// First is the reason that is told if there is room for one.
func (a *Answer) First() *Reason { return &a.Reasons[0] }

// A Reason is one thing that keeps a job where it is, or says what it does there.
type Reason struct {
	Code     Code      `json:"code"`
	Blocking bool      `json:"blocking"`       // the job goes on no sooner than this ends
	Text     string    `json:"text"`           // for people, without the times that are in the other fields
	Until    time.Time `json:"until,omitzero"` // when it ends at the latest, by itself; zero: not known, or never
	Since    time.Time `json:"since,omitzero"` // zero: not known
	Data     any       `json:"data,omitempty"` // one of the types of this package, by the code
	advice   []Advice  // what can be done about it
	Estimate bool      `json:"estimate,omitempty"` // Until is a guess, from how things went lately
}

// An Advice is what can be done about a reason.
type Advice struct {
	Text    string `json:"text"`              // "raise the quota"
	Command string `json:"command,omitempty"` // of millhand, complete; empty: there is none for it
}

// What goes with reasons, as Data.
type (
	// EndData goes with Succeeded, Dead and Cancelled.
	EndData struct {
		Worker  string `json:"worker,omitempty"`
		Attempt int    `json:"attempt,omitempty"`
		Reason  string `json:"reason,omitempty"`
		Error   string `json:"error,omitempty"`
	}
	// StepData goes with Held and Skipped.
	StepData struct {
		Workflow string   `json:"workflow"`
		Step     string   `json:"step"`
		Waits    []string `json:"waits,omitempty"`
	}
	// WorkflowData goes with Workflow.
	WorkflowData struct {
		Phase    string   `json:"phase"`
		Steps    int      `json:"steps"`
		Ended    int      `json:"ended"`
		UnderWay []string `json:"under_way,omitempty"` // steps that run, or may
		Signals  []string `json:"signals,omitempty"`   // steps that wait for somebody to signal
	}
	// DueData goes with NotDue and ScheduleLate.
	DueData struct {
		By    string `json:"by"`              // caller, cron or snooze
		Entry string `json:"entry,omitempty"` // of cron
	}
	// BackoffData goes with Backoff.
	BackoffData struct {
		Attempt     int    `json:"attempt"` // the one to come
		MaxAttempts int    `json:"max_attempts,omitempty"`
		Error       string `json:"error,omitempty"` // of the last one
	}
	// PauseData goes with QueuePaused and TypePaused.
	PauseData struct {
		By     string `json:"by,omitempty"`
		Reason string `json:"reason,omitempty"`
	}
	// NearData goes with NoWorker: workers that come near to serving the job.
	NearData struct {
		OtherQueues []string `json:"serve_type_not_queue,omitempty"`
		OtherTypes  []string `json:"serve_queue_not_type,omitempty"`
		Draining    []string `json:"draining,omitempty"`
		Silent      []string `json:"silent,omitempty"`
	}
	// PoolData goes with what is about quotas and rates.
	PoolData struct {
		Pool    string   `json:"pool"`
		Limit   int      `json:"limit"`
		Per     string   `json:"per,omitempty"`     // of a rate, a duration
		Used    int      `json:"used"`              // by jobs
		Held    int      `json:"held"`              // by workers
		Idle    []string `json:"idle,omitempty"`    // workers that hold permits which nothing uses
		Holders []Holder `json:"holders,omitempty"` // those that run longest
	}
	// Holder is a job that has a permit.
	Holder struct {
		Worker string    `json:"worker"`
		Queue  string    `json:"queue"`
		Type   string    `json:"type"`
		ID     string    `json:"id"`
		Since  time.Time `json:"since"`
	}
	// QueuesData goes with Outranked.
	QueuesData struct {
		Queues []string `json:"queues"`
		Jobs   int64    `json:"jobs"`
		How    string   `json:"how"` // exact or at_least
	}
	// SlotsData goes with SlotsFull.
	SlotsData struct {
		Workers []string       `json:"workers"` // that serve the job
		Slots   int            `json:"slots"`   // all of theirs
		Used    map[string]int `json:"used"`    // by "queue/type"
	}
	// BehindData goes with Behind.
	BehindData struct {
		Jobs      int64   `json:"jobs"`
		How       string  `json:"how"` // exact, about or unknown
		PerMinute float64 `json:"starts_per_minute,omitempty"`
	}
	// RunData goes with what is about a job in hand.
	RunData struct {
		Worker    string        `json:"worker,omitempty"`
		Workers   []string      `json:"workers,omitempty"` // of which each may have it
		Attempt   int           `json:"attempt,omitempty"`
		TimeoutAt time.Time     `json:"timeout_at,omitzero"`
		Progress  *job.Progress `json:"progress,omitempty"`
		Told      string        `json:"told,omitempty"` // why its handler was told to stop
		Trace     string        `json:"trace,omitempty"`
	}
	// CancelData goes with Cancelling.
	CancelData struct {
		By     string    `json:"by,omitempty"`
		Reason string    `json:"reason,omitempty"`
		At     time.Time `json:"at,omitzero"`
		Grace  string    `json:"grace,omitempty"` // that a handler has, a duration
	}
)
