package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notify returns the signals that stop the command. A log whose reader went away, as that of
// `worker 2>&1 | head`, does not.
func notify() <-chan os.Signal {
	stop := make(chan os.Signal, 3)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it, which is to last
		signal.Notify(stop, syscall.SIGHUP)
	}
	// Caught, not ignored: commands would inherit that. The write still fails, which costs a
	// line of the log.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return stop
}

// stops counts the signals that ask for a stop. A terminal that closes hangs up more than
// once, by itself and through its shell, so a hang-up asks for no more than the first one does.
type stops struct{ n int }

// next returns which stop sig asks for, from 1, or 0 if it asks for none.
func (s *stops) next(sig os.Signal) int {
	if sig == syscall.SIGHUP && s.n > 0 {
		return 0
	}
	s.n++
	return s.n
}
