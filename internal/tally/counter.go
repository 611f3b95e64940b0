package tally

import "github.com/millhand/millhand/internal/job"

// A Counter is one of the numbers that are kept of a queue and type.
type Counter int

// The counters. Runs end in one of seven ways; what ends without a run, such as a job that has
// expired, is counted as ended, too.
const (
	Started     Counter = iota // handlers called
	Succeeded                  // ends, by their event
	Retrying                   //
	Dead                       //
	Cancelled                  //
	Snoozed                    //
	HandedBack                 //
	Lost                       // leases that were found lost, by the worker that found it
	Exhausted                  // of the dead, by reason
	Permanent                  //
	Expired                    //
	Malformed                  //
	Crashed                    //
	Successors                 // messages that carry a job on to its next run
	Fired                      // of jobs that waited for their time, handed out for the first time
	Due                        // of this worker's own successors, those whose time came
	Busy                       // microseconds in handlers, of those that still run up to now
	Redelivered                // messages that another worker had had
	LostLeases                 // of this worker's own runs
	Panics                     //

	counters // how many there are
)

// String is the counter's name, which is that of its field in JSON.
func (c Counter) String() string {
	names := [counters]string{
		"started", "succeeded", "retrying", "dead", "cancelled", "snoozed", "handed_back", "lost",
		"exhausted", "permanent", "expired", "malformed", "crashed",
		"successors", "fired", "due", "busy_us", "redelivered", "lost_leases", "panics",
	}
	return names[c]
}

// Outcomes returns the counters of ends by their event.
func Outcomes() []Counter {
	return []Counter{Succeeded, Retrying, Dead, Cancelled, Snoozed, HandedBack, Lost}
}

// Reasons returns the counters of dead jobs by reason.
func Reasons() []Counter { return []Counter{Exhausted, Permanent, Expired, Malformed, Crashed} }

// outcomeOf returns the counter of an end. It reports false for what is none.
func outcomeOf(k job.EventKind) (Counter, bool) {
	switch k {
	case job.EventSucceeded:
		return Succeeded, true
	case job.EventRetrying:
		return Retrying, true
	case job.EventDead:
		return Dead, true
	case job.EventCancelled:
		return Cancelled, true
	case job.EventSnoozed:
		return Snoozed, true
	case job.EventHandedBack:
		return HandedBack, true
	case job.EventLost:
		return Lost, true
	}
	return 0, false
}

// reasonOf returns the counter of a reason to be dead. It reports false for any other.
func reasonOf(reason string) (Counter, bool) {
	switch reason {
	case job.ReasonExhausted:
		return Exhausted, true
	case job.ReasonPermanent:
		return Permanent, true
	case job.ReasonExpired:
		return Expired, true
	case job.ReasonMalformed:
		return Malformed, true
	case job.ReasonCrashed:
		return Crashed, true
	}
	return 0, false
}

// A Measure is a time of which a histogram is kept.
type Measure int

// The measures.
const (
	Wait Measure = iota // from ready, as the broker has it, to the handler's call
	Run                 // in the handler
	Late                // from when a job was to be ready until it was, of those that waited for their time

	measures // how many there are
)

// String is the measure's name, which is that of its field in JSON.
func (m Measure) String() string { return [measures]string{"wait", "run", "late"}[m] }
