package window

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Kind is how windows are cut.
type Kind uint8

// The kinds of windows.
const (
	Global   Kind = iota // one window, which ends with the input
	Count                // so many events of a key
	Periodic             // a span of processing time
	Fixed                // a span of event time
	Sliding              // spans of event time that overlap
	Session              // events of a key that are less than a gap apart
)

// EventTime reports whether windows of this kind are closed by the watermark.
func (k Kind) EventTime() bool { return k >= Fixed }

func (k Kind) String() string {
	switch k {
	case Global:
		return "Global"
	case Count:
		return "Count"
	case Periodic:
		return "Periodic"
	case Fixed:
		return "Fixed"
	case Sliding:
		return "Sliding"
	case Session:
		return "Session"
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// Config describes the windows of an [Operator].
type Config struct {
	Kind Kind

	N      int           // of Count: events a window
	Size   time.Duration // of Periodic, Fixed and Sliding: how long a window is; of Session: the gap that ends one
	Step   time.Duration // of Sliding: from the start of a window to that of the next one
	Delay  time.Duration // how far the watermark stays behind the greatest event time of a source
	Late   time.Duration // how far the watermark is beyond a window's end when it takes no more events
	EveryN int           // emit after each so many events of a key in a window; 0: do not

	// Empty emits windows without events, under the zero key. Those of event time go from the
	// first that was seen to the greatest.
	Empty bool

	// Sources is how many sources move the watermark; 0 is 1.
	Sources int
}

// Check returns what is wrong with the configuration.
func (c *Config) Check() error {
	switch {
	case c.Kind > Session:
		return fmt.Errorf("%v is not a kind of window", c.Kind)
	case c.Kind == Count && c.N < 1:
		return fmt.Errorf("a Count window of %d events: at least 1 is needed", c.N)
	case c.Kind >= Periodic && c.Size <= 0:
		return fmt.Errorf("a %v window of %v: a positive duration is needed", c.Kind, c.Size)
	case c.Kind == Sliding && (c.Step <= 0 || c.Size%c.Step != 0):
		return fmt.Errorf("a Sliding window of %v with a step of %v: the step has to divide it", c.Size, c.Step)
	case c.Delay < 0:
		return fmt.Errorf("a Delay of %v: it cannot be negative", c.Delay)
	case c.Late < 0:
		return fmt.Errorf("a Late of %v: it cannot be negative", c.Late)
	case !c.Kind.EventTime() && (c.Delay > 0 || c.Late > 0):
		return fmt.Errorf("settings Delay and Late are for windows of event time, and a %v window is none", c.Kind)
	case c.EveryN < 0:
		return fmt.Errorf("EveryN of %d: it cannot be negative", c.EveryN)
	case c.Kind == Session && c.Empty:
		return errors.New("a Session window is never empty: Empty does not go with it")
	case c.Sources < 0:
		return fmt.Errorf("%d sources: the number cannot be negative", c.Sources)
	}
	return nil
}

// Earliest is the first event time that an [Operator] takes: all windows of it start within 64 bits. A window
// may end beyond them.
func (c *Config) Earliest() int64 {
	if c.Kind != Fixed && c.Kind != Sliding {
		return math.MinInt64
	}
	step := c.step()
	least := math.MinInt64 + int64(c.Size) - step // where the newest window of an event may start
	r := least % step
	if r > 0 {
		r -= step
	}
	return least - r
}

// step is the distance between the starts of two windows.
func (c *Config) step() int64 {
	if c.Kind == Sliding {
		return int64(c.Step)
	}
	return int64(c.Size)
}
