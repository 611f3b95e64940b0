package slots

import "slices"

// deaf reports whether there are more types than requests may stand though slots are free, so
// that a job may wait long for its type's turn unless that is called.
func (d *demand) deaf() bool {
	return d.free() > 0 && !d.stopped && len(d.sources) > d.room()
}

// call has s asked before its turn: a job is about to come. Its request stands, since the word of
// a job overtakes the job; if one stands already, which may end just before, it is asked once more
// unless that brings the job.
func (d *demand) call(s *Source) {
	if !s.called && s.open && s.backlog == 0 {
		s.called = true
		d.calls = append(d.calls, s)
	}
}

// planCalls has those asked that were called, in that order, and returns how much of room it left.
func (d *demand) planCalls(room, floor int) int {
	if len(d.calls) == 0 {
		return room
	}
	d.calls = slices.DeleteFunc(d.calls, func(s *Source) bool {
		switch {
		case !s.called:
			return true // a job has come
		case s.asked > 0:
			return false
		case !s.standable(floor):
			s.called = false
			return true
		case room <= 0 || d.purse.take(1, s.size, inSlots) == 0:
			return false
		}
		room--
		s.cover(1)
		d.grant(s, 1)
		s.brief, s.called = true, false
		return true
	})
	return room
}

// standable reports whether a request that stands may be sent to s, where nothing may be
// asked of those lighter than floor.
func (s *Source) standable(floor int) bool {
	return s.backlog == 0 && s.askable() && s.weight >= floor && !s.contested()
}
