package window

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// event is one of the input.
type event struct{ Key, At, N int }

// emitted is a pane as the tests see it: of which events it is, in order.
type emitted struct {
	Key    int
	Pane   Pane
	Events []int
}

func drawEvents(t *rapid.T) []event {
	events := make([]event, rapid.IntRange(0, 40).Draw(t, "events"))
	jitter := rapid.IntRange(0, 40).Draw(t, "jitter")
	pace := rapid.IntRange(0, 10).Draw(t, "pace")
	for i := range events {
		at := i*pace + rapid.IntRange(-jitter, jitter).Draw(t, "at")
		events[i] = event{Key: rapid.IntRange(0, 3).Draw(t, "key"), At: at, N: i}
	}
	return events
}

func drawConfig(t *rapid.T, kinds ...Kind) Config {
	c := Config{
		Kind:  rapid.SampledFrom(kinds).Draw(t, "kind"),
		Delay: time.Duration(rapid.SampledFrom([]int{0, 0, 3, 20}).Draw(t, "delay")),
		Late:  time.Duration(rapid.SampledFrom([]int{0, 0, 4, 30}).Draw(t, "late")),
		Step:  time.Duration(rapid.IntRange(1, 6).Draw(t, "step")),
	}
	c.Size = c.Step * time.Duration(rapid.IntRange(1, 4).Draw(t, "steps"))
	c.EveryN = rapid.IntRange(0, 3).Draw(t, "every")
	if c.Kind == Fixed {
		c.Step = 0
	}
	return c
}

// recorder is an operator and what it has emitted.
type recorder struct {
	*Operator[int, int, []int]
	out []emitted
}

func record(c Config, merge bool) *recorder {
	r := &recorder{}
	f := Funcs[int, int, []int]{
		Zero: func(int) []int { return nil },
		Fold: func(a []int, n int) []int { return append(a, n) },
		Emit: func(key int, a *[]int, p Pane) { r.out = append(r.out, emitted{key, p, slices.Clone(*a)}) },
	}
	if merge {
		f.Merge = func(a, b []int) []int {
			all := slices.Concat(a, b)
			slices.Sort(all)
			return all
		}
	}
	r.Operator = NewOperator(c, f)
	return r
}

func (r *recorder) event(e event) bool {
	r.Observe(0, int64(e.At))
	return r.Add(e.Key, e.N, int64(e.At))
}

// span is a window of a key in the model.
type span struct {
	key, start, end int
	events          []int
	revision        int
	passed          bool
}

// model is the specification, with everything looked at again for each event.
type model struct {
	c       Config
	open    []*span // in the order of their first events
	low     int
	dropped int
	out     []emitted
}

func (m *model) emit(s *span, t Trigger) {
	s.revision++
	p := Pane{Start: int64(s.start), End: int64(s.end), Trigger: t, Final: t == Done, Revision: s.revision, Dropped: m.dropped}
	m.out = append(m.out, emitted{s.key, p, slices.Clone(s.events)})
}

func (m *model) event(e event, greatest int) {
	m.advance(greatest - int(m.c.Delay))
	taken := false
	for _, s := range m.windows(e) {
		taken = true
		s.events = append(s.events, e.N)
		slices.Sort(s.events)
		if m.c.EveryN > 0 && len(s.events)%m.c.EveryN == 0 {
			m.emit(s, Every)
		}
	}
	if !taken {
		m.dropped++
	}
}

// advance lets happen what is due at each moment up to low, one after the other.
func (m *model) advance(low int) {
	for m.low = max(m.low, low); ; {
		var next *span
		due := math.MaxInt
		for _, s := range m.open {
			at := s.end
			if s.passed {
				at += int(m.c.Late)
			}
			// At one moment, what passes comes before what is done, and then the earlier start.
			if at < due || at == due && (next.passed && !s.passed || next.passed == s.passed && s.start < next.start) {
				next, due = s, at
			}
		}
		switch {
		case next == nil || due > m.low:
			return
		case m.c.Late > 0 && !next.passed:
			next.passed = true
			m.emit(next, Watermark)
		default:
			m.emit(next, Done)
			m.forget(next)
		}
	}
}

func (m *model) forget(s *span) {
	m.open = slices.DeleteFunc(m.open, func(o *span) bool { return o == s })
}

// windows returns those of an event that are not closed.
func (m *model) windows(e event) (found []*span) {
	if m.c.Kind == Session {
		if s := m.session(e); s != nil {
			return []*span{s}
		}
		return nil
	}
	step := int(m.c.step())
	for start := -100 * step; start <= e.At; start += step {
		end := start + int(m.c.Size)
		if e.At >= end || end+int(m.c.Late) <= m.low {
			continue
		}
		i := slices.IndexFunc(m.open, func(s *span) bool { return s.key == e.Key && s.start == start })
		if i < 0 {
			i = len(m.open)
			m.open = append(m.open, &span{key: e.Key, start: start, end: end, passed: end <= m.low})
		}
		found = append(found, m.open[i])
	}
	return found
}

