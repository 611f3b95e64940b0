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

const (
	ByWeight Order = iota // every source with a backlog, in proportion to its weight
	Strict                // a source with a backlog before those of lower weight
)

// demand decides whom to ask for how many jobs. It is pure: pullers and runners tell
// it what happened, and [demand.plan] says what to ask for next.
//
// Invariant: what is asked for and has not come is at most
// free + min(sources-1, maxStanding), besides what is asked ahead for short jobs.
type demand struct {
	order       Order
	concurrency int
	inHand      int // delivered and not finished
	stopped     bool
	held        bool // nothing is to be asked for at the moment
	sources     []*Source
	tiers       [][]*Source // the same, in groups: each has what it can use before the next has any
	turn        int         // counts asks, so that standing requests rotate
	now         float64     // service given to whoever was served last
	budget      budget
	bytes       int   // of the jobs in hand
	purse       purse // of a plan
	calls       []*Source
	reserved    int // standing requests that are left for those that are called
	allLimits   []*limit
	limits      []*limit // those in force
	clock       uint64   // counts what takes permits away, so that older jobs are told from newer ones

	queue  []*Source // the same, who was asked least recently first
	grants []grant   // of the last plan
}

// A grant is to ask a source for n jobs.
type grant struct {
	source *Source
	n      int
}

func (d *demand) free() int { return max(d.concurrency-d.inHand, 0) }

// room is how many jobs may be asked for at once, short ones apart.
func (d *demand) room() int { return d.free() + min(len(d.sources)-1, maxStanding) }

// plan returns the pulls to send now; the slice is the next plan's again. Without a limit, it
// does not ask for the time. One is made for each job that ends.
func (d *demand) plan(now time.Time) []grant {
	d.grants = d.grants[:0]
	if d.stopped || d.held {
		return nil
	}
	if len(d.limits) > 0 {
		d.prepare(now)
	}
	d.planBacklog()
	d.planStanding()
	return d.grants
}

// planBacklog shares the free slots among the types that have jobs waiting, and what may
// be asked ahead of them among those with short jobs.
func (d *demand) planBacklog() {
	covered, asked, coming := 0, 0, 0
	for _, s := range d.sources {
		coming += s.asked * s.size
		if s.silent {
			continue // what may still come of it is handed back
		}
		asked += s.asked
		if s.greedy {
			covered += s.asked
		}
	}
	d.purse = d.budget.purse(coming, d.bytes)
	// Many standing requests may cover the slots until they end, soon: more in hand than
	// can start would only be handed back.
	room := min(d.free()-covered, d.room()-asked)
	ahead := aheadFactor*d.concurrency - max(d.inHand+covered-d.concurrency, 0)
	if max(room, ahead) <= 0 {
		return
	}
	for _, tier := range d.tiers {
		if slices.ContainsFunc(tier, (*Source).hungry) {
			room -= d.share(room, tier, (*Source).growable, inSlots)
			ahead -= d.share(ahead, tier, (*Source).askableAhead, beforeSlots)
			for _, s := range tier {
				if n := min(s.batch, MaxBatch-s.asked); n > 0 {
					d.grant(s, n)
				}
				s.batch = 0
			}
		}
		if slices.ContainsFunc(tier, (*Source).wanting) {
			break // what is left is for these, as soon as they can be asked again
		}
	}
}

// share adds to the batches of a tier's sources what each gets of n jobs, by weight, and
// returns how many it gave. One that cannot be asked now keeps its turn, and those behind it
// wait: its pull is answered soon, or else it is silent and has lost its turn, or the jobs asked
// ahead make room for its long ones.
func (d *demand) share(n int, tier []*Source, can func(*Source) bool, where stay) (shared int) {
	for shared < n {
		var next *Source
		rivals := 0
		for _, s := range tier {
			if !s.wanting() || s.left() == 0 {
				continue
			}
			rivals++
			if next == nil || byService(s, next) < 0 {
				next = s
			}
		}
		if next == nil || !can(next) {
			break
		}
		k := 1
		if rivals == 1 { // all that is left is for this one
			k = int(min(uint64(n-shared), uint64(next.free()), next.left()))
		}
		if k = d.purse.take(k, next.size, where); k == 0 {
			break
		}
		next.batch += k
		next.cover(k)
		shared += k
		d.now = next.served + float64(k-1)/float64(next.weight)
		next.served += float64(k) / float64(next.weight)
	}
	return shared
}

// planStanding keeps idle types heard: a request of one each, as many as may stand. A
// single type has all free slots to itself.
func (d *demand) planStanding() {
	room := d.standingRoom()
	if room <= 0 {
		return
	}
	n := 1
	if len(d.sources) == 1 && len(d.sources[0].limits) == 0 {
		n = min(max(d.free(), 1), MaxBatch)
		n = max(d.purse.fits(n, d.sources[0].size, inSlots), 1)
	}
	floor := d.floor()
	room = d.planCalls(room, floor) - d.reserved
	for i := 0; i < len(d.queue) && n <= room; {
		s := d.queue[i]
		if !s.standable(floor) || d.purse.take(n, s.size, inSlots) == 0 {
			i++
			continue
		}
		room -= n
		s.cover(n)
		d.grant(s, n) // which has the next one come up to i
	}
}

