package autoscale

import (
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// exact is n, at noon.
func exact(n int64) view.Count { return view.Counted(n, view.Exact, noon) }

func snapshot(types ...view.Type) *view.Snapshot {
	return &view.Snapshot{At: noon, Queues: []view.Queue{{Name: "default", Unclaimed: exact(0), Types: types}}}
}

func TestFactsOfASnapshot(t *testing.T) {
	s := snapshot(
		view.Type{Name: "email", Key: "smtp", Ready: exact(7), Running: exact(2), Workers: 1, Consumer: true},
		view.Type{Name: "import", Ready: exact(5), Paused: &registry.Pause{}, Consumer: true, Draining: 1},
	)
	s.Queues[0].Unclaimed = exact(3)
	s.Pools = []view.Pool{
		{Name: "key=smtp", Kind: slots.OfKey, Limit: 4}, {Name: "email", Kind: slots.OfType, Rate: true, Limit: 100, Per: "1m0s"}, {Name: "queue=default", Kind: slots.OfQueue, Limit: 9},
	}
	f := FactsOf(s, nil)
	if len(f.Loads) != 2 || f.Loads[0] != (Load{Queue: "default", Type: "email", Key: "smtp", Ready: 7, Running: 2, Served: true}) || f.Loads[1] != (Load{Queue: "default", Type: "import", Ready: 5, Paused: true}) {
		t.Errorf("loads %+v", f.Loads)
	}
	if len(f.Limits) != 3 || f.Limits[0] != quota(slots.OfKey, "smtp", 4) || f.Limits[1] != rate(slots.OfType, "email", 100, time.Minute) || f.Limits[2] != quota(slots.OfQueue, "default", 9) {
		t.Errorf("limits %+v", f.Limits)
	}
	if len(f.Unclaimed) != 1 || len(f.unknown) != 0 {
		t.Errorf("unclaimed %q, unknown %v", f.Unclaimed, f.unknown)
	}
}

// What an answer hangs on and could not be read is unknown; what it does not hang on is not missed.
func TestFactsOfHalfASnapshot(t *testing.T) {
	s := snapshot(
		view.Type{Name: "silent", Ready: view.Uncounted(), Consumer: true, Info: (*jetstream.ConsumerInfo)(nil)},
		view.Type{Name: "paused before anybody served it", Ready: view.Uncounted()},
	)
	s.Missing = []view.Missing{{What: "stream millhand-events", Why: "timeout"}, {What: "consumers of queue low", Queue: "low", Why: "timeout"}, {What: view.MissingRegistry, Why: "timeout"}}
	f := FactsOf(s, nil)
	if len(f.unknown) != 3 {
		t.Errorf("unknown %+v", f.unknown)
	}
}

// history is that of ten minutes until noon, with what was ready at the end of some of them.
func history(ready map[int]uint64, counted map[int]*tally.Counts) *tally.Series {
	s := tally.NewSeries(tally.Span{From: noon.Add(-Window), Until: noon, Step: time.Minute}, tally.ByPair, nil)
	for i := range s.Steps() {
		p := &tally.Period{At: s.At(i), Sums: make(tally.Sums)}
		if c := counted[i]; c != nil {
			p.Sums[tally.Pair{Queue: "default", Type: "email"}] = c
		}
		if n, looked := ready[i]; looked {
			p.Backlog = &tally.Backlog{Samples: 1, Queues: map[string]*tally.QueueBacklog{"default": {Types: map[string]*tally.TypeBacklog{"email": {Ready: tally.One(n)}}}}}
		}
		s.Add(&tally.Record{At: p.At, Periods: []*tally.Period{p}})
	}
	return s
}

// ran are runs that started and ended.
func ran(n int, each time.Duration) *tally.Counts {
	c := new(tally.Counts)
	for range n {
		c.N[tally.Started]++
		c.N[tally.Busy] += uint64(each / time.Microsecond)
		c.H[tally.Run].Add(tally.NewHistogram(each))
	}
	return c
}

func TestHistory(t *testing.T) {
	long := new(tally.Counts) // nothing has ended
	long.N[tally.Busy] = uint64(4 * 8 * time.Minute / time.Microsecond)
	tests := []struct {
		name           string
		ready, running int64
		was            map[int]uint64
		counted        map[int]*tally.Counts
		due            float64
		run            time.Duration
	}{
		{"nothing", 0, 0, nil, nil, 0, unknownRun},
		{"as many come as run", 0, 0, map[int]uint64{3: 0}, map[int]*tally.Counts{5: ran(120, 2*time.Second), 7: ran(240, 2*time.Second)}, 1, 2 * time.Second},
		{"more come than run", 360, 0, map[int]uint64{3: 0, 4: 60}, map[int]*tally.Counts{5: ran(360, time.Second)}, 2, time.Second},
		{"a backlog is worked off", 0, 0, map[int]uint64{3: 360}, map[int]*tally.Counts{5: ran(360, time.Second)}, 0, time.Second},
		{"jobs are cancelled while they wait", 0, 0, map[int]uint64{3: 360}, map[int]*tally.Counts{5: ran(36, time.Second)}, 0, time.Second},
		{"what ran before the first look does not count", 0, 0, map[int]uint64{3: 0}, map[int]*tally.Counts{3: ran(900, time.Second), 4: ran(36, time.Second)}, 0.1, time.Second},
		{"nobody has looked", 100, 0, nil, map[int]*tally.Counts{5: ran(360, time.Second)}, 0, time.Second},
		{"somebody has just looked", 100, 0, map[int]uint64{9: 0}, map[int]*tally.Counts{8: ran(360, time.Second)}, 0, time.Second},
		{"none has ended yet", 0, 4, map[int]uint64{3: 0}, map[int]*tally.Counts{5: long}, 0, 8 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := FactsOf(snapshot(view.Type{Name: "email", Ready: exact(tt.ready), Running: exact(tt.running), Workers: 1, Consumer: true}), history(tt.was, tt.counted))
			l := &f.Loads[0]
			if run := meansOf(f).of(l); math.Abs(l.Due-tt.due) > 1e-9 || run != tt.run {
				t.Errorf("%v a second of %v, want %v of %v", l.Due, run, tt.due, tt.run)
			}
		})
	}
}
