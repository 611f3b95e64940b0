package autoscale

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/slots"
)

// loads are of queue default, served, and run for a second, unless something else is said.
func loads(all ...Load) []Load {
	for i := range all {
		l := &all[i]
		if l.Queue == "" {
			l.Queue = "default"
		}
		if l.Runs == 0 {
			l.Runs, l.RunTime = 1, time.Second
		}
		l.Served = true
	}
	return all
}

func quota(kind, name string, n int) Limit {
	return Limit{Key: slots.Key{Kind: kind, Name: name}, Jobs: n}
}

func rate(kind, name string, n int, per time.Duration) Limit {
	return Limit{Key: slots.Key{Rate: true, Kind: kind, Name: name}, Jobs: n, Per: per}
}

func TestDecide(t *testing.T) {
	minute := Query{Target: time.Minute}
	tests := []struct {
		name   string
		facts  Facts
		query  Query
		slots  int
		types  map[string]float64
		capped []Capped
	}{
		{"nothing", Facts{}, minute, 0, map[string]float64{}, nil},
		{
			"what comes and what waits",
			Facts{Loads: loads(Load{Type: "email", Ready: 1200, Due: 5, Runs: 10, RunTime: 2 * time.Second})},
			minute, 5,
			map[string]float64{"email": 5},
			nil, // (5/s + 1200/60 s) × 0.2 s
		},
		{"at least what runs", Facts{Loads: loads(Load{Type: "email", Running: 7, Ready: 60})}, minute, 7, map[string]float64{"email": 7}, nil},
		{
			"at most the quota",
			Facts{Loads: loads(Load{Type: "import", Ready: 6000, Running: 2}), Limits: []Limit{quota(slots.OfType, "import", 5)}},
			minute, 5,
			map[string]float64{"import": 5},
			[]Capped{{"import", ByQuota, 100, 5}},
		},
		{
			"what runs above a lowered quota",
			Facts{Loads: loads(Load{Type: "import", Ready: 6000, Running: 8}), Limits: []Limit{quota(slots.OfType, "import", 5)}},
			minute, 8,
			map[string]float64{"import": 8},
			[]Capped{{"import", ByQuota, 100, 5}},
		},
		{
			"at most the rate",
			Facts{Loads: loads(Load{Type: "sms", Ready: 6000, Runs: 1, RunTime: 3 * time.Second}), Limits: []Limit{rate(slots.OfType, "sms", 120, time.Minute)}},
			minute, 6,
			map[string]float64{"sms": 6},
			[]Capped{{"sms", ByRate, 300, 6}},
		},
		{
			"a limit that cannot be read",
			Facts{Loads: loads(Load{Type: "sms", Ready: 60}), Limits: []Limit{rate(slots.OfType, "sms", 0, 0)}},
			minute, 0,
			map[string]float64{"sms": 0},
			[]Capped{{"sms", ByRate, 1, 0}},
		},
		{
			"paused",
			Facts{Loads: loads(Load{Type: "a", Ready: 6000, Due: 1, Paused: true}, Load{Type: "b", Ready: 6000, Running: 3, Paused: true})},
			minute, 3,
			map[string]float64{"a": 0, "b": 3},
			[]Capped{{"default/a", ByPause, 101, 0}, {"default/b", ByPause, 100, 3}},
		},
		{
			"a key is shared out by demand",
			Facts{Loads: loads(Load{Type: "a", Key: "crm", Ready: 1800}, Load{Type: "b", Key: "crm", Ready: 600}), Limits: []Limit{quota(slots.OfKey, "crm", 8)}},
			minute, 8,
			map[string]float64{"a": 6, "b": 2},
			[]Capped{{"key=crm", ByQuota, 40, 8}},
		},
		{
			"a share for others is not for these",
			Facts{Loads: loads(Load{Type: "a", Key: "crm", Ready: 1800}, Load{Type: "b", Key: "crm", Ready: 600}), Limits: []Limit{quota(slots.OfKey, "crm", 8)}},
			Query{Types: []string{"b"}},
			2,
			map[string]float64{"b": 2},
			[]Capped{{"key=crm", ByQuota, 40, 8}},
		},
		{
			"a queue and a type that is in two",
			Facts{
				Loads:  loads(Load{Type: "a", Queue: "narrow", Ready: 6000}, Load{Type: "a", Ready: 600}),
				Limits: []Limit{quota(slots.OfQueue, "narrow", 1), quota(slots.OfType, "a", 10)},
			},
			minute, 10,
			map[string]float64{"a": 10},
			[]Capped{{"a", ByQuota, 110, 10}, {"queue=narrow", ByQuota, 100, 1}},
		},
		{
			"of one queue",
			Facts{Loads: loads(Load{Type: "a", Queue: "low", Ready: 600}, Load{Type: "a", Ready: 60})},
			Query{Queue: "low"},
			10,
			map[string]float64{"a": 10},
			nil,
		},
		{
			"a run's time is known from another queue",
			Facts{Loads: []Load{{Type: "a", Queue: "low", Ready: 60, Served: true}, {Type: "a", Queue: "default", Runs: 1, RunTime: 30 * time.Second, Served: true}}},
			minute, 30,
			map[string]float64{"a": 30},
			nil,
		},
		{
			"nobody serves it",
			Facts{Loads: []Load{{Type: "import", Queue: "default", Ready: 1}}, Limits: []Limit{quota(slots.OfType, "import", 0)}},
			minute, 1,
			map[string]float64{"import": 0},
			[]Capped{{"import", ByQuota, 1, 0}},
		},
		{
			"nobody serves it, and it is paused",
			Facts{Loads: []Load{{Type: "import", Queue: "default", Ready: 1, Paused: true}}},
			minute, 0,
			map[string]float64{"import": 0},
			[]Capped{{"default/import", ByPause, 1, 0}},
		},
		{"nobody has ever served it", Facts{Unclaimed: []string{"default"}}, minute, 1, map[string]float64{}, nil},
		{"nor this one of others", Facts{Unclaimed: []string{"default"}}, Query{Types: []string{"new"}}, 1, map[string]float64{"new": 0}, nil},
		{
			"these are served, and others are not",
			Facts{Loads: loads(Load{Type: "old"}), Unclaimed: []string{"default", "low"}},
			Query{Types: []string{"old"}, Queue: "default"},
			0,
			map[string]float64{"old": 0},
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Decide(&tt.facts, tt.query)
			if err != nil {
				t.Fatal(err)
			}
			types := make(map[string]float64)
			for _, typ := range a.Types {
				types[typ.Type] = typ.Slots
			}
			if a.Slots != tt.slots || !cmp.Equal(types, tt.types) || !slices.Equal(a.Capped, tt.capped) {
				t.Errorf("%+v, want %d slots, %v, %+v", a, tt.slots, tt.types, tt.capped)
			}
		})
	}
}

