package answer

import (
	"fmt"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// When a queue is empty is estimated from what was counted, and not told where nothing was.
func TestEmptyIn(t *testing.T) {
	exact := func(n int64) view.Count { return view.Counted(n, view.Exact, time.Unix(1, 0)) }
	for name, c := range map[string]struct {
		drain
		want string
	}{
		"nothing is ready":           {drain{ready: exact(0), stuck: true}, "empty"},
		"not counted":                {drain{ready: view.Uncounted(), started: 5}, "unknown"},
		"paused":                     {drain{ready: exact(3), stuck: true, started: 5}, "never"},
		"nothing starts":             {drain{ready: exact(3), before: 3, ago: time.Minute}, "unknown"},
		"becomes less":               {drain{ready: exact(3000), started: 40, before: 3600, ago: time.Minute}, "about 300"},
		"becomes more":               {drain{ready: exact(3000), started: 10, before: 2000, ago: time.Minute}, "at_least 300"},
		"has just come":              {drain{ready: exact(3000), started: 10}, "at_least 300"},
		"a last one":                 {drain{ready: exact(1), started: 10, before: 5, ago: time.Minute}, "about 15"},
		"so slow that nobody waits":  {drain{ready: exact(1e9), started: 0.1}, "unknown"},
		"perhaps more than was seen": {drain{ready: view.Counted(0, view.AtLeast, time.Unix(1, 0)), started: 1}, "at_least 1"},
	} {
		got := c.emptyIn()
		text := got.How
		if got.Seconds != nil {
			text += fmt.Sprintf(" %d", *got.Seconds)
		}
		if text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// The oldest sample says how fast it goes, if it is old enough.
func TestSamplesOfBacklog(t *testing.T) {
	now := time.Unix(1000, 0)
	of := func(email, other uint64) *tally.Backlog {
		return &tally.Backlog{Samples: 1, Queues: map[string]*tally.QueueBacklog{"default": {Types: map[string]*tally.TypeBacklog{
			"email": {Ready: tally.One(email)}, "other": {Ready: tally.One(other)},
		}}}}
	}
	r := &Rates{Over: time.Minute, samples: []sample{{now.Add(-2 * time.Minute), of(100, 50)}, {now.Add(-time.Minute), of(1, 1)}}}
	for typ, want := range map[string]float64{"": 150, "email": 100, "unknown": 0} {
		d := drain{}
		if r.measure(&d, now, "default", typ); d.before != want || d.ago != 2*time.Minute {
			t.Errorf("%q: %v, %v ago, want %v", typ, d.before, d.ago, want)
		}
	}
	d := drain{}
	if r.measure(&d, now.Add(-100*time.Second), "default", ""); d.ago != 0 {
		t.Errorf("a sample of 20 s ago counts: %+v", d)
	}
}
