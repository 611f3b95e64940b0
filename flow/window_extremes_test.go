package flow_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand/flow"
)

// at is an event of a time.
type at struct{ time.Time }

func (e at) time() time.Time { return e.Time }

// Windows of any length take the events of the first and the last years that there are, or say that they do
// not: no event is taken for a late one, and nothing goes on for ever.
func TestTimesAtTheBorders(t *testing.T) {
	const border = 9_200_000_000 // seconds
	const most = time.Duration(math.MaxInt64)
	events := []at{
		{time.Unix(-border, 0)},
		{time.Unix(-border, 1)},
		{time.Unix(0, -1)},
		{time.Unix(0, 0)},
		{time.Unix(border, 0)},
	}
	year := 365 * 24 * time.Hour
	for name, w := range map[string]flow.Window[at]{
		"an hour":                flow.Fixed(time.Hour, at.time),
		"a year":                 flow.Fixed(year, at.time),
		"a century":              flow.Fixed(100*year, at.time),
		"as long as can be":      flow.Fixed(most, at.time),
		"two hours":              flow.Sliding(2*time.Hour, time.Hour, at.time),
		"two years":              flow.Sliding(2*year, year, at.time),
		"two centuries":          flow.Sliding(200*year, 100*year, at.time),
		"a day's gap":            flow.Session(24*time.Hour, at.time),
		"the longest gap":        flow.Session(most, at.time),
		"a delay for ever":       flow.Fixed(year, at.time).Delay(most),
		"late for ever":          flow.Fixed(year, at.time).Late(most),
		"a delay, late for ever": flow.Sliding(2*year, year, at.time).Delay(most).Late(most),
	} {
		dropped := 0
		w := w.OnLate(func(at) { dropped++ })
		for i := range events {
			total := 0
			for g, err := range flow.CountBy(flow.By(flow.From(slices.Values(events[i:])), func(at) int { return 0 }).Partitions(1).Within(w)).All(t.Context()) {
				if item, ok := errors.AsType[*flow.ItemError](err); ok && item.Item == any(events[i]) && i < 2 {
					total = -1
					break
				} else if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !g.Pane.Start.Before(g.Pane.End) {
					t.Errorf("%s: a window from %v to %v", name, g.Pane.Start, g.Pane.End)
				}
				if g.Pane.Final {
					total += g.Value
				}
			}
			if total >= 0 && (total < len(events)-i || dropped > 0) {
				t.Errorf("%s: %d of %d events were taken, %d dropped", name, total, len(events)-i, dropped)
			}
		}
	}
}

// The border between in time and late: an event is late once the watermark, which is the greatest time less the
// delay, is at its window's end and its lateness; a nanosecond before it is not.
func TestBorderOfLateness(t *testing.T) {
	const size, delay, late = 10, 3, 7
	of := func(ns int64) at { return at{time.Unix(0, ns)} }
	for _, tt := range []struct {
		greatest int64
		taken    bool
	}{{size + delay + late - 1, true}, {size + delay + late, false}} {
		for _, zone := range []*time.Location{time.UTC, time.FixedZone("far east", 14*3600)} {
			w := flow.Fixed(size, func(e at) time.Time { return e.In(zone) }).Delay(delay).Late(late)
			events := flow.From(slices.Values([]at{of(5), of(tt.greatest), of(9)}))
			var got []string
			for g, err := range flow.CountBy(flow.By(events, func(at) int { return 0 }).Within(w)).All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if g.Pane.Final && g.Pane.Start.UnixNano() == 0 {
					got = append(got, fmt.Sprint(g.Value, g.Pane.Dropped))
				}
			}
			want := "1 0" // it was done before the late event
			if tt.taken {
				want = "2 0"
			}
			same(t, got, want)
		}
	}
}

// What is gathered of windows that take late events for ever comes once, when all have ended.
func TestGatherOfWindowsThatStayOpen(t *testing.T) {
	var all []tick
	for i := range 200 {
		all = append(all, tick{Key: i % 5, Ms: i})
	}
	w := flow.Fixed(10*ms, tick.time).Late(math.MaxInt64)
	counts := flow.Reduce(flow.By(flow.From(slices.Values(all)).Demand(3), tick.key).Partitions(3).Within(w), func() int { return 0 },
		func(n int, _ tick) int { return n + 1 })
	got := collect(t, flow.Gather(counts, func() int { return 0 }, func(b, a int, p flow.Pane) int {
		if p.Final {
			b += a
		}
		return b
	}))
	same(t, got, slices.Repeat([]int{10}, 20)...)
}
