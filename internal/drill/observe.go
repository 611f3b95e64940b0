package drill

import (
	"cmp"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// The kinds of jobs.
const (
	quick   = "quick"   // a few milliseconds
	slow    = "slow"    // so long that disturbances meet it
	held    = "held"    // under a quota
	failing = "failing" // fails, and dies
	shaky   = "shaky"   // fails once
	later   = "later"   // waits for its time
)

// A Job is one that the drill enqueued.
type Job struct {
	Kind, Type, ID, Life string
	NotBefore            time.Time // zero: at once
	MaxAttempts          int
}

// What a [Record] tells.
const (
	ready   = "ready"   // the worker pulls
	started = "started" // a run
	ended   = "ended"   // a run
)

// How a run ended, as its handler saw it.
const (
	done      = "done"
	failed    = "failed"
	cut       = "cut"        // the worker drains
	leaseLost = "lease lost" // or the permit
)

// A Record is what a worker of the drill says, a line of JSON each.
type Record struct {
	At      time.Time `json:"at"` // by the clock of this machine
	What    string    `json:"what"`
	Worker  string    `json:"worker,omitempty"`
	Run     int       `json:"run,omitempty"` // counted by each worker
	Type    string    `json:"type,omitempty"`
	ID      string    `json:"id,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	Crashes int       `json:"crashes,omitempty"`
	Outcome string    `json:"outcome,omitempty"`
}

// What was done to a worker.
const (
	killed  = "killed"
	frozen  = "frozen"
	woken   = "woken"
	drained = "drained"
	exited  = "exited"
)

// A Disturbance is something that was done to a worker, or that it ended.
type Disturbance struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`
	Worker string    `json:"worker"`
}

// An Event is one of a job of the drill.
type Event struct {
	ID      string        `json:"id"`
	Life    string        `json:"life"`
	Kind    job.EventKind `json:"kind"`
	At      time.Time     `json:"at"` // by the broker's clock
	Attempt int           `json:"attempt"`
	Crashes int           `json:"crashes,omitempty"`
	Reason  string        `json:"reason,omitempty"`
}

// Observations are all that was seen.
type Observations struct {
	Lease        time.Duration
	Limit        int // of the type that is held
	Jobs         []Job
	Records      []Record
	Disturbances []Disturbance
	Events       []Event       // in order
	Offset       time.Duration // of the clock of this machine from the broker's
	Ended        time.Time
	Messages     int      // left in the queue, but for the pin
	Keys         []string // left in the registry
}

// A run is what a handler did of a job, as far as it was its to do.
type run struct {
	Record
	until   time.Time
	outcome string
	broken  bool // the worker was killed, or frozen for so long that it may have lost the job or the permit
}

// runs puts together what workers said. A run of a worker that was killed ends with it, and one that was
// frozen for so long that it may have lost the job or its permit ends when it was frozen.
func (o *Observations) runs() []*run {
	type key struct {
		worker string
		run    int
	}
	open := make(map[key]*run)
	var all []*run
	for _, r := range o.Records {
		k := key{r.Worker, r.Run}
		switch r.What {
		case started:
			open[k] = &run{Record: r, until: o.Ended}
			all = append(all, open[k])
		case ended:
			if of := open[k]; of != nil {
				of.until, of.outcome = r.At, r.Outcome
			}
		}
	}
	for _, r := range all {
		o.breakOff(r)
	}
	slices.SortStableFunc(all, func(a, b *run) int { return a.At.Compare(b.At) })
	return all
}

// breakOff ends a run where its worker was killed or frozen. What is done is noted before it takes effect,
// so a run may begin in between.
func (o *Observations) breakOff(r *run) {
	var freeze time.Time
	for _, d := range o.Disturbances {
		if d.Worker != r.Worker || d.At.After(r.until) {
			continue
		}
		switch d.What {
		case frozen:
			freeze = d.At
		case woken:
			if d.At.After(r.At) && !freeze.IsZero() && d.At.Sub(freeze) > o.Lease/4 {
				r.until, r.broken = latest(r.At, freeze), true
				return
			}
			freeze = time.Time{}
		case killed, exited:
			if d.At.After(r.At) && r.outcome == "" {
				r.until, r.broken = d.At, d.What == killed
				if !freeze.IsZero() {
					r.until = latest(r.At, freeze)
				}
				return
			}
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// byID are the runs of each job, in order.
func byID(runs []*run) map[string][]*run {
	all := make(map[string][]*run)
	for _, r := range runs {
		all[r.ID] = append(all[r.ID], r)
	}
	return all
}

// sortedRecords orders what came over several pipes.
func sortedRecords(all []Record) []Record {
	slices.SortStableFunc(all, func(a, b Record) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Run, b.Run)) })
	return all
}
