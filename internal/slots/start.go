package slots

import (
	"context"
	"slices"
	"time"
)

// startWithin is how long a job in hand may wait for a slot before it is handed back for another
// worker.
const startWithin = time.Second

// Start takes a slot and notes that the handler starts now. If no slot is free, jobs wait for one in
// the order in which they came, for a second at most. Start returns [ErrNoSlot] if that was not
// enough, ctx ends or the slots are closed, and [ErrNoPermit] if the job has no permit.
func (t *Ticket) Start(ctx context.Context) error {
	s := t.source.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.starting) > 0 || s.demand.full() {
		s.awaitSlot(ctx)
		defer s.startNext() // there may be a slot for the next one, too
	}
	switch {
	case ctx.Err() != nil || s.demand.stopped || s.demand.full():
		return ErrNoSlot
	case !t.source.start(t.stamp, time.Now):
		return ErrNoPermit
	}
	s.demand.running++
	t.phase = running
	return nil
}

// awaitSlot waits until it is this job's turn to take a slot, or it has waited for too long. The
// lock, which is held before and after that, is free meanwhile.
func (s *Slots) awaitSlot(ctx context.Context) {
	next := make(chan struct{}, 1)
	s.starting = append(s.starting, next)
	s.startNext()
	s.mu.Unlock()
	timeout := time.NewTimer(startWithin)
	defer timeout.Stop()
	select {
	case <-next:
	case <-timeout.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.starting = slices.DeleteFunc(s.starting, func(c chan struct{}) bool { return c == next })
}

// startNext wakes the job that has waited for a slot longest, if one is free or the slots are
// closed.
func (s *Slots) startNext() {
	if len(s.starting) > 0 && (s.demand.stopped || !s.demand.full()) {
		wake(s.starting[0])
	}
}
