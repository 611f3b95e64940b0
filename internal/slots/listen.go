package slots

import "time"

const (
	// maxReserved is how many standing requests are left for types that are called, whose jobs
	// somebody has just put into a queue, while somebody listens.
	maxReserved = 2
	// maxReminders is how many jobs that were put off a worker remembers.
	maxReminders = 1024
)

// Listens reports whether somebody should listen for jobs that are put into the queues, and
// [Slots.Call] their types: slots are free, and there are more types than requests may stand.
func (s *Slots) Listens() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listening
}

// ListenChanges is sent to when [Slots.Listens] may have changed.
func (s *Slots) ListenChanges() <-chan struct{} {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeListeners = append(s.wakeListeners, c)
	return c
}

// Listening says whether somebody listens. Then some standing requests are left for the types that
// are called.
func (s *Slots) Listening(on bool) {
	s.update(func(d *demand) {
		d.reserved = 0
		if on {
			d.reserved = maxReserved
		}
	})
}

// Call says that a job of a type was put into a queue. The type is asked at once, instead of in its
// turn.
func (s *Slots) Call(queue, typ string) {
	s.mu.Lock()
	source := s.sources[place{queue, typ}]
	s.mu.Unlock()
	if source != nil {
		s.update(func(d *demand) { d.call(source) })
	}
}

// Remind calls the type of a job that is put off when the job is due.
func (t *Ticket) Remind(delay time.Duration) {
	s := t.source.slots
	s.mu.Lock()
	few := len(s.sources) <= 1+maxStanding // their requests stand all the time
	s.mu.Unlock()
	if few {
		return
	}
	if s.reminders.Add(1) > maxReminders {
		s.reminders.Add(-1)
		return
	}
	time.AfterFunc(delay, func() {
		s.reminders.Add(-1)
		s.Call(t.source.queue, t.source.typ)
	})
}