// standingRoom returns how many more jobs may be asked for by requests that stand.
func (d *demand) standingRoom() int {
	long, covered, standing, bound := 0, 0, 0, d.concurrency
	for _, s := range d.sources {
		switch {
		case s.silent:
		case s.greedy:
			covered += s.asked
		default:
			standing += s.asked
		}
		if s.short() {
			bound = (1 + aheadFactor) * d.concurrency
		} else {
			long += s.inHand
		}
	}
	if long >= d.concurrency {
		return 0 // what came could not start soon
	}
	standing -= min(len(d.sources)-1, maxStanding)
	return min(max(d.free()-covered, 0), bound-d.inHand-covered) - standing
}

// floor is the weight below which nothing is to be asked for: with a strict order, that of
// the heaviest queue with more jobs than were asked for, and 0 if there is none.
func (d *demand) floor() int {
	if d.order == ByWeight {
		return 0
	}
	for _, tier := range d.tiers {
		if slices.ContainsFunc(tier, (*Source).wanting) {
			return tier[0].weight
		}
	}
	return 0
}

// grant has s asked for n jobs.
func (d *demand) grant(s *Source, n int) {
	d.turn++
	s.asked += n
	s.brief = false
	s.greedy, s.turn, s.stamp = s.backlog > 0, d.turn, d.clock
	d.grants = append(d.grants, grant{source: s, n: n})
	if i := slices.Index(d.queue, s); i < len(d.queue)-1 {
		d.queue = append(slices.Delete(d.queue, i, i+1), s)
	}
}

// byService orders by what a source was given for its weight: the least served is next.
func byService(a, b *Source) int {
	switch {
	case a.served < b.served:
		return -1
	case a.served > b.served:
		return 1
	}
	return a.turn - b.turn
}

// add joins a source.
func (d *demand) add(weight int) *Source {
	s := &Source{weight: max(weight, 1), backlog: d.guess()}
	d.sources, d.queue = append(d.sources, s), append(d.queue, s)
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
		s.served = max(s.served, d.now) // who was idle is not owed the past
	}
	if s.open {
		s.backlog = backlog
	}
}

// opened notes that s can be asked, from nothing.
func (d *demand) opened(s *Source) {
	s.open, s.asked, s.unsent, s.backlog = true, 0, false, d.guess()
	s.served = max(s.served, d.now)
}

// guess is the backlog of a source until it is heard: with a strict order there may be any
// number, and the lighter ones must not be served before that is known.
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

// finished notes that a job of s left the hand. ran is 0 if its handler was not run.
func (d *demand) finished(s *Source, ran time.Duration) {
	d.inHand--
	s.inHand--
	if ran <= 0 {
		s.handed = true
		if s.open {
			s.backlog = max(s.backlog, 1) // it was handed back, most likely, and waits again
		}
		return
	}
	s.started--
	s.handed = false
	s.runs = min(s.runs+1, runSamples)
	s.run += (ran - s.run) / time.Duration(s.runs)
}

// askable reports whether s can be asked now.
func (s *Source) askable() bool { return s.open && !s.silent && s.asked == 0 && !s.blocked() }

// growable reports whether s can be asked now, or for more of its backlog than it is about to be.
func (s *Source) growable() bool {
	return s.open && !s.silent && (s.asked == 0 || s.unsent && s.greedy) && !s.blocked()
}

// wanting reports whether more jobs of s wait than it was asked for, and may start.
func (s *Source) wanting() bool {
	return s.backlog > uint64(s.asked) && !s.silent && !s.blocked()
}

// left returns how many jobs of s wait beyond those asked for, as the plan stands.
func (s *Source) left() uint64 {
	if asked := uint64(s.asked + s.batch); s.backlog > asked {
		return s.backlog - asked
	}
	return 0
}

// short reports whether jobs of s run briefly. Those that hang say nothing, but for the jobs
// behind them that could not start.
func (s *Source) short() bool { return s.runs == runSamples && s.run < shortRun && !s.handed }

// askableAhead reports whether s can be asked now for more than can start at once.
func (s *Source) askableAhead() bool { return s.growable() && s.mayBeAhead() }

// mayBeAhead reports whether s may be asked for more than can start at once: never where the
// permits that this would cover could be another node's.
func (s *Source) mayBeAhead() bool { return s.short() && len(s.limits) == 0 }

// hungry reports whether s can be asked for jobs that wait.
func (s *Source) hungry() bool { return s.growable() && s.backlog > 0 }

// quiet reports whether asking has ended for good and everything asked for is done with.
func (d *demand) quiet() bool {
	return d.stopped && d.inHand == 0 &&
		!slices.ContainsFunc(d.sources, func(s *Source) bool { return s.asked > 0 })
}
