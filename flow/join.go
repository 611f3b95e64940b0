package flow

import (
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/window"
)

// JoinKind says what becomes of events that find nobody on the other side.
type JoinKind uint8

// The kinds of joins.
const (
	Inner JoinKind = iota // they are dropped
	Left                  // those of the left side are emitted alone
	Right                 // those of the right side are
	Full                  // those of both sides are
)

// String returns inner, left, right or full.
func (k JoinKind) String() string {
	switch k {
	case Inner:
		return "inner"
	case Left:
		return "left"
	case Right:
		return "right"
	case Full:
		return "full"
	}
	return fmt.Sprintf("join %d", k)
}

// Joined is a pair of events with the same key, or one that has found nobody.
type Joined[L, R any] struct {
	Left     L
	Right    R
	HasLeft  bool
	HasRight bool
}

// JoinWindow has [Join] look for pairs in windows of event time, which start at multiples of Size since
// 1970, as those of [Fixed] do. Two events that are close together may so be in different windows.
type JoinWindow[L, R any] struct {
	Size      time.Duration     // of a window; it has to be positive
	Delay     time.Duration     // as [Window.Delay]
	Late      time.Duration     // as [Window.Late]; an event without a pair is emitted when the window closes for good
	IdleAfter time.Duration     // as [Window.IdleAfter]
	LeftAt    func(L) time.Time // the time of an event of the left side; it is needed
	RightAt   func(R) time.Time // and of the right side

	OnLateLeft  func(L) // called with an event that comes too late, by several goroutines at once; may be nil
	OnLateRight func(R)
}

// Join makes pairs of the events of two streams that have the same key, and in the same window if there is
// one: of each on the left with each on the right. A pair comes at once when it is complete, and what finds
// nobody, as far as kind wants it, when the window closes for good, or at the end.
//
// It keeps the events of both sides for as long as a window is open. Without a window it keeps all of
// them until the end, so that is for input that fits into memory: at a million events that are kept while
// a source goes on, [slog.Default] gets a warning with the name of the join ([Stream.Named]). [Keyed.MaxKeys],
// of which the lesser counts, bounds keys, not events; [Keyed.Metered] tells how many there are of both.
//
// Both sides have the same partitions: those of the one that says something about them. Windows are given
// to Join and not to [Keyed.Within].
func Join[K comparable, L, R any](kind JoinKind, left Keyed[K, L], right Keyed[K, R], within ...JoinWindow[L, R]) Stream[Joined[L, R]] {
	n := joinNode[K, L, R]{kind: kind, left: left, right: right, settings: settings{name: "Join"}}
	s := &n.settings
	switch {
	case kind > Full:
		s.refuse(fmt.Sprintf("Join of kind %d", kind))
	case len(within) > 1:
		s.refuse("Join has one window, or none")
	case !left.window.isPlain() || !right.window.isPlain():
		s.refuse("the window of a Join is a JoinWindow, not Within of one side")
	case left.partitions != right.partitions && left.partitions != 0 && right.partitions != 0:
		s.refuse(fmt.Sprintf("Join of %d partitions with %d", left.partitions, right.partitions))
	}
	if len(within) == 1 {
		n.within = within[0]
		s.refuse(n.within.problem())
		n.c = window.Config{Kind: window.Fixed, Size: n.within.Size, Delay: n.within.Delay, Late: n.within.Late}
	}
	n.left.partitions = max(left.partitions, right.partitions)
	n.right.partitions = n.left.partitions
	if left.assign == nil {
		n.left.assign = right.assign
	}
	if right.assign == nil {
		n.right.assign = left.assign
	}
	return Stream[Joined[L, R]]{n}
}

func (w JoinWindow[L, R]) problem() string {
	if w.LeftAt == nil || w.RightAt == nil {
		return "a JoinWindow needs LeftAt and RightAt, which return an event's time"
	}
	return Fixed(w.Size, w.LeftAt).Delay(w.Delay).Late(w.Late).IdleAfter(w.IdleAfter).problem(true)
}

type joinNode[K comparable, L, R any] struct {
	kind     JoinKind
	left     Keyed[K, L]
	right    Keyed[K, R]
	within   JoinWindow[L, R]
	c        window.Config
	settings settings
}

// side is an event of one of the two.
type side[L, R any] struct {
	left   L
	right  R
	isLeft bool
}

// sides are the events of a key in a window.
type sides[L, R any] struct {
	left  []L
	right []R
}

// Size is what a [Meter] tells of a join.
func (s *sides[L, R]) Size() int { return len(s.left) + len(s.right) }

func (n joinNode[K, L, R]) lanes() int { return n.left.count() }

