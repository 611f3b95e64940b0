package flow

import "github.com/millhand/millhand/internal/window"

// Scan calls f with each event and what it keeps for the event's key: zero makes the first, f returns
// what is kept from then on and what is emitted at once. When the events have ended, or with
// [Keyed.Within] when a window closes for good, end may emit something more of what is kept; it may be
// nil. It keeps one value for each key, of each open window; see [Keyed.MaxKeys].
//
// What was emitted cannot be taken back, so there is no [Session] here, and no trigger.
func Scan[K comparable, T, A, U any](k Keyed[K, T], zero func(K) A, f func(A, T) (A, []U), end func(A) []U) Stream[U] {
	s := describe("Scan", f)
	if zero == nil {
		s.refuse("Scan needs a function for the first value")
	}
	s.refuse(k.window.problem(true))
	if k.window.c.Kind == window.Session {
		s.refuse("Scan emits with each event, and a Session may turn out to be part of another one: use Fold")
	}
	s.refuse(k.window.noTriggers("Scan"))
	return within(k, s, func(o *windows[K, T, A, U]) window.Funcs[K, T, A] {
		putAll := func(all []U) {
			for _, u := range all {
				o.put(u)
			}
		}
		return window.Funcs[K, T, A]{
			Zero: zero,
			Fold: func(a A, v T) A {
				a, emit := f(a, v)
				putAll(emit)
				return a
			},
			Emit: func(_ K, a *A, p window.Pane) {
				if p.Final && end != nil {
					putAll(end(*a))
				}
			},
		}
	})
}

// noTriggers returns what is wrong if a step that emits with each event has triggers.
func (w Window[T]) noTriggers(step string) string {
	if w.when == nil && w.period == 0 && w.c.EveryN == 0 {
		return ""
	}
	return step + " emits at once, and nothing when a window is emitted: EveryN, EveryPeriod and When do not go with it"
}