func TestWorkers(t *testing.T) {
	waiting := &Facts{Loads: loads(Load{Type: "a", Ready: 42 * 60})}
	for _, tt := range []struct {
		facts *Facts
		query Query
		want  int
	}{
		{waiting, Query{Concurrency: 16}, 3},
		{waiting, Query{Concurrency: 16, Min: 5}, 5},
		{waiting, Query{Concurrency: 16, Max: 2}, 2},
		{waiting, Query{Concurrency: 42, Max: 2}, 1},
		{&Facts{}, Query{Concurrency: 16}, 0},
		{&Facts{}, Query{Concurrency: 16, Min: 1}, 1},
		{&Facts{Unclaimed: []string{"default"}}, Query{Concurrency: 16}, 1},
	} {
		a, err := Decide(tt.facts, tt.query)
		if err != nil || a.Workers == nil || *a.Workers != tt.want {
			t.Errorf("%+v of %+v: %+v, %v, want %d", tt.query, tt.facts, a, err, tt.want)
		}
	}
	if a, err := Decide(waiting, Query{}); err != nil || a.Workers != nil {
		t.Errorf("without a concurrency: %+v, %v", a, err)
	}
}

// An answer that hangs on something unknown is none.
func TestUnknown(t *testing.T) {
	f := &Facts{unknown: []unknown{{what: "ready jobs of low/a", queue: "low", typ: "a"}}}
	for _, tt := range []struct {
		query Query
		known bool
	}{{Query{}, false}, {Query{Queue: "low"}, false}, {Query{Queue: "default"}, true}, {Query{Types: []string{"b"}}, true}, {Query{Types: []string{"a"}}, false}} {
		if a, err := Decide(f, tt.query); (err == nil) != tt.known {
			t.Errorf("%+v: %+v, %v", tt.query, a, err)
		}
	}
}

