package slots

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Slots are what a worker can do at once, shared among the types that it pulls. They are safe
// for concurrent use.
type Slots struct {
	mu      sync.Mutex
	demand  demand
	sources map[place]*Source
	limits  map[Key]*limit
	keys    map[string]string // type to key
	paused  map[place]bool    // queues, which have no type, and types of queues
	idling  bool              // as if all queues were paused

	idle    chan struct{} // closed when nothing is in hand or asked for, and nothing will be
	alarm   *time.Timer   // for what becomes possible by itself; nil until that is needed
	overrun overrun

	starting []chan struct{} // jobs in hand that wait for a slot, who came first first

	shut     bool          // nothing can come, as far as it was told
	wakeShut chan struct{} // that has changed; only of slots that are exact

	wakeWatch     chan struct{} // there are limits
	wakeListeners []chan struct{}
	listening     bool // somebody is to listen for jobs
	reminders     atomic.Int64
}

// place is where a source stands.
type place struct{ queue, typ string }

// New returns this many slots.
func New(concurrency int, order Order) *Slots {
	return &Slots{
		demand:  demand{concurrency: concurrency, order: order, budget: newBudget()},
		sources: make(map[place]*Source), limits: make(map[Key]*limit),
		keys: make(map[string]string), paused: make(map[place]bool),
		idle: make(chan struct{}), wakeWatch: make(chan struct{}, 1),
	}
}

// Close ends all asking and starting. What was asked for may still come.
func (s *Slots) Close() {
	s.update(func(d *demand) {
		d.stopped = true
		s.startNext()
	})
}

// Exactly has no jobs asked for before there are slots for them, however short they are. It is said before
// sources are added.
func (s *Slots) Exactly() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand.exact = true
	s.wakeShut = make(chan struct{}, 1)
}

// Shut reports whether no job can come although there are slots for some: limits, pauses or the broker
// keep them back. The channel is sent to when that has changed, of slots that are exact.
func (s *Slots) Shut() (shut bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shut, s.wakeShut
}

// Resize changes how many slots there are. What is in hand is not touched.
func (s *Slots) Resize(concurrency int) {
	s.update(func(d *demand) {
		d.concurrency = concurrency
		s.startNext()
	})
}

// Closed reports whether asking has ended.
func (s *Slots) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.demand.stopped
}

// Idle is closed once the slots are closed, nothing that was asked for can come any more,
// and the last job has left the hand.
func (s *Slots) Idle() <-chan struct{} { return s.idle }

// InHand returns how many jobs are delivered and not finished.
func (s *Slots) InHand() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.demand.inHand
}

// Taken returns how many slots the jobs in hand take.
func (s *Slots) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.demand.occupied()
}

// Free returns how many more jobs of a queue could be in hand, by the slots and by the queue's own cap,
// whatever the limits that all nodes share.
func (s *Slots) Free(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.demand.stopped {
		return 0
	}
	free := s.demand.freeSlots()
	if l, capped := s.limits[Key{Kind: ofQueueHere, Name: queue}]; capped {
		free = min(free, max(0, l.permits-l.running()))
	}
	return free
}

// Types returns the types that are pulled from a queue, sorted.
func (s *Slots) Types(queue string) (types []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.sources {
		if at.queue == queue {
			types = append(types, at.typ)
		}
	}
	slices.Sort(types)
	return types
}

// Pause stops the asking for jobs of a queue or, with a type, for those of the type in the queue, or
// resumes it. What is paused in both ways has to be resumed in both. While it is paused, jobs that still
// come or have not started are handed back, and running jobs finish.
func (s *Slots) Pause(queue, typ string, paused bool) {
	s.update(func(d *demand) {
		s.paused[place{queue, typ}] = paused
		for _, source := range d.sources {
			source.paused = s.isPaused(source.queue, source.typ)
		}
	})
}

// Suspend is [Slots.Pause] of all queues, beside their own pauses.
func (s *Slots) Suspend(on bool) {
	s.update(func(d *demand) {
		s.idling = on
		for _, source := range d.sources {
			source.paused = s.isPaused(source.queue, source.typ)
		}
	})
}

// Suspended reports whether nothing is taken by [Slots.Suspend].
func (s *Slots) Suspended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idling
}

func (s *Slots) isPaused(queue, typ string) bool {
	return s.idling || s.paused[place{queue, ""}] || s.paused[place{queue, typ}]
}

// Hold stops the asking for jobs of all queues or of these, and resumes it for the others. What was
// asked for may still come, and may start.
func (s *Slots) Hold(all bool, queues ...string) {
	s.update(func(d *demand) {
		d.held = all
		for _, source := range d.sources {
			source.held = slices.Contains(queues, source.queue)
		}
	})
}

// update applies a change and asks for what it makes possible. Sources are asked with the lock
// held, so that an ask cannot overtake the end of its subscription and count for the next one.
func (s *Slots) update(change func(*demand)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.demand)
	asks, again := s.demand.plan(time.Now)
	for _, a := range asks {
		a.source.unsent = true
		a.source.ask(a.n)
	}
	s.demand.tellHungry()
	if !again.IsZero() {
		s.updateAt(again)
	}
	if listen := s.demand.needsCalls(); listen != s.listening {
		s.listening = listen
		for _, c := range s.wakeListeners {
			wake(c)
		}
	}
	if shut := s.demand.shut(); shut != s.shut {
		s.shut = shut
		wake(s.wakeShut)
	}
	if s.demand.quiet() {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}

// updateAt has a plan made at this time even if nothing happens.
func (s *Slots) updateAt(at time.Time) {
	if s.alarm == nil {
		s.alarm = time.AfterFunc(time.Until(at), func() { s.update(func(*demand) {}) })
		return
	}
	s.alarm.Reset(time.Until(at))
}

// wake tells whoever waits on c, whose capacity is 1, without waiting for it: a wake is never lost,
// and many are one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
