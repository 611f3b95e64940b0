package autoscale

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// DefaultTarget is within what time jobs that wait are to have run, unless a query says.
const DefaultTarget = time.Minute

// A Query says for what workers an answer is.
type Query struct {
	Types       []string      // that they serve; empty: all
	Queue       string        // that they serve; empty: all
	Concurrency int           // jobs that one of them runs at once; 0: not known
	Target      time.Duration // within which jobs that wait are to have run; 0: DefaultTarget
	Min, Max    int           // workers; no most if that is 0
}

// wants reports whether a load is one of those workers'.
func (q *Query) wants(queue, typ string) bool {
	return (q.Queue == "" || q.Queue == queue) && (len(q.Types) == 0 || slices.Contains(q.Types, typ))
}

// An Answer is what is wanted. The names of its fields as JSON are a contract.
type Answer struct {
	Slots   int       `json:"slots"`             // jobs at once
	Workers *int      `json:"workers,omitempty"` // of the concurrency that was told; nil: none was
	Capped  []Capped  `json:"capped"`            // sorted by pool
	Types   []Type    `json:"types"`             // sorted by name
	At      time.Time `json:"at"`                // by the broker's clock
}

// A Capped is something that lets less run than there is to do, however many workers there are.
type Capped struct {
	Pool    string `json:"pool"` // import, key=crm or queue=default; of a pause default or default/email
	By      By     `json:"by"`
	Wanted  int    `json:"wanted"`  // slots
	Allowed int    `json:"allowed"` // slots
}

// A By says what caps.
type By string

// What can cap.
const (
	ByQuota By = "quota"
	ByRate  By = "rate"
	ByPause By = "pause"
)

// A Type is what a type wants, in all queues that were asked for.
type Type struct {
	Type    string  `json:"type"`
	Ready   int64   `json:"ready"`
	Running int64   `json:"running"`
	Due     float64 `json:"due_per_s"`
	Run     float64 `json:"run_s"` // mean, in seconds
	Slots   float64 `json:"slots"`
}

// Decide answers a query. It returns an error if something is not known that the answer hangs on: too
// low an answer would stop workers that are needed.
func Decide(f *Facts, q Query) (*Answer, error) {
	for _, u := range f.unknown {
		if (q.Queue == "" || u.queue == "" || q.Queue == u.queue) && (u.typ == "" || q.wants(u.queue, u.typ)) {
			return nil, fmt.Errorf("not known: %s", u.what)
		}
	}
	return decide(f, q).answer(f), nil
}

func decide(f *Facts, q Query) *decision {
	d := &decision{query: q, capped: []Capped{}, loads: make([]load, len(f.Loads)), means: meansOf(f)}
	target := cmp.Or(q.Target, DefaultTarget).Seconds()
	for i := range f.Loads {
		l := &f.Loads[i]
		d.loads[i] = load{Load: l, running: milli(float64(l.Running))}
		demand := milli((l.Due + float64(l.Ready)/target) * d.means.of(l).Seconds())
		d.loads[i].more = max(demand-d.loads[i].running, 0)
	}
	d.pause()
	d.limit(f)
	return d
}

// A decision is made in thousandths of a slot.
type decision struct {
	query  Query
	loads  []load
	means  means
	capped []Capped
}

type load struct {
	*Load
	running int64
	more    int64 // that it wants beyond what runs
	granted int64 // of that
}

// milli is a number of slots in thousandths, at most what can be added up.
func milli(slots float64) int64 { return int64(min(math.Ceil(slots*1000), 1e15)) }

// ceil is a number of slots that has room for so many thousandths.
func ceil(milli int64) int { return int((milli + 999) / 1000) }

// pause takes away what paused jobs want. Those that run go on, and keep their slots.
func (d *decision) pause() {
	for i := range d.loads {
		l := &d.loads[i]
		if !l.Paused || l.more == 0 {
			continue
		}
		if d.query.wants(l.Queue, l.Type) {
			d.capped = append(d.capped, Capped{Pool: l.Queue + "/" + l.Type, By: ByPause, Wanted: ceil(l.running + l.more), Allowed: ceil(l.running)})
		}
		l.more = 0
	}
}

// limit grants as much as the limits let through.
func (d *decision) limit(f *Facts) {
	s := newShare()
	for _, limit := range f.Limits {
		var running, more int64
		var of []*Load
		asked := false
		for i := range d.loads {
			if l := &d.loads[i]; holdsFor(limit.Key, l.Load) {
				running, more, of = running+l.running, more+l.more, append(of, l.Load)
				asked = asked || d.query.wants(l.Queue, l.Type)
			}
		}
		by, allowed := d.allowed(limit, of)
		if asked && more > 0 && running+more > allowed {
			d.capped = append(d.capped, Capped{Pool: limit.String(), By: by, Wanted: ceil(running + more), Allowed: ceil(allowed)})
		}
		s.limit(limit.Kind, limit.Name, max(allowed-running, 0))
	}
	s.grant(d.loads)
	slices.SortFunc(d.capped, func(x, y Capped) int { return cmp.Or(cmp.Compare(x.Pool, y.Pool), cmp.Compare(x.By, y.By)) })
}

