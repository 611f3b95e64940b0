package job

// A State is where a job is in its life.
type State string

// The states. A running job is in state Running only for those who can ask its
// worker; in the queue it is a message like any other.
const (
	Scheduled State = "scheduled" // waiting for its time
	Ready     State = "ready"     // waiting for a worker
	Running   State = "running"
	Retrying  State = "retrying" // failed, waiting for its next attempt
	Succeeded State = "succeeded"
	Dead      State = "dead" // attempts exhausted, permanent error, expired, malformed, or crashed too often
	Cancelled State = "cancelled"
)

// Final reports whether a life ends in s.
func (s State) Final() bool { return s == Succeeded || s == Dead || s == Cancelled }

// An EventKind is what happened to a job: the end of a run, or of a life.
type EventKind string

// The events of a life in the order they are likely. Each life has exactly one
// final event, and nothing after it.
const (
	EventLost       EventKind = "lost"        // its worker vanished: ready again
	EventHandedBack EventKind = "handed_back" // its worker drained: ready again
	EventSnoozed    EventKind = "snoozed"     // the handler asked for a later run
	EventRetrying   EventKind = "retrying"
	EventSucceeded  EventKind = "succeeded"
	EventDead       EventKind = "dead"
	EventCancelled  EventKind = "cancelled"
)

// State returns the state that a job is in after e.
func (e EventKind) State() State {
	switch e {
	case EventLost, EventHandedBack:
		return Ready
	case EventSnoozed:
		return Scheduled
	case EventRetrying:
		return Retrying
	case EventSucceeded:
		return Succeeded
	case EventDead:
		return Dead
	case EventCancelled:
		return Cancelled
	}
	return ""
}

// Final reports whether e ends a life.
func (e EventKind) Final() bool { return e.State().Final() }

// The reasons of a dead or cancelled job.
const (
	ReasonExhausted  = "exhausted"  // no attempts left
	ReasonPermanent  = "permanent"  // the handler said that no attempt will help
	ReasonExpired    = "expired"    // not started in time
	ReasonMalformed  = "malformed"  // a header or the payload cannot be read
	ReasonCrashed    = "crashed"    // lost its worker too often
	ReasonSuperseded = "superseded" // a newer job took its id, or cron's entry was edited
	ReasonMissed     = "missed"     // a tick of cron that came too late
	ReasonRequested  = "requested"  // somebody cancelled it
	ReasonStep       = "step"       // a step of the workflow failed
	ReasonUndo       = "undo"       // so did one that was to undo another
	ReasonDeadline   = "deadline"   // the workflow did not end in time
)
