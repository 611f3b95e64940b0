package slots

import (
	"context"
	"slices"
	"time"
)

// A call runs many jobs at once, in one slot.
type call struct {
	left  int // jobs that have started and not finished
	stuck int // of those that have, how many run on
}

// Batch has up to size jobs of s run together, in a call that takes one slot. A job that waits for
// others to run with takes none, but as many as make a call have one kept for them. It is to be said
// before s is opened. The channel is sent to when [Source.Hungry] may have become true.
func (s *Source) Batch(size int) (hungry <-chan struct{}) {
	c := make(chan struct{}, 1)
	s.slots.update(func(d *demand) {
		s.per, s.hungry = size, c
		d.batched = append(d.batched, s)
	})
	return c
}

// Hungry returns how many jobs of s are in hand and have not started, and whether they wait for others
// in vain: no more are on their way and none can be asked for, though a call of these could start.
func (s *Source) Hungry() (gathered int, hungry bool) {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	return s.gathered(), s.slots.demand.starves(s)
}

// starves is [Source.Hungry] by the latest plan.
func (d *demand) starves(s *Source) bool {
	switch {
	case s.gathered() == 0 || s.asked > 0:
		return false
	case d.stopped || s.paused:
		return true
	}
	return !d.full() && !s.callsFull() && (d.held || !s.open || d.planner.blocked(s))
}

// callsFull reports whether so many calls of s run as may run at once.
func (s *Source) callsFull() bool {
	return slices.ContainsFunc(s.limits, func(l *limit) bool { return l.ofCalls(s) && l.full(time.Time{}) }) // none is a rate
}

// tellHungry wakes whoever gathers jobs that wait in vain.
func (d *demand) tellHungry() {
	for _, s := range d.batched {
		if d.starves(s) {
			wake(s.hungry)
		}
	}
}

// gathered is how many jobs are in hand and have not started.
func (s *Source) gathered() int { return s.inHand - s.started }

// taken is how many slots the jobs in hand take.
func (s *Source) taken() int {
	if s.per == 1 {
		return s.inHand
	}
	return s.calls + s.gathered()/s.per
}

// needs is how many slots as many jobs need beside those that the jobs in hand take. The first ones
// join those that wait for a call.
func (s *Source) needs(jobs int) int {
	if s.per == 1 || jobs == 0 {
		return jobs
	}
	return (s.gathered()%s.per + jobs + s.per - 1) / s.per
}

// fills is how many jobs go into this many more slots when this many are on their way.
func (s *Source) fills(slots, coming int) int {
	return (s.needs(coming)+slots)*s.per - s.gathered()%s.per - coming
}

// occupied is how many slots the jobs in hand take.
func (d *demand) occupied() int {
	n := d.inHand
	for _, s := range d.batched {
		n += s.taken() - s.inHand
	}
	return n
}

// StartTogether is [Ticket.Start] for jobs of one source that run in one call, and says which of them
// start. The error says why none does. When the slots are closed, what is in hand still starts if a
// slot is free.
func StartTogether(ctx context.Context, jobs []*Ticket) (started []bool, err error) {
	source := jobs[0].source
	s := source.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.starting) > 0 || s.demand.full() {
		s.awaitSlot(ctx)
		defer s.startNext()
	}
	switch {
	case ctx.Err() != nil || s.demand.full():
		return nil, ErrNoSlot
	case source.callsFull():
		return nil, ErrNoPermit
	}
	c := new(call)
	started = make([]bool, len(jobs))
	for i, t := range jobs {
		if !source.start(t.stamp, time.Now) {
			continue
		}
		t.phase, t.call, started[i] = running, c, true
		c.left++
	}
	if c.left == 0 {
		return nil, ErrNoPermit
	}
	s.demand.running++
	source.calls++
	return started, nil
}

// FinishTogether is [Ticket.Finished] for jobs of one source, whose call took this long. A call's slot
// is free when all its jobs have finished.
func FinishTogether(jobs []*Ticket, ran time.Duration) {
	jobs[0].source.slots.update(func(d *demand) {
		for _, t := range jobs {
			t.finish(d, ran)
		}
	})
}

// leftCall notes that a job of s, whose call took this long, has left it.
func (d *demand) leftCall(s *Source, c *call, ran time.Duration) {
	d.inHand--
	s.inHand--
	s.started--
	if c.left--; c.left > 0 {
		return
	}
	d.running--
	s.calls--
	s.ranFor(ran)
}

// stick notes that a job whose slot was given back runs on.
func (t *Ticket) stick() {
	t.phase = stuck
	t.source.stuck++
	if t.call == nil {
		return
	}
	if t.call.stuck++; t.call.stuck == 1 {
		t.source.stuckCalls++
	}
}

// unstick notes that it has returned.
func (t *Ticket) unstick() {
	t.source.stuck--
	if t.call == nil {
		return
	}
	if t.call.stuck--; t.call.stuck == 0 {
		t.source.stuckCalls--
	}
}

// ofCalls reports whether l counts calls of s, and not its jobs: so does what a queue runs here at once,
// as the slots do.
func (l *limit) ofCalls(s *Source) bool { return s.per > 1 && l.key.Kind == ofQueueHere }
