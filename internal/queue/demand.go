package queue

import (
	"slices"
	"time"
)

// Bounds of asking ahead of free slots.
const (
	maxStanding = 8                     // requests beyond the free slots, so that idle types are heard
	aheadFactor = 3                     // × concurrency in hand beyond the slots, for short jobs
	shortRun    = 10 * time.Millisecond // a type whose recent runs took less may be asked for ahead
	maxBatch    = 1024                  // of one pull request
	runSamples  = 8                     // weight of the past in the mean of a type's runs
)

// demand decides whom to ask for how many jobs. It is pure: pullers and runners tell
// it what happened, and [demand.plan] says what to ask for next.
//
// Invariant: what is asked for and has not come is at most
// free + min(sources-1, maxStanding), besides what is asked ahead for short jobs.
type demand struct {
	concurrency int
	inHand      int // delivered and not finished
	stopped     bool
	sources     []*source
	turn        int     // counts asks, so that standing requests rotate
	now         float64 // service given to whoever was served last
}

// source is one (queue, type): where jobs come from.
type source struct {
	weight  int
	open    bool          // it can be asked
	asked   int           // neither delivered nor returned; nothing more is asked before
	greedy  bool          // what was asked is taken from a backlog; otherwise the request stands until jobs come
	backlog uint64        // jobs that waited behind the last delivery
	run     time.Duration // mean of recent runs
	runs    int
	served  float64 // slots given, each for 1/weight
	turn    int
}

// A grant is to ask a source for n jobs.
type grant struct {
	source *source
	n      int
}

func (d *demand) free() int { return max(d.concurrency-d.inHand, 0) }

// room is how many jobs may be asked for at once, short ones apart.
func (d *demand) room() int { return d.free() + min(len(d.sources)-1, maxStanding) }

// plan returns the pulls to send now.
func (d *demand) plan() []grant {
	if d.stopped {
		return nil
	}
	return append(d.planBacklog(), d.planStanding()...)
}

// planBacklog shares the free slots among the types that have jobs waiting, by weight.
func (d *demand) planBacklog() []grant {
	var hungry []*source
	covered, asked := 0, 0
	for _, s := range d.sources {
		asked += s.asked
		switch {
		case s.asked > 0 && s.greedy:
			covered += s.asked
		case s.open && s.asked == 0 && s.backlog > 0:
			hungry = append(hungry, s)
		}
	}
	// Many standing requests may cover the slots until they end, soon: more in hand than
	// can start would only be handed back.
	room := min(d.free()-covered, d.room()-asked)
	batch := make(map[*source]int, len(hungry))
	for room > 0 && len(hungry) > 0 {
		s := slices.MinFunc(hungry, byService)
		batch[s]++
		room--
		d.now = s.served
		s.served += 1 / float64(s.weight)
		if uint64(batch[s]) >= s.backlog {
			hungry = slices.DeleteFunc(hungry, func(h *source) bool { return h == s })
		}
	}
	ahead := aheadFactor*d.concurrency - max(d.inHand+covered-d.concurrency, 0)
	var grants []grant
	for _, s := range d.sources {
		n := batch[s]
		if s.open && s.asked == 0 && s.backlog > uint64(n) && s.short() && ahead > 0 {
			more := min(uint64(ahead), s.backlog-uint64(n))
			n, ahead = n+int(more), ahead-int(more)
		}
		if n = min(n, maxBatch); n > 0 {
			grants = append(grants, d.grant(s, n))
		}
	}
	return grants
}

// planStanding keeps idle types heard: a request of one each, as many as may stand. A
// single type has all free slots to itself.
func (d *demand) planStanding() []grant {
	if d.free() == 0 {
		return nil // what came could not start
	}
	var idle []*source
	asked := 0
	for _, s := range d.sources {
		asked += s.asked
		if s.open && s.asked == 0 && s.backlog == 0 {
			idle = append(idle, s)
		}
	}
	room := d.room() - asked
	slices.SortStableFunc(idle, func(a, b *source) int { return a.turn - b.turn })
	var grants []grant
	for _, s := range idle {
		n := 1
		if len(d.sources) == 1 {
			n = min(d.free(), maxBatch)
		}
		if n > room {
			break
		}
		room -= n
		grants = append(grants, d.grant(s, n))
	}
	return grants
}

func (d *demand) grant(s *source, n int) grant {
	d.turn++
	s.asked, s.greedy, s.turn = n, s.backlog > 0, d.turn
	return grant{source: s, n: n}
}

// byService orders by what a source was given for its weight: the least served is next.
func byService(a, b *source) int {
	switch {
	case a.served < b.served:
		return -1
	case a.served > b.served:
		return 1
	}
	return a.turn - b.turn
}

// add joins a source.
func (d *demand) add(weight int) *source {
	s := &source{weight: max(weight, 1)}
	d.sources = append(d.sources, s)
	return s
}

// delivered notes n jobs of s's pull, with backlog more waiting.
func (d *demand) delivered(s *source, n int, backlog uint64) {
	d.inHand += n
	s.asked = max(s.asked-n, 0)
	if s.backlog == 0 {
		s.served = max(s.served, d.now) // who was idle is not owed the past
	}
	s.backlog = backlog
}

// opened notes that s can be asked, from nothing.
func (d *demand) opened(s *source) { s.open, s.asked = true, 0 }

// closed notes that s cannot be asked until it is opened again.
func (d *demand) closed(s *source) { s.open, s.asked = false, 0 }

// returned notes that n of what was asked of s will not come.
func (d *demand) returned(s *source, n int) { s.asked = max(s.asked-n, 0) }

// finished notes that a job of s left the hand. ran is 0 if its handler was not run.
func (d *demand) finished(s *source, ran time.Duration) {
	d.inHand--
	if ran <= 0 {
		return
	}
	s.runs = min(s.runs+1, runSamples)
	s.run += (ran - s.run) / time.Duration(s.runs)
}

func (s *source) short() bool { return s.runs == runSamples && s.run < shortRun }

// quiet reports whether asking has ended for good and everything asked for is done with.
func (d *demand) quiet() bool {
	return d.stopped && d.inHand == 0 &&
		!slices.ContainsFunc(d.sources, func(s *source) bool { return s.asked > 0 })
}
