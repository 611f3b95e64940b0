package slots

import (
	"slices"
	"time"
)

// Bounds of asking ahead of free slots.
const (
	maxStanding = 8                     // requests beyond the free slots, so that idle types are heard
	aheadFactor = 3                     // × concurrency in hand beyond the slots, for short jobs
	shortRun    = 10 * time.Millisecond // a type whose recent runs took less may be asked for ahead
	MaxBatch    = 1024                  // of one pull request
	unheard     = 1 << 62               // backlog of a source that was not asked yet
	runSamples  = 8                     // weight of the past in the mean of a type's runs
)

// An Order says who gets a free slot.
type Order uint8

// The orders.
const (
	ByWeight Order = iota // every source with a backlog, in proportion to its weight
	Strict                // a source with a backlog before those of lower weight
)

// demand knows what may be asked for and what became of what was asked for. It is pure: the slots
// tell it what happened, and [demand.plan] says what to ask for next.
//
// Invariant: what is asked for and has not come is at most
// free + min(sources-1, maxStanding), besides what is asked ahead for short jobs.
type demand struct {
	order       Order
	concurrency int
	inHand      int  // delivered and not finished
	running     int  // slots that are taken by what has started
	stopped     bool // nothing more is asked for or started
	held        bool // nothing is to be asked for at the moment
	exact       bool // nothing is asked for before there is a slot for it

	sources  []*Source
	batched  []*Source   // of these, those whose jobs run together
	tiers    [][]*Source // the same, in groups: each gets what it can use before the next one gets anything
	rotation []*Source   // the same, the one that was asked least recently first
	asks     int         // so far
	service  float64     // that the source which was served last has had
	calls    []*Source   // types of which a job is about to come
	reserved int         // standing requests that are left for these

	budget budget
	bytes  int // of the jobs in hand

	allLimits []*limit
	limits    []*limit // those in force
	epoch     uint64   // counts what takes permits away, so that older jobs are told from newer ones

	planner planner
}

func (d *demand) freeSlots() int { return max(d.concurrency-d.occupied(), 0) }

// full reports whether all slots are taken.
func (d *demand) full() bool { return d.running >= d.concurrency }

// room is how many jobs may be asked for at once, not counting those asked for ahead.
func (d *demand) room() int { return d.freeSlots() + min(len(d.sources)-1, maxStanding) }

// needsCalls reports whether slots are free and there are more types than requests may stand. A
// job may then wait long for its type's turn unless the type is called.
func (d *demand) needsCalls() bool {
	return d.freeSlots() > 0 && !d.stopped && len(d.sources) > d.room()
}

// call has s asked before its turn, because a job is about to come. Its request stands, since news of
// a job can arrive before the job. If a request stands already it may end just too early, so s is
// asked once more unless that request brings the job.
func (d *demand) call(s *Source) {
	if !s.called && s.open && s.backlog == 0 {
		s.called = true
		d.calls = append(d.calls, s)
	}
}

// add joins a source.
func (d *demand) add(weight int) *Source {
	s := &Source{index: len(d.sources), weight: max(weight, 1), per: 1, exact: d.exact, backlog: d.guess()}
	d.sources, d.rotation = append(d.sources, s), append(d.rotation, s)
	i := slices.IndexFunc(d.tiers, func(tier []*Source) bool { return d.order == ByWeight || tier[0].weight <= s.weight })
	switch {
	case i < 0:
		d.tiers = append(d.tiers, []*Source{s})
	case d.order == ByWeight || d.tiers[i][0].weight == s.weight:
		d.tiers[i] = append(d.tiers[i], s)
	default:
		d.tiers = slices.Insert(d.tiers, i, []*Source{s})
	}
	return s
}

// delivered notes n jobs of s's pull, with backlog more waiting.
func (d *demand) delivered(s *Source, n int, backlog uint64) {
	d.inHand += n
	s.inHand += n
	s.called = false
	s.asked = max(s.asked-n, 0)
	if s.backlog == 0 {
		s.served = max(s.served, d.service) // a source that was idle is not owed the past
	}
	if s.open {
		s.backlog = backlog
	}
}

// opened notes that s can be asked. Nothing that it was asked for before still counts.
func (d *demand) opened(s *Source) {
	s.open, s.asked, s.unsent, s.backlog = true, 0, false, d.guess()
	s.served = max(s.served, d.service)
}

// guess is the backlog of a source that has not answered yet. With a strict order any number of
// jobs may wait there, and lighter queues must not be served before that is known.
func (d *demand) guess() uint64 {
	if d.order == Strict {
		return unheard
	}
	return 0
}

// closed notes that s cannot be asked until it is opened again.
func (d *demand) closed(s *Source) { s.open, s.asked, s.unsent, s.backlog = false, 0, false, 0 }

// returned notes that n of what was asked of s will not come.
func (d *demand) returned(s *Source, n int) { s.asked = max(s.asked-n, 0) }

// finished notes that a job of s, whose handler ran for this long, has left its slot.
func (d *demand) finished(s *Source, ran time.Duration) {
	d.inHand--
	s.inHand--
	d.running--
	s.started--
	s.ranFor(ran)
}

// ranFor notes how long a handler ran.
func (s *Source) ranFor(ran time.Duration) {
	s.handed = false
	if ran > 0 {
		s.runs = min(s.runs+1, runSamples)
		s.run += (ran - s.run) / time.Duration(s.runs)
	}
}

// handedBack notes that a job of s was given back before its handler started.
func (d *demand) handedBack(s *Source) {
	d.inHand--
	s.inHand--
	s.handed = true
	if s.open {
		s.backlog = max(s.backlog, 1) // most likely it waits again
	}
}

// short reports whether jobs of s run briefly. Jobs that hang only show in the jobs behind them,
// which are handed back.
func (s *Source) short() bool { return s.runs == runSamples && s.run < shortRun && !s.handed }

// mayBeAhead reports whether s may be asked for more than can start at once. It never may under a
// limit, where another node could use the permits that this would cover.
func (s *Source) mayBeAhead() bool { return s.short() && len(s.limits) == 0 && !s.exact }

// shut reports whether nothing was asked for although there are slots for it.
func (d *demand) shut() bool {
	return d.exact && d.freeSlots() > 0 && !slices.ContainsFunc(d.sources, func(s *Source) bool { return s.asked > 0 })
}

// quiet reports whether asking has ended for good and nothing that was asked for is left.
func (d *demand) quiet() bool {
	return d.stopped && d.inHand == 0 &&
		!slices.ContainsFunc(d.sources, func(s *Source) bool { return s.asked > 0 })
}
