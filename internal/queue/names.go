package queue

import (
	"strings"

	"github.com/millhand/millhand/internal/job"
)

// DefaultNamespace is the first token of every subject unless configured.
const DefaultNamespace = "millhand"

// names spells every stream and subject of a namespace. docs/wire.md is the contract.
type names string

func (n names) queueStream(queue string) string { return string(n) + "-queue-" + queue }
func (n names) eventStream() string             { return string(n) + "-events" }
func (n names) deadStream() string              { return string(n) + "-dead" }

// queueSubjects are what a queue's stream stores: exactly these, never
// "NS.<queue>.>", which would acknowledge jobs that no consumer can ever see.
func (n names) queueSubjects(queue string) []string {
	q := n.join(queue)
	return []string{q + ".ready.*.*", q + ".later.*.*", n.pin(queue)}
}

// pin is the subject of the message that stays at the head of a queue's stream.
// With a job there instead, the broker scans every waiting subject per delivery.
func (n names) pin(queue string) string { return n.join(queue, "pin") }

func (n names) ready(queue, typ, id string) string { return n.join(queue, "ready", typ, id) }
func (n names) later(queue, typ, id string) string { return n.join(queue, "later", typ, id) }

// check covers whatever message an id has, scheduled or ready. Every conditional
// write uses this very string: R3 streams compare it when writes are in flight.
func (n names) check(queue, typ, id string) string { return n.join(queue, "*", typ, id) }

// readyOf is the filter of the one consumer of a type.
func (n names) readyOf(queue, typ string) string { return n.join(queue, "ready", typ, "*") }

func (n names) event(queue, typ, id string) string { return n.join("event", queue, typ, id) }
func (n names) dead(queue, typ, id string) string  { return n.join("dead", queue, typ, id) }

func (n names) join(tokens ...string) string {
	var buf [256]byte
	b := append(buf[:0], n...)
	for _, t := range tokens {
		b = append(append(b, '.'), t...)
	}
	return string(b)
}

// place reads queue, type and id from a subject of a queue's stream.
func (n names) place(subject string) (r job.Record, ok bool) {
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

// cut removes the namespace.
func (n names) cut(subject string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(subject, string(n))
	if !ok {
		return "", false
	}
	return strings.CutPrefix(rest, ".")
}

// eventPlace reads them from the subject of an event.
func (n names) eventPlace(subject string) (r job.Record, ok bool) {
	rest, ok := strings.CutPrefix(subject, string(n)+".event.")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 3 {
		return job.Record{}, false
	}
	return job.Record{Queue: t[0], Type: t[1], ID: t[2]}, true
}

// Headers of the broker and of events.
const (
	headerExpectedSeq   = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedOn    = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerMsgID         = "Nats-Msg-Id"
	headerSchedule      = "Nats-Schedule"
	headerTarget        = "Nats-Schedule-Target"
	headerStatus        = "Status"
	headerDescription   = "Description"
	headerPendingMsgs   = "Nats-Pending-Messages"
	headerEvent         = "Millhand-Event"
	headerReason        = "Millhand-Reason"
	headerErrors        = "Millhand-Errors"
	headerErrorsOmitted = "Millhand-Errors-Omitted"
)
