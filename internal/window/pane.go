package window

import "strconv"

// Trigger is why a pane was emitted.
type Trigger uint8

// The triggers.
const (
	Done      Trigger = iota // the window takes no more events
	Watermark                // the watermark has passed the window's end; late events may still change it
	Every                    // so many events
	Period                   // so much processing time
	Marked                   // an event said so
)

func (t Trigger) String() string {
	switch t {
	case Done:
		return "done"
	case Watermark:
		return "watermark"
	case Every:
		return "every"
	case Period:
		return "period"
	case Marked:
		return "mark"
	}
	return "trigger " + strconv.Itoa(int(t))
}

// Pane is one emission of a key's window.
type Pane struct {
	Start, End int64 // of windows of event time: nanoseconds since 1970, End is the first that is beyond
	Number     int   // of Count and Periodic windows: from 0
	Trigger    Trigger
	Final      bool // nothing more comes of this window
	Revision   int  // from 1: how often this key's window has been emitted
	Dropped    int  // late events that the operator had dropped in all by then
}
