package supervisor

// Go runs f on a goroutine of its own, and calls ended from there when f has ended, whatever it
// did: with what it returned, a [*PanicError], or [ErrExited]. It is for a part that keeps account
// of its own children; all others have a [Dynamic].
func Go(f func() error, ended func(error)) {
	go func() {
		err := ErrExited
		defer func() {
			if v := recover(); v != nil {
				err = newPanicError(v)
			}
			ended(err)
		}()
		err = f()
	}()
}
