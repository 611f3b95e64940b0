package queue

import (
	"slices"
	"strings"
	"testing"

	"github.com/millhand/millhand/internal/job"
)

// The wire's contract, spelled out: a change here breaks publishers in other languages.
func TestNamesOnTheWire(t *testing.T) {
	n := names("millhand")
	p, err := job.PlaceOf("default", "email", "1")
	if err != nil {
		t.Fatal(err)
	}
	q := p.Queue
	for got, want := range map[string]string{
		n.queueStream(q):       "millhand-queue-default",
		n.eventStream():        "millhand-events",
		n.deadStream():         "millhand-dead",
		n.ready(p):             "millhand.default.ready.email.1",
		n.later(p):             "millhand.default.later.email.1",
		n.check(p):             "millhand.default.*.email.1",
		n.checkType(q, p.Type): "millhand.default.*.email.*",
		n.readyOf(q, p.Type):   "millhand.default.ready.email.*",
		n.pin(q):               "millhand.default.pin",
		n.event(p):             "millhand.event.default.email.1",
		n.dead(p):              "millhand.dead.default.email.1",
		n.once(p):              "millhand.default.once.email.1",
		n.cron(q, p.Type):      "millhand.default.cron.email",
		n.spent(q):             "millhand.default.spent",
		n.allEvents():          "millhand.event.*.*.*",
		n.allDead():            "millhand.dead.*.*.*",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	want := []string{"millhand.default.ready.*.*", "millhand.default.later.*.*", "millhand.default.pin"}
	if got := n.queueSubjects(q); !slices.Equal(got, want) {
		t.Errorf("queueSubjects = %q, want %q", got, want)
	}
	want = []string{"millhand.default.once.*.*", "millhand.default.cron.*", "millhand.default.spent"}
	if got := n.addedSubjects(q); !slices.Equal(got, want) {
		t.Errorf("addedSubjects = %q, want %q", got, want)
	}
}

func TestHoldsAreToldFromJobs(t *testing.T) {
	n := names("ns")
	for subject, want := range map[string]bool{
		"ns.q.once.t.id": true, "ns.q.ready.t.id": false, "ns.q.later.t.id": false, "ns.q.ready.once.once": false,
		"ns.q.spent": false, "ns.once.ready.t.id": false, "other.q.once.t.id": false, "": false,
	} {
		if got := n.isHold(subject); got != want {
			t.Errorf("isHold(%q) = %t", subject, got)
		}
	}
}

func TestPlace(t *testing.T) {
	n := names("ns")
	tests := []struct {
		subject string
		want    string // queue/type/id, empty: none
		event   bool
	}{
		{"ns.q.ready.t.id", "q/t/id", false},
		{"ns.q.later.t.id", "q/t/id", false},
		{"ns.q.pin", "", false},
		{"ns.q.ready.t.a.b", "", false},
		{"ns.q.ready.t", "", false},
		{"ns.q.taken.t.id", "", false},
		{"nsx.q.ready.t.id", "", false},
		{"other.q.ready.t.id", "", false},
		{"", "", false},
		{"ns.event.q.t.id", "q/t/id", true},
		{"ns.event.q.t", "", true},
		{"ns.event.q.t.id.x", "", true},
		{"ns.dead.q.t.id", "", true},
	}
	for _, tt := range tests {
		read := n.parseJobSubject
		if tt.event {
			read = n.parseEventSubject
		}
		r, ok := read(tt.subject)
		got := strings.Join([]string{r.Queue, r.Type, r.ID}, "/")
		if ok != (tt.want != "") || (ok && got != tt.want) {
			t.Errorf("place of %q = %s, %t, want %q", tt.subject, got, ok, tt.want)
		}
	}
}

// No queue can be named so that its subjects are another stream's.
func TestSubjectsOfStreamsDoNotOverlap(t *testing.T) {
	for _, reserved := range []string{"event", "dead", "control", "stats", "state", "workflow", "ready", "later", "pin", "once", "cron", "spent"} {
		if job.CheckQueue(reserved) == nil {
			t.Errorf("%s may be a queue: its subjects are those of another stream", reserved)
		}
	}
}
