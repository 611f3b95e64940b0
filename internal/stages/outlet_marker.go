package stages

// marker is a function that waits for what was buffered before it.
type marker struct {
	after uint64 // how many events have to leave the buffer first, of all it ever held
	call  func()
}

// AfterBuffer has f called from the goroutine of Run once all that is buffered now has been
// delivered or discarded: at once if nothing is. What is emitted later comes later. A marker that
// waits when Run ends waits, as its events do, for the next one. It returns ErrNotRunning if the
// stage has stopped. GenStage: async_info.
func (o *outlet[T]) AfterBuffer(f func()) error {
	if !o.post(request[T]{kind: requestMark, call: f}) {
		return ErrNotRunning
	}
	return nil
}

func (o *outlet[T]) mark(f func()) {
	o.markers = append(o.markers, marker{after: o.buffer.taken + uint64(o.buffer.size), call: f})
	o.callMarkers()
}

// untilMarker returns how many events may leave the buffer before a marker is to be read, n at
// most.
func (o *outlet[T]) untilMarker(n int) int {
	if len(o.markers) == 0 {
		return n
	}
	return int(min(uint64(n), o.markers[0].after-o.buffer.taken))
}

// callMarkers calls those whose events have left.
func (o *outlet[T]) callMarkers() {
	for len(o.markers) > 0 && o.markers[0].after <= o.buffer.taken {
		f := o.markers[0].call
		o.markers = o.markers[1:]
		f()
	}
}
