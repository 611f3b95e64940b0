package queue

import (
	"cmp"
	"strings"

	"github.com/millhand/millhand/internal/job"
)

// names spells every stream and subject of a namespace, of checked names only: a foreign
// one may be a wildcard, which means all jobs, or so long that the broker ends the
// connection. docs/wire.md is the contract.
type names string

func (n names) queueStream(queue job.Name) string { return string(n) + "-queue-" + queue.String() }
func (n names) eventStream() string               { return string(n) + "-events" }
func (n names) deadStream() string                { return string(n) + "-dead" }

// queueSubjects are what a queue's stream stores: exactly these and the additions, never
// "NS.<queue>.>", which would acknowledge jobs that no consumer can ever see.
func (n names) queueSubjects(queue job.Name) []string {
	return []string{n.allReady(queue), n.allLater(queue), n.pin(queue)}
}

// addedSubjects are those that earlier versions did not know. No consumer covers any of them.
func (n names) addedSubjects(queue job.Name) []string {
	return []string{n.allOnce(queue), n.allCron(queue), n.spent(queue)}
}

// pin is the subject of the message that stays at the head of a queue's stream.
// With a job there instead, the broker scans every waiting subject per delivery.
func (n names) pin(queue job.Name) string { return n.join(queue.String(), "pin") }

func (n names) ready(p job.Place) string { return n.of(p, p.Queue.String(), "ready") }
func (n names) later(p job.Place) string { return n.of(p, p.Queue.String(), "later") }

// once is where a hold keeps an id taken after its job has ended.
func (n names) once(p job.Place) string { return n.of(p, p.Queue.String(), "once") }

// spent is where holds go when their time comes.
func (n names) spent(queue job.Name) string { return n.join(queue.String(), "spent") }

// cron is where a queue keeps how far an entry of cron has come.
func (n names) cron(queue, entry job.Name) string {
	return n.join(queue.String(), "cron", entry.String())
}

// cronHints is where workers tell each other what of cron they published.
func (n names) cronHints() string { return n.join("control", "cron") }

// check covers whatever message an id has: scheduled, ready or a hold. Every conditional
// write uses this very string: R3 streams compare it when writes are in flight.
func (n names) check(p job.Place) string { return n.of(p, p.Queue.String(), "*") }

// alive are the subjects that the message of a living job may have.
func (n names) alive(p job.Place) []string { return []string{n.ready(p), n.later(p)} }

// eventsOf covers the events of all jobs of a job's type.
func (n names) eventsOf(p job.Place) string {
	return n.join("event", p.Queue.String(), p.Type.String(), "*")
}

func (n names) event(p job.Place) string { return n.of(p, "event", p.Queue.String()) }

// progress is where the progress of a run is told, to whoever listens.
func (n names) progress(p job.Place) string {
	return n.join("control", "progress", p.Queue.String(), p.Type.String(), p.ID.String())
}

func (n names) dead(p job.Place) string { return n.of(p, "dead", p.Queue.String()) }

func (n names) of(p job.Place, first, second string) string {
	return n.join(first, second, p.Type.String(), p.ID.String())
}

// checkType is check for all ids of a type.
func (n names) checkType(queue, typ job.Name) string {
	return n.join(queue.String(), "*", typ.String(), "*")
}

// readyOf is the filter of the one consumer of a type.
func (n names) readyOf(queue, typ job.Name) string {
	return n.join(queue.String(), "ready", typ.String(), "*")
}

// laterOf covers the jobs of a type that wait for their time.
func (n names) laterOf(queue, typ job.Name) string {
	return n.join(queue.String(), "later", typ.String(), "*")
}

func (n names) allReady(queue job.Name) string { return n.join(queue.String(), "ready", "*", "*") }
func (n names) allLater(queue job.Name) string { return n.join(queue.String(), "later", "*", "*") }
func (n names) allOnce(queue job.Name) string  { return n.join(queue.String(), "once", "*", "*") }
func (n names) allCron(queue job.Name) string  { return n.join(queue.String(), "cron", "*") }
func (n names) allEvents() string              { return n.join("event", "*", "*", "*") }
func (n names) allDead() string                { return n.join("dead", "*", "*", "*") }

func (n names) join(tokens ...string) string {
	var buf [384]byte // the longest checked ones fit
	b := append(buf[:0], n...)
	for _, t := range tokens {
		b = append(append(b, '.'), t...)
	}
	return string(b)
}

// parseJobSubject reads queue, type and id from a subject of a queue's stream, unchecked.
func (n names) parseJobSubject(subject string) (r job.Record, ok bool) {
	rest, ok := n.cut(subject)
	if !ok || strings.Count(rest, ".") != 3 {
		return job.Record{}, false
	}
	var kind string
	r.Queue, rest, _ = strings.Cut(rest, ".")
	kind, rest, _ = strings.Cut(rest, ".")
	r.Type, r.ID, _ = strings.Cut(rest, ".")
	if kind != "ready" && kind != "later" {
		return job.Record{}, false
	}
	return r, true
}

// placeOf returns the place of what is covered by the check of an id, none for any other subject.
func (n names) placeOf(subject string) job.Place {
	rest, _ := n.cut(subject)
	t := strings.Split(rest, ".")
	if len(t) != 4 {
		return job.Place{}
	}
	p, err := job.PlaceOf(t[0], t[2], t[3])
	if err != nil {
		return job.Place{}
	}
	return p
}

// isHold tells the hold of an id from its jobs, by the third token of a subject that its check
// covers.
func (n names) isHold(subject string) bool { return n.kindOf(subject) == "once" }

// isReady reports whether a subject of a queue is that of a job that is ready or runs.
func (n names) isReady(subject string) bool { return n.kindOf(subject) == "ready" }

// kindOf is the third token of a subject.
func (n names) kindOf(subject string) string {
	rest, _ := n.cut(subject)
	_, rest, _ = strings.Cut(rest, ".")
	kind, _, _ := strings.Cut(rest, ".")
	return kind
}

// cut removes the namespace.
func (n names) cut(subject string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(subject, string(n))
	if !ok {
		return "", false
	}
	return strings.CutPrefix(rest, ".")
}

// deadOf covers the dead jobs that have the names of f.
func (n names) deadOf(f DeadFilter) string {
	return n.join("dead", cmp.Or(f.Queue, "*"), cmp.Or(f.Type, "*"), cmp.Or(f.ID, "*"))
}

// parseDeadSubject reads queue, type and id from the subject of a dead job, unchecked.
func (n names) parseDeadSubject(subject string) (r job.Record, ok bool) {
	return n.parseRecordSubject(subject, "dead")
}

// parseEventSubject reads them from the subject of an event.
func (n names) parseEventSubject(subject string) (r job.Record, ok bool) {
	return n.parseRecordSubject(subject, "event")
}

func (n names) parseRecordSubject(subject, kind string) (r job.Record, ok bool) {
	rest, ok := strings.CutPrefix(subject, n.join(kind)+".")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 3 {
		return job.Record{}, false
	}
	return job.Record{Queue: t[0], Type: t[1], ID: t[2]}, true
}

// Headers of events and dead records.
const (
	headerEvent         = "Millhand-Event"
	headerReason        = "Millhand-Reason"
	headerErrors        = "Millhand-Errors"
	headerErrorsOmitted = "Millhand-Errors-Omitted"
	headerSubject       = "Millhand-Subject"
	// headerPayloadOmitted is how many bytes a dead record lacks since they do not fit.
	headerPayloadOmitted = "Millhand-Payload-Omitted"
)
