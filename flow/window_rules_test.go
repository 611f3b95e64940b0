package flow_test

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/millhand/millhand/flow"
)

// rules are a window, and what is done in it. Times are in milliseconds, and of events that one source
// has in an order that is known; so everything that comes of them is known, too.
type rules struct {
	kind                    string // global, count, fixed, sliding, session
	n                       int    // events of a count window
	size, step, delay, late int
	every                   int       // a trigger at each so many events; 0: none
	mark                    flow.Mark // what each seventh event is
	empty                   bool      // windows without events come, too
}

func (r rules) window(late func(tick)) flow.Window[tick] {
	span := func(n int) time.Duration { return time.Duration(n) * ms }
	var w flow.Window[tick]
	switch r.kind {
	case "count":
		w = flow.Count[tick](r.n)
	case "fixed":
		w = flow.Fixed(span(r.size), tick.time)
	case "sliding":
		w = flow.Sliding(span(r.size), span(r.step), tick.time)
	case "session":
		w = flow.Session(span(r.size), tick.time)
	}
	if r.eventTime() {
		w = w.Delay(span(r.delay)).Late(span(r.late)).OnLate(late)
	}
	if r.mark != flow.Plain {
		w = w.When(r.markOf)
	}
	if r.empty {
		w = w.Empty()
	}
	return w.EveryN(r.every)
}

func (r rules) eventTime() bool { return r.kind != "global" && r.kind != "count" }

func (r rules) markOf(e tick) flow.Mark {
	if e.N%7 == 6 {
		return r.mark
	}
	return flow.Plain
}

// isBefore and isAfter report whether an event has what there is emitted, and isFolded whether it is folded.
func (r rules) isBefore(e tick) bool { return r.markOf(e) == flow.Before || r.markOf(e) == flow.Only }
func (r rules) isAfter(e tick) bool  { return r.markOf(e) == flow.After }
func (r rules) isFolded(e tick) bool { return r.markOf(e) != flow.Only }

// emission is a pane: when it comes, and what it is.
type emission struct {
	event   int // with which event of the source
	phase   int // of that event: 0 the watermark moves, 1 it marks, 2 it is folded, 3 it marks
	due     int // of phase 0: when in event time
	start   int
	end     int
	number  int
	trigger flow.Trigger
	final   bool
	values  []int

	revision int // of a session; of others it follows from what comes
}

