package job

import (
	"slices"
	"strings"
	"time"
)

// Bounds of the grace of an order.
const (
	DefaultGrace = 10 * time.Second
	MaxGrace     = time.Hour
)

// MaxUnique is for how long the id of a job may stay taken.
const MaxUnique = 366 * 24 * time.Hour

// MaxOrderReason is how long the text of an order may be, bytes.
const MaxOrderReason = 1 << 10

// An Order says that a job is to be cancelled, or that all jobs of a queue are that match. What it
// is of does not start any more.
type Order struct {
	Queue, Type, ID string   // of one job; of many, ID is empty and Type is empty for all
	Lives           []string // of one job: the newest last, before it those cancelled earlier under its id

	// Of many jobs.
	Nonce  string    // names the order
	Before time.Time // those enqueued later do not match, by the broker's clock
	States []State   // in which the jobs were then; empty: all
	DueBy  time.Time // of those that waited for their time; zero: any
	Group  string    // what the headers Millhand-Workflow of those of a group begin with; empty: any

	Grace  time.Duration // that a running handler has before it is given up
	Reason string        // a text, for the event
	By     string        // who gave it, for people
	At     time.Time     // when, by that one's clock
	Done   bool          // it was carried out, and holds on for what was delivered before

	Rev uint64 // in the registry; 0: it was not given yet
}

// Many reports whether o is an order for all jobs that match.
func (o *Order) Many() bool { return o.ID == "" }

// Life returns the life that an order of one job is about.
func (o *Order) Life() string {
	if len(o.Lives) == 0 {
		return ""
	}
	return o.Lives[len(o.Lives)-1]
}

// Matches reports whether r is to be cancelled, which is in a state, or was when a schedule of it
// was not yet due.
func (o *Order) Matches(r *Record, state State) bool {
	if o.Queue != r.Queue || o.Type != "" && o.Type != r.Type {
		return false
	}
	if !o.Many() {
		return o.ID == r.ID && slices.Contains(o.Lives, r.Life)
	}
	return o.matchesAll(r) && (len(o.States) == 0 || slices.Contains(o.States, state)) &&
		(o.DueBy.IsZero() || state != Scheduled && state != Retrying || !r.Due.After(o.DueBy))
}

// matchesAll reports whether r is old enough for an order of many.
func (o *Order) matchesAll(r *Record) bool {
	return !r.EnqueuedAt.After(o.Before) && strings.HasPrefix(r.Workflow, o.Group)
}

// StateThen returns the state that a job which is ready now was in when an order of many was given:
// it waited for its time if its message was stored after that.
func (o *Order) StateThen(r *Record, stored time.Time) State {
	switch {
	case !stored.After(o.Before):
		return Ready
	case r.Attempt > 1:
		return Retrying
	case r.Due.After(o.Before):
		return Scheduled
	}
	return Ready // it was handed back
}

// Stored is a message that knows when it was stored, by the broker's clock.
type Stored interface{ Stored() time.Time } //nolint:iface // what queues hand to the registry

// RunningOnly reports whether an order is about jobs that run and not about those that start later on:
// then only those are told that run when it is first seen.
func (o *Order) RunningOnly() bool {
	return slices.Contains(o.States, Running) && !slices.Contains(o.States, Ready)
}

// A Held is a job of an order that a worker has, or had, in hand.
type Held struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Life   string `json:"life"`
	Worker string `json:"-"`

	// What becomes of it; if neither is set it runs on, since the order is not about running jobs.
	Told    bool `json:"told,omitempty"`    // it runs, and is to end
	Batch   bool `json:"batch,omitempty"`   // with others in one call, which goes on: the job ends with it
	Dropped bool `json:"dropped,omitempty"` // it did not start, and has ended
}

// Same reports whether h and o are the same job.
func (h Held) Same(o Held) bool { return h.Life == o.Life && h.ID == o.ID && h.Type == o.Type }

// Answers are what the workers say when an order is shown to them. All that answered have noted it.
type Answers struct {
	Held       []Held
	Unanswered []string // workers
}

// Runner returns the job that a worker runs of a life, if one does.
func (a *Answers) Runner(typ, id, life string) (Held, bool) {
	i := slices.IndexFunc(a.Held, func(h Held) bool { return h.Life == life && h.ID == id && h.Type == typ && !h.Dropped })
	if i < 0 {
		return Held{}, false
	}
	return a.Held[i], true
}
