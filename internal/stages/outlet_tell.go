package stages

// Tell has f called from the goroutine of Run with the dispatcher of that Run, which may have changed
// its mind about what waits: f may deliver events that it holds, and change what Waiting returns. f
// must not block, must not keep its arguments, and must not call the stage. What a Tell finds waiting
// is not handed to a later Run; Pause holds it back. It returns ErrNotRunning if the stage has stopped.
func (o *outlet[T]) Tell(f func(Dispatcher[T], Outbox[T])) error {
	if !o.post(request[T]{kind: requestCall, call: func() {
		f(o.dispatcher, o.outbox())
		o.balance()
	}}) {
		return ErrNotRunning
	}
	return nil
}
