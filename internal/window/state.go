package window

import (
	"fmt"
	"math"
	"slices"
)

// State is all an [Operator] knows, as plain data that can be encoded. It shares accumulators and
// events with the operator.
type State[K comparable, T, A any] struct {
	Sources  []SourceState           `json:"sources"`
	Greatest int64                   `json:"greatest"` // event time; [Unset]: none
	Low      int64                   `json:"low"`      // the watermark; [Unset]: none
	Windows  []OpenWindow[K, A]      `json:"windows,omitempty"`
	Sessions []SessionState[K, T, A] `json:"sessions,omitempty"`
	Number   int                     `json:"number,omitempty"` // of the open Periodic window
	First    int64                   `json:"first"`            // start of the earliest window
	Empty    int64                   `json:"empty"`            // start of the next window that may be empty
	Dropped  int                     `json:"dropped,omitempty"`
}

// SourceState is what is known of a source.
type SourceState struct {
	Greatest int64 `json:"greatest"`
	Presence uint8 `json:"presence,omitempty"`
}

// OpenWindow is a window that has not ended.
type OpenWindow[K comparable, A any] struct {
	Start int64            `json:"start"`
	Keys  []KeyState[K, A] `json:"keys"` // in the order of their first events
}

// KeyState is the accumulator of a key in a window.
type KeyState[K comparable, A any] struct {
	Key      K    `json:"key"`
	Value    A    `json:"value"`
	N        int  `json:"n"`                  // events
	Number   int  `json:"number,omitempty"`   // of a Count window
	Revision int  `json:"revision,omitempty"` // how often it has been emitted
	Changed  bool `json:"changed,omitempty"`  // since then
}

// SessionState is an open session.
type SessionState[K comparable, T, A any] struct {
	KeyState[K, A]
	Start  int64     `json:"start"`
	End    int64     `json:"end"`
	Born   int       `json:"born"` // the order of sessions that are due at once
	Events []Kept[T] `json:"events,omitempty"`
}

// State returns all the operator knows. It is valid until the operator is used again.
func (o *Operator[K, T, A]) State() State[K, T, A] {
	st := State[K, T, A]{
		Greatest: o.greatest, Low: o.low, Number: o.number, First: o.first, Empty: o.empty, Dropped: o.dropped,
	}
	for _, s := range o.sources {
		st.Sources = append(st.Sources, SourceState{s.Greatest, uint8(s.Presence)})
	}
	for _, s := range o.open {
		w := OpenWindow[K, A]{Start: s.start, Keys: make([]KeyState[K, A], len(s.entries))}
		for i := range s.entries {
			w.Keys[i] = s.entries[i].state()
		}
		st.Windows = append(st.Windows, w)
	}
	for _, s := range o.sessions.inOrder() {
		st.Sessions = append(st.Sessions, SessionState[K, T, A]{s.state(), s.start, s.end, s.born, s.kept})
	}
	return st
}

// Restore makes a new operator know what another one of the same configuration did.
func (o *Operator[K, T, A]) Restore(st State[K, T, A]) error {
	if len(st.Sources) != len(o.sources) {
		return fmt.Errorf("state of %d sources, and there are %d", len(st.Sources), len(o.sources))
	}
	for i, s := range st.Sources {
		if s.Presence > uint8(ended) {
			return fmt.Errorf("state of a source is %d, which is none", s.Presence)
		}
		o.sources[i] = source{s.Greatest, presence(s.Presence)}
	}
	o.greatest, o.low, o.number, o.first, o.empty, o.dropped = st.Greatest, st.Low, st.Number, st.First, st.Empty, st.Dropped
	o.open, o.last, o.passed, o.accumulators = nil, nil, 0, 0
	for i, w := range st.Windows {
		if i > 0 && w.Start <= st.Windows[i-1].Start {
			return fmt.Errorf("window %d of the state does not start after the one before", i)
		}
		o.restoreWindow(w)
	}
	if !o.c.Kind.EventTime() {
		if len(o.open) != 1 {
			return fmt.Errorf("state of %d windows, and a %v window is one", len(o.open), o.c.Kind)
		}
		o.last = o.open[0]
	}
	if len(st.Sessions) > 0 && o.c.Kind != Session {
		return fmt.Errorf("state of sessions for a %v window", o.c.Kind)
	}
	for _, s := range st.Sessions {
		o.restoreSession(s)
	}
	o.schedule()
	return nil
}

func (o *Operator[K, T, A]) restoreWindow(w OpenWindow[K, A]) {
	s := &slot[K, A]{start: w.Start, end: add(w.Start, o.size), index: map[K]int{}}
	if !o.c.Kind.EventTime() {
		s.start, s.end = math.MinInt64, math.MaxInt64
	}
	for i, k := range w.Keys {
		s.index[k.Key] = i
		s.entries = append(s.entries, k.entry())
	}
	o.accumulators += len(s.entries)
	o.open = append(o.open, s)
	if s.end <= o.low {
		o.passed++
	}
}

func (o *Operator[K, T, A]) restoreSession(st SessionState[K, T, A]) {
	o.sessions.born = max(o.sessions.born, st.Born)
	s := &session[K, T, A]{
		entry: st.entry(), start: st.Start, end: st.End, kept: slices.Clone(st.Events),
		passed: st.End <= o.low, place: -1, born: st.Born,
	}
	for _, k := range s.kept {
		o.sessions.taken = max(o.sessions.taken, k.N)
	}
	o.accumulators += len(s.kept)
	if o.f.Merge != nil {
		o.accumulators++
	}
	o.sessions.byKey[s.key] = append(o.sessions.byKey[s.key], s)
	o.sessions.place(s, o.c.Late > 0, int64(o.c.Late))
}

func (e *entry[K, A]) state() KeyState[K, A] {
	return KeyState[K, A]{e.key, e.acc, e.n, e.number, e.revision, e.changed}
}

func (k *KeyState[K, A]) entry() entry[K, A] {
	return entry[K, A]{k.Key, k.Value, k.N, k.Number, k.Revision, k.Changed}
}
