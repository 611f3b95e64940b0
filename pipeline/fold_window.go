package pipeline

import (
	"slices"
	"time"

	"github.com/millhand/millhand/internal/window"
)

// folded is an accumulator, and what of it has been handed to Handle.
type folded[A any] struct {
	Value    A
	Changed  bool // since it was emitted
	Revision int
	n        int // values since then
}

// foldWindow is a window that is to be handled.
type foldWindow[K comparable, A any] struct {
	Key      K               `json:"key"`
	Start    int64           `json:"start"`
	End      int64           `json:"end"`
	Revision int             `json:"revision"`
	Final    bool            `json:"final,omitempty"`
	Value    encodedValue[A] `json:"value"`

	value    A
	n        int
	kept     bool // it is in a checkpoint, or there are none
	running  bool
	failures int
	traced   string // the traceparent of the last call that was traced
	retry    time.Time
	holds    []*envelope // in hand until it is handled
}

// emit takes a window of the operator, which has changed or is closed.
func (p *foldPart[K, V, A]) emit(key K, a *folded[A], pane window.Pane) {
	k := windowKey[K]{key, pane.Start}
	var holds []*envelope
	if pane.Final {
		holds = p.holders[k]
		delete(p.holders, k)
	}
	before := slices.IndexFunc(p.windows, func(w *foldWindow[K, A]) bool { return w.Key == key && w.Start == pane.Start && !w.running })
	if !a.Changed {
		p.release(before, k, holds)
		return
	}
	a.Changed = false
	a.Revision++
	w := &foldWindow[K, A]{
		Key: key, Start: pane.Start, End: pane.End, Revision: a.Revision, Final: pane.Final,
		value: a.Value, n: a.n, holds: holds, kept: p.fold.commit == nil,
	}
	a.n = 0
	if !pane.Final {
		w.value = copied(a.Value) // which late values change
	}
	p.changed = true
	if before >= 0 { // nobody has seen that one yet
		w.holds = append(w.holds, p.windows[before].holds...)
		p.windows[before] = w
		return
	}
	p.windows = append(p.windows, w)
	if p.fold.commit == nil {
		p.fold.run.account.called(1)
	}
}

// release lets messages go whose window is closed and was handled before, or will be.
func (p *foldPart[K, V, A]) release(pending int, k windowKey[K], holds []*envelope) {
	if pending < 0 {
		pending = slices.IndexFunc(p.windows, func(w *foldWindow[K, A]) bool { return w.Key == k.key && w.Start == k.start })
	}
	if pending >= 0 {
		p.windows[pending].holds = append(p.windows[pending].holds, holds...)
		return
	}
	for _, e := range holds {
		p.released = append(p.released, forget(e, 1)...)
	}
}

// due returns a window that may be handled now: of each key and start the first one.
func (p *foldPart[K, V, A]) due(now time.Time) *foldWindow[K, A] {
	if p.life != nil && p.life.Err() != nil {
		return nil
	}
	for i, w := range p.windows {
		if w.running || !w.kept || w.retry.After(now) {
			continue
		}
		if !slices.ContainsFunc(p.windows[:i], func(o *foldWindow[K, A]) bool { return o.Key == w.Key && o.Start == w.Start }) {
			return w
		}
	}
	return nil
}
