package queue

import (
	"cmp"
	"strings"

	"github.com/millhand/millhand/internal/job"
)

// A Part is what of a stream is looked at.
type Part struct {
	Stream  string
	Subject string // wildcards allowed
}

// Covers reports whether a subject is of the part.
func (p Part) Covers(subject string) bool {
	want, got := strings.Split(p.Subject, "."), strings.Split(subject, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(got) > i
		case i >= len(got) || token != "*" && token != got[i]:
			return false
		}
	}
	return len(got) == len(want)
}

// AllOf is everything that a stream has.
func (*Store) AllOf(name string) Part { return Part{Stream: name, Subject: ">"} }

// ReadyOf is the jobs of a queue that are ready or run: of a type or, if that is empty, of all.
func (s *Store) ReadyOf(queue job.Name, typ string) Part { return s.part(queue, "ready", typ) }

// LaterOf is the jobs of a queue that wait for their time: of a type or, if that is empty, of all.
func (s *Store) LaterOf(queue job.Name, typ string) Part { return s.part(queue, "later", typ) }

// HoldsOf is the ids of a queue that are kept taken after their jobs have ended.
func (s *Store) HoldsOf(queue job.Name) Part { return s.part(queue, "once", "") }

func (s *Store) part(queue job.Name, kind, typ string) Part {
	return Part{Stream: s.names.queueStream(queue), Subject: s.names.join(queue.String(), kind, cmp.Or(typ, "*"), "*")}
}

// BookkeepingOf is what else a queue's stream has that is no job: how far the entries of schedules have
// come, and the last hold that has ended. The pin is not among it.
func (s *Store) BookkeepingOf(queue job.Name) []Part {
	name := s.names.queueStream(queue)
	return []Part{{Stream: name, Subject: s.names.allCron(queue)}, {Stream: name, Subject: s.names.spent(queue)}}
}

// AllEvents is all events.
func (s *Store) AllEvents() Part { return s.AllOf(s.names.eventStream()) }

// AllDead is the records of all dead jobs.
func (s *Store) AllDead() Part { return s.AllOf(s.names.deadStream()) }

// EventsIn is the events of a queue's jobs.
func (s *Store) EventsIn(queue string) Part {
	return Part{Stream: s.names.eventStream(), Subject: s.names.join("event", queue, "*", "*")}
}

// DeadIn is the records of a queue's dead jobs.
func (s *Store) DeadIn(queue string) Part {
	return Part{Stream: s.names.deadStream(), Subject: s.names.join("dead", queue, "*", "*")}
}
