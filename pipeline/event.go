package pipeline

import (
	"reflect"
	"sync/atomic"
	"time"
)

// Event tells what a pipeline does: that something begins, and how it ended.
type Event struct {
	Pipeline string

	// What is "pipeline" (a Run), "pull", "prepare", "process", "batch/<batcher>", "failed" (a call of
	// Failed), "settle" or "drain".
	What string

	Phase    Phase
	Messages int           // how many it is about; of a pull, how many came
	Failed   int           // how many of them failed. At Stop and Fail
	Took     time.Duration // at Stop and Fail; of a pull, how long it waited
	Trigger  Trigger       // of a batch, why it is handled now; zero of a fold's windows and of all else
	Err      error         // at Fail
}

// Phase says whether something begins or ends.
type Phase uint8

// The phases. A pull has only an end.
const (
	Start Phase = iota
	Stop
	Fail // it ended with an error
)

func (p Phase) String() string { return [...]string{"start", "stop", "fail"}[p] }

// span is something that is observed from its start to its end.
type span struct {
	run   *run
	event Event
	begun time.Time
}

// span tells that something begins. Without an observer it costs nothing.
func (r *run) span(what string, messages int) span {
	return r.spanOf(Event{What: what, Messages: messages})
}

func (r *run) spanOf(e Event) span {
	if r.observe == nil {
		return span{}
	}
	e.Pipeline = r.name
	s := span{run: r, event: e, begun: time.Now()}
	r.tellObserver(s.event)
	return s
}

func (s span) end(failed int, err error) {
	if s.run == nil {
		return
	}
	s.event.Phase, s.event.Failed, s.event.Err, s.event.Took = Stop, failed, err, time.Since(s.begun)
	if err != nil {
		s.event.Phase = Fail
	}
	s.run.tellObserver(s.event)
}

// tellObserver contains a panic, and the end of a goroutine: what is observed does not depend on who looks.
func (r *run) tellObserver(e Event) {
	_ = contained(func() error { r.observe(e); return nil })
}

// Stats is what a pipeline is doing, and has done since New.
type Stats struct {
	State       State          // whether it asks its source for more, and why not
	InHand      int            // messages pulled and not settled
	OpenBatches map[string]int // by batcher
	HeldKeys    int            // keys whose messages wait for a failed one
	Waiting     int            // messages that wait for an earlier one of their key
	Handled     int64          // messages settled: that succeeded
	Failed      int64          // that failed
	HandedBack  int64          // that were in hand when a Run had to stop
	Unsettled   int64          // messages whose acker failed, counted above, too
	Lost        int64          // that a part had in hand which crashed, and counted nowhere else: see [PartError]

	Late map[string]int64 // by fold: values that came when their windows took no more
	Lag  []Lag            // what waits in the source, if that is a [Lagger] and the pipeline runs
}

// A State says whether a pipeline asks its source for more messages, and why not.
type State string

// The states.
const (
	StateStopped  State = "stopped"  // it does not run
	StateAsking   State = "asking"   // it has room, and takes what comes
	StateBusy     State = "busy"     // its processors have as much as they ask for at once
	StateFull     State = "full"     // InFlight messages are in hand, or what the source has room for
	StatePaused   State = "paused"   // by Pause
	StateLimited  State = "limited"  // it waits for its Limit
	StateShut     State = "shut"     // its source gives nothing for now: a quota, a rate, a pause or an order to drain
	StateDraining State = "draining" // it settles what it has in hand, and ends
)

// counts are those of all runs.
type counts struct {
	handled, failed, handedBack, unsettled, lost atomic.Int64
}

func (c *counts) ended(ok, failed, back int) {
	c.handled.Add(int64(ok))
	c.failed.Add(int64(failed))
	c.handedBack.Add(int64(back))
}

// same compares ackers of any type: one that cannot be compared is like no other.
func same(a, b Acker) bool {
	if a == nil || b == nil {
		return a == b
	}
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
