package verify

import (
	"time"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// A Ledger is what is known of lives from their events, which are added in order. It is pure, and
// keeps a line for each life that ended.
type Ledger struct {
	Events, Of int64 // that it was told, and that there are
	Ends       int64 // of them
	After      []Spoken
	Above      []Spoken // above the attempts or crashes that there may be
	Deaths     []Death
	Starts     map[string][]Start    // under a rate, by pool
	Clocks     map[string]*ClockSpan // by worker

	ends  map[life]*End
	rates []pool
}

type life struct{ queue, typ, id, life string }

// A Spoken is an event that should not be, with the one that ended its life.
type Spoken struct {
	Queue, Type, ID, Life string
	Event                 string
	Seq                   uint64
	Attempt, Crashes      int
	End                   *End `json:",omitempty"`
}

// A Death is an event of a job that died.
type Death struct {
	Queue, Type, ID, Life string
	Seq                   uint64
	At                    time.Time // when it was stored
}

// A Start is when a job started, by its worker's clock.
type Start struct {
	At  time.Time
	Seq uint64 // of the event that says so
}

// A ClockSpan is how far a worker's clock was ahead of the broker's when it wrote events. An event that
// is stored late makes a clock look behind, so it is at least Most ahead.
type ClockSpan struct {
	Events int
	Most   time.Duration
}

func newLedger(s *view.Snapshot) *Ledger {
	l := &Ledger{Starts: make(map[string][]Start), Clocks: make(map[string]*ClockSpan), ends: make(map[life]*End)}
	for _, p := range poolsOf(s) {
		if p.Rate {
			l.rates = append(l.rates, p)
		}
	}
	return l
}

// Add adds an event that was stored at a time.
func (l *Ledger) Add(e queue.JobEvent, stored time.Time) {
	l.Events++
	if e.Life == "" || e.Kind.State() == "" { // nobody's of ours
		return
	}
	l.addEnd(&e, stored)
	if e.Crashes > maxCrashes {
		l.Above = append(l.Above, spoken(&e, nil))
	}
	l.addClock(&e, stored)
	if e.StartedAt.IsZero() {
		return
	}
	for _, p := range l.rates {
		if p.covers(e.Queue, e.Type) && e.StartedAt.After(p.since()) {
			l.Starts[p.Name] = append(l.Starts[p.Name], Start{At: e.StartedAt, Seq: e.Sequence})
		}
	}
}

func (l *Ledger) addEnd(e *queue.JobEvent, stored time.Time) {
	k := life{e.Queue, e.Type, e.ID, e.Life}
	if end := l.ends[k]; end != nil && len(l.After) < maxFindings {
		l.After = append(l.After, spoken(e, end))
		return
	}
	if !e.Kind.Final() {
		return
	}
	l.Ends++
	l.ends[k] = &End{Kind: e.Kind, Seq: e.Sequence, At: stored}
	if e.Kind == eventDead {
		l.Deaths = append(l.Deaths, Death{Queue: e.Queue, Type: e.Type, ID: e.ID, Life: e.Life, Seq: e.Sequence, At: stored})
	}
}

func (l *Ledger) addClock(e *queue.JobEvent, stored time.Time) {
	if e.Node == "" || e.Time.IsZero() || stored.IsZero() {
		return
	}
	ahead := e.Time.Sub(stored)
	c := l.Clocks[e.Node]
	if c == nil {
		c = &ClockSpan{Most: ahead}
		l.Clocks[e.Node] = c
	}
	c.Events, c.Most = c.Events+1, max(c.Most, ahead)
}

func spoken(e *queue.JobEvent, end *End) Spoken {
	return Spoken{Queue: e.Queue, Type: e.Type, ID: e.ID, Life: e.Life, Event: string(e.Kind), Seq: e.Sequence, Attempt: e.Attempt, Crashes: e.Crashes, End: end}
}
