package answer

import (
	"slices"
	"time"

	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// What is known of when a queue or type has nothing left that is ready.
const (
	EmptyNow     = "empty"    // it has nothing
	EmptyAbout   = "about"    // if it goes on as in the last minutes
	EmptyAtLeast = "at_least" // as much comes as starts, or more: if nothing came any more
	EmptyNever   = "never"    // until somebody does something: it is paused, or nobody serves it
	EmptyUnknown = "unknown"  // nothing was counted, or nothing has started lately
)

// An EmptyIn says in how long what is ready will have started.
type EmptyIn struct {
	How     string `json:"how"`
	Seconds *int64 `json:"seconds,omitempty"` // of about and at_least
}

// A drain is what is known of how the ready jobs of a queue or type become fewer.
type drain struct {
	ready   view.Count
	stuck   bool          // nothing starts that is ready, or not all of it
	started float64       // in a second
	before  float64       // how many were ready a while ago
	ago     time.Duration // how long; 0: that is not known
}

// longestEmpty is up to what it is worth to say how long it takes.
const longestEmpty = 30 * 24 * time.Hour

// emptyIn estimates it.
func (d *drain) emptyIn() EmptyIn {
	within := func(how string, perSecond float64) EmptyIn {
		took := float64(d.ready.Value) / perSecond
		if took > longestEmpty.Seconds() {
			return EmptyIn{How: EmptyUnknown}
		}
		return EmptyIn{How: how, Seconds: new(max(int64(took+0.5), 1))}
	}
	switch {
	case !d.ready.Known():
		return EmptyIn{How: EmptyUnknown}
	case d.ready.Value == 0 && d.ready.How != view.AtLeast:
		return EmptyIn{How: EmptyNow}
	case d.stuck:
		return EmptyIn{How: EmptyNever}
	case d.started == 0:
		return EmptyIn{How: EmptyUnknown}
	case d.ago > 0 && d.before > float64(d.ready.Value):
		return within(EmptyAbout, (d.before-float64(d.ready.Value))/d.ago.Seconds())
	}
	return within(EmptyAtLeast, d.started)
}

// emptyOf is when a queue is empty.
func (r *Rates) emptyOf(snap *view.Snapshot, q *view.Queue) EmptyIn {
	d := drain{ready: ReadyOf(q), stuck: q.Paused != nil || q.Unclaimed.Value > 0}
	for i := range q.Types {
		t := &q.Types[i]
		d.stuck = d.stuck || t.Ready.Value > 0 && (t.Paused != nil || t.Workers == 0)
	}
	r.measure(&d, snap.At, q.Name, "")
	return d.emptyIn()
}

// emptyOfType is when a type has nothing ready in its queue.
func (r *Rates) emptyOfType(snap *view.Snapshot, t *view.Type) EmptyIn {
	d := drain{ready: t.Ready, stuck: t.Paused != nil || t.Workers == 0 || pausedIn(snap, t.Queue)}
	r.measure(&d, snap.At, t.Queue, t.Name)
	return d.emptyIn()
}

// minAgo is how long ago a sample has to be to say where it goes.
const minAgo = 45 * time.Second

// measure adds what the workers have counted, of all types if typ is empty.
func (r *Rates) measure(d *drain, now time.Time, queue, typ string) {
	if r == nil {
		return
	}
	if c := r.counts[tally.Pair{Queue: queue, Type: typ}]; c != nil {
		d.started = float64(c.N[tally.Started]) / r.Over.Seconds()
	}
	if len(r.samples) == 0 || now.Sub(r.samples[0].at) < minAgo { // the oldest
		return
	}
	s := r.samples[0]
	d.ago = now.Sub(s.at)
	if q := s.Queues[queue]; q != nil {
		for name, t := range q.Types {
			if (typ == "" || name == typ) && (r.keep == nil || r.keep(tally.Pair{Queue: queue, Type: name})) {
				d.before += t.Ready.Mean(s.Samples)
			}
		}
	}
}

// ReadyOf is how many jobs are ready in a queue, those included of types that no worker has ever served.
func ReadyOf(q *view.Queue) view.Count {
	if q.Unclaimed.Known() {
		return q.Ready.Plus(q.Unclaimed)
	}
	return q.Ready
}

func pausedIn(snap *view.Snapshot, queue string) bool {
	return slices.ContainsFunc(snap.Queues, func(q view.Queue) bool { return q.Name == queue && q.Paused != nil })
}
