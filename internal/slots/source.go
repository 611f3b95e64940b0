package slots

import (
	"iter"
	"slices"
	"time"
)

// A Source is where the jobs of one type in one queue come from. It is asked for jobs, and its
// methods tell what became of that.
type Source struct {
	slots      *Slots
	queue, typ string
	ask        func(n int)
	tickets    tickets // of jobs in hand, and of those whose handlers were given up

	index   int // in demand.sources
	weight  int
	open    bool // it can be asked
	asked   int  // jobs neither delivered nor returned; nothing more is asked for before they are
	unsent  bool // what is asked for has not left yet, and may become more
	greedy  bool // what was asked for is taken from a backlog; otherwise the request stands until jobs come
	called  bool // it is one of demand.calls
	brief   bool // it was asked because of a call
	silent  bool // it does not answer, and nobody waits for it
	inHand  int
	per     int           // jobs that run together in one slot, at most; 1: each runs by itself
	calls   int           // of jobs that run together, that run; only if per is more than 1
	handed  bool          // a job was handed back before it started, and none has run since
	backlog uint64        // jobs that waited behind the last delivery; 0 if it cannot be asked
	run     time.Duration // mean of recent runs
	runs    int
	served  float64 // slots given, each counted as 1/weight
	lastAsk int     // demand.asks then
	size    int     // bytes of a job, a guess: of a large one among the last

	paused     bool
	held       bool          // nothing is to be asked of it at the moment
	exact      bool          // it is asked for no more than there are slots for
	limits     []*limit      // those in force that it belongs to
	started    int           // in hand, their handlers run or have run
	stuck      int           // no longer in hand, though their handlers still run
	stuckCalls int           // how many calls these are
	hungry     chan struct{} // whoever gathers jobs is woken by it
	stamp      uint64        // demand.epoch when it was asked last
	joined     uint64        // demand.epoch when it became a member of a limit last
	probed     time.Time
}

// Source adds a type of a queue of this weight. All sources are added before the first is opened.
func (s *Slots) Source(weight int, queue, typ string) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.demand.add(weight)
	source.slots, source.queue, source.typ = s, queue, typ
	source.paused = s.isPaused(queue, typ)
	s.sources[place{queue, typ}] = source
	for _, l := range s.demand.allLimits {
		if s.matches(source, l.key) {
			s.demand.join(source, l)
		}
	}
	return source
}

// Place returns the queue and the type whose jobs come from here.
func (s *Source) Place() (queue, typ string) { return s.queue, s.typ }

// Open says that jobs can be asked for from now on, by ask, which must not block or call back.
func (s *Source) Open(ask func(n int)) {
	s.slots.update(func(d *demand) {
		s.ask = ask
		d.opened(s)
	})
}

// Shut says that jobs cannot be asked for until the next Open.
func (s *Source) Shut() { s.slots.update(func(d *demand) { d.closed(s) }) }

// Sending says that what was asked for is sent now; until then, slots that become free add to it.
// A standing request may wait for jobs to come. Otherwise jobs are known to wait, and other sources
// wait for the answer. A brief one must make way for others soon. bytes limits what may come; 0 is
// no limit.
func (s *Source) Sending() (standing, brief bool, bytes int) {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	s.unsent = false
	return !s.greedy, s.brief || s.crowded(), s.slots.demand.pullBytes(s)
}

// Ahead reports whether jobs are asked for before there are slots for them: others run until they
// come.
func (s *Source) Ahead() bool {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	return s.mayBeAhead()
}

// Admits reports whether jobs that come now, in answer to the last ask, may start.
func (s *Source) Admits() bool {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	return !s.slots.demand.stopped && s.admits(s.stamp, time.Now)
}

// Delivered says that jobs are in hand and that backlog more wait.
func (s *Source) Delivered(jobs iter.Seq[*Ticket], backlog uint64) {
	s.slots.update(func(d *demand) {
		n, bytes, largest := 0, 0, 0
		for t := range jobs {
			t.stamp = s.stamp
			s.tickets.add(t)
			n, bytes, largest = n+1, bytes+t.size, max(largest, t.size)
		}
		d.weigh(s, bytes, largest)
		d.delivered(s, n, backlog)
	})
}

// Empty says that no jobs wait.
func (s *Source) Empty() { s.slots.update(func(*demand) { s.backlog = 0 }) }

// Returned says that n jobs that were asked for will not come.
func (s *Source) Returned(n int) { s.slots.update(func(d *demand) { d.returned(s, n) }) }

// Silent says whether the broker leaves a pull unanswered. Until it answers, other sources do not
// wait for this one's turn.
func (s *Source) Silent(silent bool) { s.slots.update(func(*demand) { s.silent = silent }) }

// Busy reports whether jobs are in hand.
func (s *Source) Busy() bool {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	return s.inHand > 0
}

// Starved reports whether nothing can be asked for because a permit is missing, while no job is in
// hand that would tell how many wait. asks is the same as before if nothing was asked for since.
func (s *Source) Starved() (asks int, starved bool) {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	if s.slots.demand.stopped || !s.open || s.paused || s.asked > 0 || s.inHand > 0 {
		return s.lastAsk, false
	}
	now := time.Now()
	return s.lastAsk, slices.ContainsFunc(s.limits, func(l *limit) bool { return l.room(now) == 0 })
}

// Waiting says how many jobs wait although none was asked for.
func (s *Source) Waiting(backlog uint64) {
	s.slots.update(func(d *demand) {
		if s.open && s.asked == 0 && s.inHand == 0 {
			d.delivered(s, 0, backlog)
		}
	})
}
