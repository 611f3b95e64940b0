package flow

import (
	"time"

	"github.com/millhand/millhand/internal/window"
)

// Pane says what part of the events a result is about, and why it comes now. Without a window there is
// one pane, of all events.
type Pane struct {
	Start, End time.Time // of windows by event time; else zero. End is the first time that is not in it.
	Number     int       // of count and periodic windows, from 0 on; else 0
	Trigger    Trigger   // why it comes now
	Final      bool      // nothing more comes of this window
	Revision   int       // how often this window of this key has come: 1 the first time
	Partition  int       // which partition it comes from, from 0 on
	Dropped    int       // late events of all windows that the partition has dropped so far
}

// Trigger is why a result of a window comes when it does.
type Trigger uint8

// The triggers.
const (
	Done      = Trigger(window.Done)      // the window is complete: no event can come any more
	Watermark = Trigger(window.Watermark) // its time has passed, and late events may still change it
	Every     = Trigger(window.Every)     // so many events have come: EveryN
	Period    = Trigger(window.Period)    // so much time has passed: EveryPeriod
	Marked    = Trigger(window.Marked)    // an event said so: When
)

// String returns done, watermark, every, period or mark.
func (t Trigger) String() string { return window.Trigger(t).String() }