// genFacts are of few queues, types and keys, so that limits meet.
func genFacts(t *rapid.T) *Facts {
	f := &Facts{}
	keys := map[string]string{}
	for _, typ := range []string{"a", "b", "c", "d"} {
		keys[typ] = rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key")
		for _, queue := range []string{"q", "r", "s"} {
			if rapid.IntRange(0, 2).Draw(t, "absent") == 0 {
				continue
			}
			f.Loads = append(f.Loads, Load{
				Queue: queue, Type: typ, Key: keys[typ], Served: true,
				Ready: rapid.Int64Range(0, 10_000).Draw(t, "ready"), Due: rapid.Float64Range(0, 10).Draw(t, "due"),
				Running: int64(max(0, rapid.IntRange(-20, 20).Draw(t, "running"))),
				Paused:  rapid.IntRange(0, 5).Draw(t, "paused") == 0,
				Runs:    rapid.Uint64Range(0, 10).Draw(t, "runs"), RunTime: time.Duration(rapid.IntRange(1, 100).Draw(t, "run")) * 100 * time.Millisecond,
			})
		}
	}
	for _, k := range []slots.Key{{Kind: slots.OfType, Name: "a"}, {Kind: slots.OfType, Name: "b"}, {Kind: slots.OfKey, Name: "k"}, {Kind: slots.OfQueue, Name: "q"}, {Kind: slots.OfQueue, Name: "r"}} {
		k.Rate = rapid.Bool().Draw(t, "rate")
		if rapid.Bool().Draw(t, "limited") {
			f.Limits = append(f.Limits, Limit{Key: k, Jobs: rapid.IntRange(0, 50).Draw(t, "limit"), Per: time.Second})
		}
	}
	return f
}

// total is what all loads are granted, in thousandths of a slot.
func total(f *Facts) (sum int64) {
	for _, l := range decide(f, Query{}).loads {
		sum += l.running + l.granted
	}
	return sum
}

// No limit lets more through than it allows together with what runs, and nobody gets more than it wants.
func TestNeverAboveALimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFacts(t)
		d := decide(f, Query{})
		for _, l := range d.loads {
			if l.granted < 0 || l.granted > l.more || l.Paused && l.granted > 0 {
				t.Errorf("%+v is granted %d of %d", *l.Load, l.granted, l.more)
			}
		}
		for _, limit := range f.Limits {
			var granted, running int64
			var of []*Load
			for _, l := range d.loads {
				if holdsFor(limit.Key, l.Load) {
					granted, running, of = granted+l.granted, running+l.running, append(of, l.Load)
				}
			}
			if _, allowed := d.allowed(limit, of); granted > 0 && running+granted > allowed {
				t.Errorf("%v lets %d through beside %d, and allows %d", limit, granted, running, allowed)
			}
		}
	})
}

// More jobs that wait, or that come, never lessen what is wanted as a whole.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFacts(t)
		if len(f.Loads) == 0 {
			return
		}
		before := total(f)
		l := &f.Loads[rapid.IntRange(0, len(f.Loads)-1).Draw(t, "which")]
		l.Ready += rapid.Int64Range(0, 100_000).Draw(t, "more ready")
		l.Due += rapid.Float64Range(0, 10).Draw(t, "more due")
		if after := total(f); after < before {
			t.Errorf("%d thousandths of a slot, and %d with more of %+v", before, after, *l)
		}
	})
}

// Where limits do not cross, all who share one get the same part of what they want.
func TestSharedByDemand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		ready := rapid.SliceOfN(rapid.Int64Range(60, 60_000), 2, 5).Draw(t, "ready")
		f := &Facts{Limits: []Limit{quota(slots.OfKey, "k", limit)}}
		for i, n := range ready {
			f.Loads = append(f.Loads, loads(Load{Type: strconv.Itoa(i), Key: "k", Ready: n})...)
		}
		d := decide(f, Query{})
		var wants int64
		for _, l := range d.loads {
			wants += l.more
		}
		for _, l := range d.loads {
			want := min(l.more, l.more*int64(limit)*1000/wants)
			if off := l.granted - want; off < -1 || off > int64(len(ready)) { // what rounding leaves goes to the first
				t.Errorf("%d of %d, want %d", l.granted, l.more, want)
			}
		}
	})
}
