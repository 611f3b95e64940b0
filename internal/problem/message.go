package problem

import (
	"slices"
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// What is noted of problems that somebody was told of.
const (
	tellAgain = 10 * time.Minute // between two notices of the same problem
	noteFor   = time.Hour        // that it is over, if nobody could be told
)

// An Event is what a [Message] tells.
type Event string

// The events.
const (
	Began Event = "began"
	Ended Event = "ended"
)

// A Message tells somebody that a problem began or ended. The names of its fields as JSON are a contract.
type Message struct {
	Event   Event     `json:"event"`
	At      time.Time `json:"at"`                // of the look that saw it, by the broker's clock
	EndedAt time.Time `json:"ended_at,omitzero"` // the first look that did not see it any more
	Problem Problem   `json:"problem"`           // of an ended one the text is what its code means, without an advice
}

// Messages returns what somebody is to be told of the problems that are at least as bad as a level, and
// notes in the signs that they are. Each begin and each end is told once, and of one problem nothing within
// ten minutes of the last notice: one that comes and goes is told as what it then is.
func (r *Report) Messages(least Level) []Message {
	var notices []Message
	for i := range r.Signs {
		if n, ok := r.notice(&r.Signs[i], least); ok {
			r.Signs[i].Told, r.Signs[i].ToldEnd = r.At.UTC(), n.Event == Ended
			notices = append(notices, n)
		}
	}
	return notices
}

func (r *Report) notice(s *tally.Sign, least Level) (Message, bool) {
	if !s.Told.IsZero() && r.At.Sub(s.Told) < tellAgain {
		return Message{}, false
	}
	told := !s.Told.IsZero() && !s.ToldEnd // that it is there
	if s.Problem && s.Gone.IsZero() && !told {
		i := slices.IndexFunc(r.Problems, func(p Problem) bool { return string(p.Code) == s.Code && p.Subject == s.Subject })
		if i >= 0 && slices.Index(Levels(), r.Problems[i].Level) <= slices.Index(Levels(), least) {
			return Message{Event: Began, At: r.At.UTC(), Problem: r.Problems[i]}, true
		}
	}
	if !s.Problem && told {
		k := kindOf(Code(s.Code))
		return Message{Event: Ended, At: r.At.UTC(), EndedAt: orAt(s.Gone, r.At), Problem: Problem{
			ID: k.ID, Code: k.Code, Level: k.Level, Subject: s.Subject, Since: s.Since, Text: k.Means,
		}}, true
	}
	return Message{}, false
}

// isToBeNoted reports whether a sign of the last look that this one did not see is to be noted all the
// same, and notes since when it is gone: until its end is told, and until another notice may follow that.
// One that could not be looked for is as it was.
func (d *decision) isToBeNoted(s *tally.Sign) bool {
	if s.Told.IsZero() {
		return false
	}
	if d.isUnknown(Code(s.Code)) {
		return true
	}
	s.Problem, s.Gone = false, orAt(s.Gone, d.at())
	if s.ToldEnd {
		return d.at().Sub(s.Told) < tellAgain
	}
	return d.at().Sub(s.Gone) < noteFor
}
