package autoscale

import (
	"strings"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// Window is of how much time the rates and the time of a run are a mean.
const Window = 10 * time.Minute

// unknownRun is how long a run takes of which nothing is known.
const unknownRun = time.Second

// Facts are what a decision is made of.
type Facts struct {
	At     time.Time
	Loads  []Load
	Limits []Limit

	// Unclaimed are the queues with ready jobs of types that no worker has ever served.
	Unclaimed []string

	unknown []unknown
}

// A Load is what there is to do of a type in a queue.
type Load struct {
	Queue, Type string
	Key         string // whose limits it shares; empty: nobody's

	Ready   int64   // not handed out to a worker
	Running int64   // what has a slot now
	Due     float64 // jobs that become ready in a second
	Paused  bool    // the queue, or the type in it
	Served  bool    // by a worker that takes more

	Runs    uint64        // that ended lately
	RunTime time.Duration // of all of these together; 0: nothing is known
}

// A Limit is what all workers together may run at once, or start in a period.
type Limit struct {
	slots.Key
	Jobs int
	Per  time.Duration // of a rate
}

// unknown is something that could not be read.
type unknown struct {
	what       string
	queue, typ string // whose; empty: of all
}

// FactsOf takes over what a snapshot and the statistics of the last [Window], by pair, say. Without
// statistics, which are nil then, a run takes a second and no jobs come.
func FactsOf(s *view.Snapshot, history *tally.Series) *Facts {
	f := &Facts{At: s.At}
	for _, m := range s.Missing {
		if m.Queue != "" || m.What == view.MissingRegistry { // nothing hangs on the others
			f.unknown = append(f.unknown, unknown{what: m.What + ": " + m.Why, queue: m.Queue})
		}
	}
	for i := range s.Queues {
		q := &s.Queues[i]
		if q.Unclaimed.Known() && q.Unclaimed.Value > 0 && q.Paused == nil {
			f.Unclaimed = append(f.Unclaimed, q.Name)
		}
		for j := range q.Types {
			f.add(q, &q.Types[j])
		}
	}
	for _, p := range s.Pools {
		l := Limit{Key: slots.Key{Rate: p.Rate, Kind: p.Kind, Name: strings.TrimPrefix(p.Name, p.Kind+"=")}, Jobs: p.Limit}
		l.Per, _ = time.ParseDuration(p.Per) // it was written by one
		f.Limits = append(f.Limits, l)
	}
	if history != nil {
		f.addHistory(history)
	}
	return f
}

func (f *Facts) add(q *view.Queue, t *view.Type) {
	if t.Consumer && !t.Ready.Known() {
		f.unknown = append(f.unknown, unknown{what: "ready jobs of " + q.Name + "/" + t.Name, queue: q.Name, typ: t.Name})
	}
	f.Loads = append(f.Loads, Load{
		Queue: q.Name, Type: t.Name, Key: t.Key, Ready: t.Ready.Value, Running: t.Running.Value,
		Paused: q.Paused != nil || t.Paused != nil, Served: t.Workers > 0,
	})
}

// addHistory adds how many jobs came, and how long they ran.
func (f *Facts) addHistory(s *tally.Series) {
	lines := make(map[tally.Pair]*tally.Line, len(s.Lines))
	for _, l := range s.Lines {
		lines[l.Pair] = l
	}
	for i := range f.Loads {
		l := &f.Loads[i]
		line := lines[tally.Pair{Queue: l.Queue, Type: l.Type}]
		if line == nil {
			continue
		}
		run := line.Total.Histogram(tally.Run)
		l.Runs, l.RunTime = run.Count(), run.Sum()
		if l.Runs == 0 && l.Running > 0 { // they take longer than that; how long at least is known
			l.Runs, l.RunTime = uint64(l.Running), line.Total.Busy() //nolint:gosec // it is not negative
		}
		l.Due = f.due(s, line, l)
	}
}

// due is how many jobs of a load became ready in a second: those that started, and by how many more are
// ready now than when the workers first looked. It is 0 until that is a while ago.
func (f *Facts) due(s *tally.Series, line *tally.Line, l *Load) float64 {
	first, before := -1, 0.0
	for i, b := range s.Backlog {
		if b == nil || b.Samples == 0 {
			continue
		}
		first = i
		if q := b.Queues[l.Queue]; q != nil && q.Types[l.Type] != nil {
			before = q.Types[l.Type].Ready.Mean(b.Samples)
		}
		break
	}
	if first < 0 {
		return 0 // what started may have come long ago
	}
	elapsed := f.At.Sub(s.At(first + 1)).Seconds() // they look at the end of a step
	if elapsed < s.Step.Seconds()/2 {
		return 0 // too short a time to say
	}
	came := float64(l.Ready) - before
	for _, p := range line.Points[first+1:] {
		if p.Counts != nil {
			came += float64(p.N[tally.Started])
		}
	}
	return max(came, 0) / elapsed
}
