package supervisor

import (
	"cmp"
	"slices"
	"time"
)

// Self is a server as its own handler sees it. It may be used by Init and Handle only, on the
// server's goroutine.
type Self[M any] struct {
	continues []M
	timers    []timer[M] // Invariant: by due, then by seq
	seq       uint64
	clock     *time.Timer // fires when the first timer is due; nil until there was one
	timed     bool        // the last message that was not a continue came from a timer: it is the mailbox's turn
}

type timer[M any] struct {
	due time.Time
	seq uint64
	msg M
}

// Continue has msg handled next, before any that waits, and before those of later Continues: for
// work that must follow at once without delaying the start, or the reply to a call.
func (s *Self[M]) Continue(msg M) { s.continues = append(s.continues, msg) }

// After has msg handled once, not before d has passed. A d of zero means: after what has to
// continue, before what waits in the mailbox; but of several timers that are due, and of one that
// is set again whenever it fires, every other turn is the mailbox's, so that neither starves. The
// returned function takes the message back and reports whether there was time for that.
func (s *Self[M]) After(d time.Duration, msg M) (cancel func() bool) {
	t := timer[M]{due: time.Now().Add(d), seq: s.seq, msg: msg}
	s.seq++
	at, _ := slices.BinarySearchFunc(s.timers, t, compareTimers)
	s.timers = slices.Insert(s.timers, at, t)
	return func() bool {
		at, found := slices.BinarySearchFunc(s.timers, t, compareTimers)
		if found {
			s.timers = slices.Delete(s.timers, at, at+1)
		}
		return found
	}
}

func compareTimers[M any](a, b timer[M]) int {
	if c := a.due.Compare(b.due); c != 0 {
		return c
	}
	return cmp.Compare(a.seq, b.seq)
}

// next takes the message that comes before the mailbox, in which something may wait, if there is
// one.
func (s *Self[M]) next(mail bool) (msg M, ok bool) {
	if len(s.continues) > 0 {
		msg, s.continues = s.continues[0], s.continues[1:]
		return msg, true
	}
	if mail && s.timed {
		return msg, false
	}
	if len(s.timers) > 0 && !s.timers[0].due.After(time.Now()) {
		msg = s.timers[0].msg
		s.timers = slices.Delete(s.timers, 0, 1)
		s.timed = true
		return msg, true
	}
	return msg, false
}

// due returns a channel that delivers when the first timer is due, or nil if there is none.
func (s *Self[M]) due() <-chan time.Time {
	if len(s.timers) == 0 {
		return nil
	}
	d := time.Until(s.timers[0].due)
	if s.clock == nil {
		s.clock = time.NewTimer(d)
	} else {
		s.clock.Reset(d)
	}
	return s.clock.C
}
