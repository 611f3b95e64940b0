package stages

// note is a function that waits for what was buffered before it.
type note struct {
	after uint64 // How many events have to leave the buffer first, of all it ever held.
	call  func()
}

// AfterBuffer has f called from the goroutine of Run once all that is buffered now has been delivered or discarded: at
// once if nothing is. What is emitted later comes later. A note that waits when Run ends waits, as its events do, for the
// next one. It returns ErrNotRunning if the stage has stopped. GenStage: async_info.
func (o *outlet[T]) AfterBuffer(f func()) error {
	if !o.post(order[T]{kind: orderNote, note: f}) {
		return ErrNotRunning
	}
	return nil
}

func (o *outlet[T]) leaveNote(f func()) {
	o.notes = append(o.notes, note{after: o.buffer.taken + uint64(o.buffer.size), call: f})
	o.readNotes()
}

// untilNote returns how many events may leave the buffer before a note is to be read, n at most.
func (o *outlet[T]) untilNote(n int) int {
	if len(o.notes) == 0 {
		return n
	}
	return int(min(uint64(n), o.notes[0].after-o.buffer.taken))
}

// readNotes calls those whose events have left.
func (o *outlet[T]) readNotes() {
	for len(o.notes) > 0 && o.notes[0].after <= o.buffer.taken {
		f := o.notes[0].call
		o.notes = o.notes[1:]
		f()
	}
}