func (n joinNode[K, L, R]) configure(change func(*settings, bool)) node[Joined[L, R]] {
	change(&n.settings, false)
	return n
}

func (n joinNode[K, L, R]) plan(e env, to func(lane) sink[Joined[L, R]]) {
	if n.settings.problem != "" {
		e.refuse("%s", n.settings.problem)
		return
	}
	h := newHorizon(n.c, n.within.IdleAfter)
	exchanges := newExchanges[timed[K, side[L, R]]](n.left.count())
	feed(e, n.left, exchanges, h, withTimes(n.within.LeftAt, func(k K, v L) (K, side[L, R]) { return k, side[L, R]{left: v, isLeft: true} }))
	feed(e, n.right, exchanges, h, withTimes(n.within.RightAt, func(k K, v R) (K, side[L, R]) { return k, side[L, R]{right: v} }))
	h.start(env{})
	w := &hoard{of: n.settings.name, more: func() bool { return slices.ContainsFunc(exchanges, (*exchange[timed[K, side[L, R]]]).isOpen) }}
	if n.within.Size > 0 {
		w = nil
	}
	operator := func(p partition, next sink[Joined[L, R]]) sink[timed[K, side[L, R]]] { return n.operator(p, w, next) }
	serve(e, exchanges, newKeys(e, n.maxKeys(), n.meters()...), h, operator, to)
}

func (n joinNode[K, L, R]) maxKeys() int {
	if n.left.maxKeys == 0 || n.right.maxKeys == 0 {
		return max(n.left.maxKeys, n.right.maxKeys)
	}
	return min(n.left.maxKeys, n.right.maxKeys)
}

// meters are those of both sides.
func (n joinNode[K, L, R]) meters() []*Meter {
	if n.left.meter == n.right.meter {
		return []*Meter{n.left.meter}
	}
	return []*Meter{n.left.meter, n.right.meter}
}

func (n joinNode[K, L, R]) operator(p partition, kept *hoard, next sink[Joined[L, R]]) sink[timed[K, side[L, R]]] {
	w := Window[side[L, R]]{c: n.c, idle: n.within.IdleAfter, onLate: n.late}
	o := newWindows[K, side[L, R], sides[L, R]](p, n.settings, next, w)
	o.build = func() *window.Operator[K, side[L, R], sides[L, R]] { return o.operator(n.c, n.funcs(o, kept)) }
	return o.sink()
}

func (n joinNode[K, L, R]) funcs(o *windows[K, side[L, R], sides[L, R], Joined[L, R]], kept *hoard) window.Funcs[K, side[L, R], sides[L, R]] {
	return window.Funcs[K, side[L, R], sides[L, R]]{
		Zero: func(K) sides[L, R] { return sides[L, R]{} },
		Fold: func(all sides[L, R], e side[L, R]) sides[L, R] {
			kept.add()
			if e.isLeft {
				for _, r := range all.right {
					o.put(Joined[L, R]{e.left, r, true, true})
				}
				all.left = append(all.left, e.left)
				return all
			}
			for _, l := range all.left {
				o.put(Joined[L, R]{l, e.right, true, true})
			}
			all.right = append(all.right, e.right)
			return all
		},
		Emit: func(_ K, all *sides[L, R], p window.Pane) {
			if !p.Final {
				return
			}
			if len(all.right) == 0 && (n.kind == Left || n.kind == Full) {
				for _, l := range all.left {
					o.put(Joined[L, R]{Left: l, HasLeft: true})
				}
			}
			if len(all.left) == 0 && (n.kind == Right || n.kind == Full) {
				for _, r := range all.right {
					o.put(Joined[L, R]{Right: r, HasRight: true})
				}
			}
		},
	}
}

func (n joinNode[K, L, R]) late(e side[L, R]) {
	switch {
	case e.isLeft && n.within.OnLateLeft != nil:
		n.within.OnLateLeft(e.left)
	case !e.isLeft && n.within.OnLateRight != nil:
		n.within.OnLateRight(e.right)
	}
}

// manyKept is how many events a join without a window keeps before it warns.
const manyKept = 1_000_000

// hoard counts what a join without a window keeps, in all its partitions. A nil hoard is of one with
// a window, which lets go of what it keeps.
type hoard struct {
	of   string      // the join's name
	more func() bool // whether a source goes on
	n    atomic.Int64
}

func (h *hoard) add() {
	if h == nil || h.n.Add(1) != manyKept || !h.more() {
		return
	}
	//nolint:forbidigo // a flow has no logger of its own, and this is the only thing it ever says
	slog.Default().Warn("a join without a window keeps the events of both sides until all sources have ended", slog.String("join", h.of), slog.Int("kept", manyKept))
}
