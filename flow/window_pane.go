package flow

import (
	"strconv"
	"time"

	"github.com/millhand/millhand/internal/window"
)

// Mark is what the function of [Window.When] returns: what an event means for those before it.
type Mark uint8

// The marks.
const (
	Plain  Mark = iota // nothing: the event is folded
	Before             // what there is is emitted, then the event is folded
	After              // the event is folded, then what there is is emitted
	Only               // what there is is emitted, and the event is not folded: it is a marker
)

// String returns plain, before, after or only.
func (m Mark) String() string {
	switch m {
	case Plain:
		return "plain"
	case Before:
		return "before"
	case After:
		return "after"
	case Only:
		return "only"
	}
	return "mark " + strconv.Itoa(int(m))
}

// paneOf translates what a partition's windows say. So the times of one window are made once for all keys.
type paneOf struct {
	partition  int
	start, end int64
	last       Pane
}

func (o *paneOf) of(p window.Pane) Pane {
	if p.Start != o.start || p.End != o.end || o.last.Revision == 0 {
		o.start, o.end = p.Start, p.End
		o.last = Pane{Partition: o.partition}
		if p.Start != p.End {
			o.last.Start, o.last.End = time.Unix(0, p.Start).UTC(), time.Unix(0, p.End).UTC()
		}
	}
	o.last.Number, o.last.Trigger, o.last.Final = p.Number, Trigger(p.Trigger), p.Final
	o.last.Revision, o.last.Dropped = p.Revision, p.Dropped
	return o.last
}