// order is that in which the panes of a key, or a partition, come. At one time a window that is passed
// comes before one that is done.
func (e emission) order(o emission) int {
	passes := func(e emission) int {
		if e.trigger == flow.Watermark {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(e.event, o.event), cmp.Compare(e.phase, o.phase), cmp.Compare(e.due, o.due),
		cmp.Compare(passes(e), passes(o)), cmp.Compare(e.start, o.start), cmp.Compare(e.number, o.number))
}

const atTheEnd = math.MaxInt

// story is a source with the windows of one owner of events, which is a key or a partition.
type story struct {
	rules
	events []tick
	low    []int // the watermark with each event
	own    []int // the events of the owner
}

func newStory(r rules, events []tick, isOwn func(tick) bool) *story {
	s := &story{rules: r, events: events}
	low := math.MinInt
	for i, e := range events {
		low = max(low, e.Ms-r.delay)
		s.low = append(s.low, low)
		if isOwn(e) {
			s.own = append(s.own, i)
		}
	}
	return s
}

// when is the first event with which the watermark is there.
func (s *story) when(low int) int {
	for i, at := range s.low {
		if at >= low {
			return i
		}
	}
	return atTheEnd
}

func (s *story) numbers(of []int) []int {
	list := []int{}
	for _, i := range of {
		list = append(list, s.events[i].N)
	}
	return list
}

// panes are those of all windows, each looked at by itself.
func (s *story) panes() (all []emission) {
	switch s.kind {
	case "global", "count":
		return s.counted()
	case "session":
		all, _ = s.sessions()
		return all
	}
	first, last := s.extent()
	for start := first; start <= last; start += s.step {
		all = append(all, s.spanOf(start)...)
	}
	slices.SortStableFunc(all, emission.order)
	return all
}

// extent is from which start to which there may be windows with events.
func (s *story) extent() (first, last int) {
	first, last = math.MaxInt, math.MinInt
	for _, e := range s.events {
		first, last = min(first, s.oldest(e.Ms)), max(last, s.newest(e.Ms))
	}
	return first, last
}

func (s *story) newest(ms int) int { return ms - ((ms%s.step)+s.step)%s.step }
func (s *story) oldest(ms int) int { return s.newest(ms) - s.size + s.step }

// isEmpty reports whether a window comes though it has no events.
func (s *story) isEmpty(start int) bool {
	if !s.empty {
		return false
	}
	from := s.oldest(s.events[0].Ms)
	for _, i := range s.own {
		if at := s.events[i]; s.isFolded(at) {
			for begin := s.oldest(at.Ms); begin <= s.newest(at.Ms); begin += s.step {
				if begin+s.size+s.rules.late > s.low[i] {
					from = min(from, begin)
				}
			}
		}
	}
	return start >= from
}

// spanOf are the panes of the window that begins at start.
func (s *story) spanOf(start int) (all []emission) {
	end := start + s.size
	var taken []int
	add := func(e emission, values []int) {
		e.start, e.end, e.values = start, end, s.numbers(values)
		all = append(all, e)
	}
	for _, i := range s.own {
		e := s.events[i]
		if e.Ms < start || e.Ms >= end || s.low[i] >= end+s.rules.late {
			continue
		}
		if s.isBefore(e) && len(taken) > 0 {
			add(emission{event: i, phase: 1, trigger: flow.Marked}, taken)
		}
		if s.isFolded(e) {
			taken = append(taken, i)
			if s.every > 0 && len(taken)%s.every == 0 {
				add(emission{event: i, phase: 2, trigger: flow.Every}, taken)
			}
		}
		if s.isAfter(e) && len(taken) > 0 {
			add(emission{event: i, phase: 3, trigger: flow.Marked}, taken)
		}
	}
	passed := s.when(end)
	early := slices.DeleteFunc(slices.Clone(taken), func(i int) bool { return i >= passed })
	if s.rules.late > 0 && passed < atTheEnd && (len(early) > 0 || s.isEmpty(start)) {
		add(emission{event: passed, due: end, trigger: flow.Watermark}, early)
	}
	if done := s.when(end + s.rules.late); len(taken) > 0 || s.isEmpty(start) {
		due := end
		if done < atTheEnd {
			due += s.rules.late
		}
		add(emission{event: done, due: due, trigger: flow.Done, final: true}, taken)
	}
	return all
}

// counted are the panes of windows without time.
func (s *story) counted() (all []emission) {
	var taken []int
	number := 0
	add := func(i, phase int, t flow.Trigger) {
		if len(taken) > 0 || s.empty {
			all = append(all, emission{event: i, phase: phase, number: number, trigger: t, final: t == flow.Done, values: s.numbers(taken)})
		}
	}
	for _, i := range s.own {
		e := s.events[i]
		if s.isBefore(e) {
			add(i, 1, flow.Marked)
		}
		if s.isFolded(e) {
			taken = append(taken, i)
			if s.every > 0 && len(taken)%s.every == 0 {
				add(i, 2, flow.Every)
			}
			if s.kind == "count" && len(taken) == s.n {
				add(i, 2, flow.Done)
				taken = nil
				number++
			}
		}
		if s.isAfter(e) {
			add(i, 3, flow.Marked)
		}
	}
	add(atTheEnd, 0, flow.Done)
	return all
}

// late are the events of the owner that no window takes.
func (s *story) late() (all []int) {
	if s.kind == "session" {
		_, all = s.sessions()
		return all
	}
	for _, i := range s.own {
		if e := s.events[i]; s.eventTime() && s.isFolded(e) && s.low[i] >= s.newest(e.Ms)+s.size+s.rules.late {
			all = append(all, i)
		}
	}
	return all
}

// spell is a session on its way.
type spell struct {
	start, end int
	events     []int
	revision   int
	passed     bool
}

// sessions are the panes of a key, and its events that are late. One has to follow what happens: which
// sessions an event makes one of depends on which have been closed before it.
func (s *story) sessions() (all []emission, late []int) {
	var open []*spell
	emit := func(i, phase, due int, o *spell, t flow.Trigger) {
		o.revision++
		all = append(all, emission{
			event: i, phase: phase, due: due, start: o.start, end: o.end, trigger: t, final: t == flow.Done,
			values: s.numbers(o.events), revision: o.revision,
		})
	}
	end := func(o *spell) { open = slices.DeleteFunc(open, func(p *spell) bool { return p == o }) }
	for i, e := range s.events {
		for o, due := s.next(open); o != nil && due <= s.low[i]; o, due = s.next(open) {
			if s.rules.late > 0 && !o.passed {
				o.passed = true
				emit(i, 0, due, o, flow.Watermark)
				continue
			}
			emit(i, 0, due, o, flow.Done)
			end(o)
		}
		if !slices.Contains(s.own, i) {
			continue
		}
		marked := func(phase int) {
			for _, o := range open {
				if o.start <= e.Ms && e.Ms < o.end {
					emit(i, phase, 0, o, flow.Marked)
				}
			}
		}
		if s.isBefore(e) {
			marked(1)
		}
		if s.isFolded(e) {
			joined := &spell{start: e.Ms, end: e.Ms + s.size, events: []int{i}}
			for _, o := range slices.Clone(open) {
				if o.start < e.Ms+s.size && e.Ms < o.end {
					joined.start, joined.end = min(joined.start, o.start), max(joined.end, o.end)
					joined.events = append(joined.events, o.events...)
					joined.revision = max(joined.revision, o.revision)
					end(o)
				}
			}
			if len(joined.events) == 1 && joined.end+s.rules.late <= s.low[i] {
				late = append(late, i)
				continue
			}
			slices.Sort(joined.events)
			joined.passed = joined.end <= s.low[i]
			open = append(open, joined)
			if s.every > 0 && len(joined.events)%s.every == 0 {
				emit(i, 2, 0, joined, flow.Every)
			}
		}
		if s.isAfter(e) {
			marked(3)
		}
	}
	for _, o := range open {
		emit(atTheEnd, 0, o.end, o, flow.Done)
	}
	slices.SortStableFunc(all, emission.order)
	return all, late
}

// next is the session that is due first, and when that is.
func (s *story) next(open []*spell) (first *spell, due int) {
	for _, o := range open {
		at := o.end
		if o.passed {
			at += s.rules.late
		}
		earlier := at == due && (first.passed && !o.passed || first.passed == o.passed && o.start < first.start)
		if first == nil || at < due || earlier {
			first, due = o, at
		}
	}
	return first, due
}
