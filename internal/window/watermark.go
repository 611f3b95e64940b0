package window

import "math"

// Unset is the time before all others: that of a source without events.
const Unset = math.MinInt64

// presence is what a source says about the events that are yet to come.
type presence uint8

const (
	holding presence = iota // they may be as old as what was seen of it
	silent                  // there have been none for long
	ended                   // there are none
)

// Sources is the watermark of several sources: the least of those that hold it, each of which is Delay
// behind the greatest event time seen of it. A source holds it unless it has ended or is silent. Once none
// is left that does, and one is silent, it is the greatest event time. It never goes back.
type Sources struct {
	delay    int64
	sources  []source
	greatest int64 // event time seen of any source
	low      int64
}

type source struct {
	Greatest int64
	Presence presence
}

// NewSources returns the watermark of n sources that hold it and have no events yet.
func NewSources(n int, delay int64) Sources {
	s := Sources{delay: delay, sources: make([]source, n), greatest: Unset, low: Unset}
	for i := range s.sources {
		s.sources[i].Greatest = Unset
	}
	return s
}

// Low returns the watermark, [Unset] at first.
func (s *Sources) Low() int64 { return s.low }

// Greatest returns the greatest event time of all sources, [Unset] at first.
func (s *Sources) Greatest() int64 { return s.greatest }

// Silence tells that a source has had nothing for long. It holds the watermark again when it has.
func (s *Sources) Silence(i int) { s.set(i, silent) }

// End tells that a source has no more events.
func (s *Sources) End(i int) { s.set(i, ended) }

// Observe tells that a source has come to an event of this time.
func (s *Sources) Observe(i int, at int64) {
	src := &s.sources[i]
	was := *src
	src.Presence = holding
	if at <= was.Greatest {
		if was.Presence != holding {
			s.move()
		}
		return
	}
	src.Greatest = at
	s.greatest = max(s.greatest, at)
	if len(s.sources) == 1 {
		s.low = max(s.low, sub(at, s.delay))
		return
	}
	// Another source that is further behind holds it where it is.
	if was.Presence != holding || sub(was.Greatest, s.delay) <= s.low {
		s.move()
	}
}

func (s *Sources) set(i int, p presence) {
	s.sources[i].Presence = p
	s.move()
}

func (s *Sources) move() {
	least := int64(math.MaxInt64)
	var n [ended + 1]int
	for _, src := range s.sources {
		n[src.Presence]++
		if src.Presence == holding {
			least = min(least, src.Greatest)
		}
	}
	switch {
	case n[holding] > 0:
		least = sub(least, s.delay)
	case n[silent] > 0:
		least = s.greatest
	default: // the end is told to whoever waits for it
		return
	}
	s.low = max(s.low, least)
}

// sub and add stay at the borders of time instead of wrapping around.
func sub(a, b int64) int64 {
	if d := a - b; d <= a {
		return d
	}
	return math.MinInt64
}

func add(a, b int64) int64 {
	if d := a + b; d >= a {
		return d
	}
	return math.MaxInt64
}

// floor is the greatest multiple of step that is not beyond at. There has to be one: see [Config.Earliest].
func floor(at, step int64) int64 {
	r := at % step
	if r < 0 {
		r += step
	}
	return at - r
}
