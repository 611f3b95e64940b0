package flow

import "github.com/millhand/millhand/internal/window"

// isPlain reports whether a window is all of the events, emitted once.
func (w Window[T]) isPlain() bool {
	return w.c == window.Config{} && w.when == nil && w.onLate == nil && w.period == 0 && w.idle == 0
}

// within is a layer of partitions with windows. build says what an operator does with events; the last
// steps of a window's life are up to what it puts.
func within[K comparable, T, A, U any](k Keyed[K, T], s settings, build func(*windows[K, T, A, U]) window.Funcs[K, T, A]) Stream[U] {
	return Stream[U]{keyedNode[K, T, timed[K, T], U]{
		in: k, settings: s, alone: k.window.hasClock(), tap: withTimes(k.window.at, both[K, T]),
		operator: func(p partition, s settings, next sink[U]) sink[timed[K, T]] {
			o := newWindows[K, T, A](p, s, next, k.window)
			o.build = func() *window.Operator[K, T, A] { return o.operator(k.window.c, build(o)) }
			return o.sink()
		},
	}}
}

func both[K comparable, T any](k K, v T) (K, T) { return k, v }

// refuse notes the first problem.
func (s *settings) refuse(problem string) {
	if s.problem == "" {
		s.problem = problem
	}
}

// groupsWithin emits a group for each key of a window.
func groupsWithin[K comparable, T, A any](k Keyed[K, T], s settings, f window.Funcs[K, T, A]) Stream[Group[K, A]] {
	s.refuse(k.window.problem(true))
	return within(k, s, func(o *windows[K, T, A, Group[K, A]]) window.Funcs[K, T, A] {
		f := f
		f.Emit = func(key K, a *A, p window.Pane) { o.put(Group[K, A]{key, *a, o.pane.of(p)}) }
		return f
	})
}

func countWithin[K comparable, T any](k Keyed[K, T], s settings) Stream[Group[K, int]] {
	return groupsWithin(k, s, window.Funcs[K, T, int]{
		Zero:  func(K) int { return 0 },
		Fold:  func(n int, _ T) int { return n + 1 },
		Merge: func(a, b int) int { return a + b },
	})
}

// uniqWithin emits the first event of a key in each of its windows, at once.
func uniqWithin[K comparable, T any](k Keyed[K, T], s settings) Stream[T] {
	s.refuse(k.window.problem(true))
	s.refuse(k.window.noTriggers("Uniq"))
	return within(k, s, func(o *windows[K, T, struct{}, T]) window.Funcs[K, T, struct{}] {
		began := false // the event at hand is the first of its key in a window
		return window.Funcs[K, T, struct{}]{
			Zero: func(K) struct{} {
				began = true
				return struct{}{}
			},
			Fold: func(a struct{}, v T) struct{} {
				if began {
					o.put(v)
					began = false
				}
				return a
			},
			Merge: func(a, _ struct{}) struct{} { return a },
			Emit:  func(K, *struct{}, window.Pane) {},
		}
	})
}