// allowed is how much a limit lets through of some loads, for which it holds.
func (d *decision) allowed(l Limit, of []*Load) (By, int64) {
	switch {
	case !l.Rate:
		return ByQuota, milli(float64(l.Jobs))
	case l.Per <= 0: // it cannot be read
		return ByRate, 0
	}
	return ByRate, milli(float64(l.Jobs) / l.Per.Seconds() * d.means.ofAll(of).Seconds())
}

// holdsFor reports whether a limit holds for a load's jobs.
func holdsFor(k slots.Key, l *Load) bool {
	switch k.Kind {
	case slots.OfType:
		return k.Name == l.Type
	case slots.OfKey:
		return k.Name == l.Key
	case slots.OfQueue:
		return k.Name == l.Queue
	}
	return false
}

// answer sums up what is asked for.
func (d *decision) answer(f *Facts) *Answer {
	a := &Answer{At: f.At, Capped: d.capped}
	types := make(map[string]*Type)
	for _, t := range d.query.Types {
		types[t] = &Type{Type: t, Run: unknownRun.Seconds()}
	}
	of := make(map[string][]*Load)
	wanted := make(map[string]int64)
	var all int64
	unserved := d.unclaimed(f)
	for i := range d.loads {
		l := &d.loads[i]
		if !d.query.wants(l.Queue, l.Type) {
			continue
		}
		t := types[l.Type]
		if t == nil {
			t = &Type{Type: l.Type}
			types[l.Type] = t
		}
		of[l.Type] = append(of[l.Type], l.Load)
		t.Ready, t.Running, t.Due = t.Ready+l.Ready, t.Running+l.Running, t.Due+l.Due
		wanted[l.Type] += l.running + l.granted
		all += l.running + l.granted
		unserved = unserved || l.Ready > 0 && !l.Served && !l.Paused
	}
	a.Types = make([]Type, 0, len(types))
	for _, name := range slices.Sorted(maps.Keys(types)) {
		t := types[name]
		t.Slots, t.Run, t.Due = float64(wanted[name])/1000, rounded(d.means.ofAll(of[name]).Seconds()), rounded(t.Due)
		a.Types = append(a.Types, *t)
	}
	a.Slots = ceil(all)
	if unserved {
		a.Slots = max(a.Slots, 1)
	}
	if d.query.Concurrency > 0 {
		n := max((a.Slots+d.query.Concurrency-1)/d.query.Concurrency, d.query.Min)
		if d.query.Max > 0 {
			n = min(n, d.query.Max)
		}
		a.Workers = &n
	}
	return a
}

// unclaimed reports whether jobs wait that nobody has ever served, and that may be of the types that
// are asked for.
func (d *decision) unclaimed(f *Facts) bool {
	for _, queue := range f.Unclaimed {
		if d.query.Queue != "" && d.query.Queue != queue {
			continue
		}
		if len(d.query.Types) == 0 {
			return true
		}
		for _, typ := range d.query.Types {
			if !slices.ContainsFunc(f.Loads, func(l Load) bool { return l.Queue == queue && l.Type == typ }) {
				return true
			}
		}
	}
	return false
}

// rounded leaves out digits that mean nothing.
func rounded(x float64) float64 { return math.Round(x*1e6) / 1e6 }

// means are how long runs take.
type means map[string]time.Duration // by type, in all queues

func meansOf(f *Facts) means {
	byType := make(map[string][]*Load)
	for i := range f.Loads {
		byType[f.Loads[i].Type] = append(byType[f.Loads[i].Type], &f.Loads[i])
	}
	m := make(means, len(byType))
	for typ, loads := range byType {
		if mean, known := meanOf(loads); known {
			m[typ] = mean
		}
	}
	return m
}

// meanOf is the mean of all runs of some loads.
func meanOf(loads []*Load) (mean time.Duration, known bool) {
	var runs uint64
	var took time.Duration
	for _, l := range loads {
		runs, took = runs+l.Runs, took+l.RunTime
	}
	if runs == 0 || took <= 0 {
		return unknownRun, false
	}
	return took / time.Duration(runs), true //nolint:gosec // far below
}

// of is how long a run of a load takes: of its type in other queues, if none ended in its own.
func (m means) of(l *Load) time.Duration {
	if mean, known := meanOf([]*Load{l}); known {
		return mean
	}
	return cmp.Or(m[l.Type], unknownRun)
}

// ofAll is how long a run of some loads takes. It does not hang on how many jobs wait of each, so that
// a rate allows no less when more wait.
func (m means) ofAll(loads []*Load) time.Duration {
	mean, known := meanOf(loads)
	if known {
		return mean
	}
	for _, l := range loads {
		mean = max(mean, m.of(l))
	}
	return mean
}