func (m *model) session(e event) *span {
	all := &span{key: e.Key, start: e.At, end: e.At + int(m.c.Size)}
	n := 0
	for _, s := range slices.Clone(m.open) {
		if s.key == e.Key && s.start < e.At+int(m.c.Size) && e.At < s.end {
			n++
			all.start, all.end = min(all.start, s.start), max(all.end, s.end)
			all.events = append(all.events, s.events...)
			all.revision = max(all.revision, s.revision)
			m.forget(s)
		}
	}
	if n == 0 && all.end+int(m.c.Late) <= m.low {
		return nil
	}
	all.passed = all.end <= m.low
	m.open = append(m.open, all)
	return all
}

func (m *model) end() {
	slices.SortStableFunc(m.open, func(a, b *span) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.start, b.start))
	})
	for _, s := range m.open {
		m.emit(s, Done)
	}
}

// anyKeyOrder sorts what is emitted of one window at one time: keys have no order.
func anyKeyOrder(all []emitted) []emitted {
	all = slices.Clone(all)
	for i := 0; i < len(all); {
		j := i + 1
		for j < len(all) && all[j].Pane.Trigger == all[i].Pane.Trigger && all[i].Pane.Trigger <= Watermark &&
			all[j].Pane.End == all[i].Pane.End {
			j++
		}
		slices.SortStableFunc(all[i:j], func(a, b emitted) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Pane.Start, b.Pane.Start))
		})
		i = j
	}
	return all
}

func TestOperatorIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, Fixed, Sliding, Session)
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		o := record(c, rapid.Bool().Draw(t, "merge"))
		m := &model{c: c, low: math.MinInt}
		greatest := math.MinInt
		for _, e := range drawEvents(t) {
			greatest = max(greatest, e.At)
			o.event(e)
			m.event(e, greatest)
		}
		o.End()
		m.end()
		if diff := gocmp.Diff(anyKeyOrder(m.out), anyKeyOrder(o.out)); diff != "" {
			t.Fatalf("%+v: (-model +operator):\n%s", c, diff)
		}
		if o.Accumulators() != 0 {
			t.Errorf("%d accumulators are left", o.Accumulators())
		}
	})
}

// Two partitions of one source are told of each other's events with their own next one, or when a
// delivery ends.
func TestNoMatterHowTheInputIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, Fixed, Sliding, Session)
		c.Empty = c.Kind != Session && rapid.Bool().Draw(t, "empty")
		events := drawEvents(t)
		run := func(cut func() bool) [2][]emitted {
			parts := [2]*recorder{record(c, false), record(c, false)}
			greatest := int64(Unset)
			for i, e := range events {
				if greatest = max(greatest, int64(e.At)); i == 0 {
					parts[0].First(int64(e.At))
					parts[1].First(int64(e.At))
				}
				p := parts[e.Key%2]
				p.Observe(0, greatest)
				p.Add(e.Key, e.N, int64(e.At))
				if cut() {
					parts[0].Observe(0, greatest)
					parts[1].Observe(0, greatest)
				}
			}
			for _, p := range parts {
				p.Observe(0, greatest)
				p.End()
			}
			return [2][]emitted{parts[0].out, parts[1].out}
		}
		always := run(func() bool { return true })
		if diff := gocmp.Diff(always, run(func() bool { return false })); diff != "" {
			t.Fatalf("%+v: after each event, and at the end (-each +end):\n%s", c, diff)
		}
		if diff := gocmp.Diff(always, run(func() bool { return rapid.Bool().Draw(t, "cut") })); diff != "" {
			t.Fatalf("%+v: after each event, and after some (-each +some):\n%s", c, diff)
		}
	})
}

// What is emitted is the same for one operator, and for two of which the second has the state of the first.
func TestStateIsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, Global, Count, Periodic, Fixed, Sliding, Session)
		c.N = rapid.IntRange(1, 4).Draw(t, "n")
		if !c.Kind.EventTime() {
			c.Delay, c.Late = 0, 0
		}
		c.Empty = c.Kind != Session && rapid.Bool().Draw(t, "empty")
		merge := rapid.Bool().Draw(t, "merge")
		events := drawEvents(t)
		at := rapid.IntRange(0, len(events)).Draw(t, "moved")
		one, moved := record(c, merge), record(c, merge)
		for i, e := range events {
			if i == at {
				moved = restored(t, c, merge, moved)
			}
			one.event(e)
			moved.event(e)
			if c.Kind == Periodic && i%7 == 6 {
				one.Tick()
				moved.Tick()
			}
		}
		if one.Accumulators() != moved.Accumulators() {
			t.Errorf("%d accumulators, and %d after a move", one.Accumulators(), moved.Accumulators())
		}
		one.Revise()
		moved.Revise()
		one.End()
		moved.End()
		if diff := gocmp.Diff(one.out, moved.out); diff != "" {
			t.Fatalf("%+v (-one +moved):\n%s", c, diff)
		}
	})
}
