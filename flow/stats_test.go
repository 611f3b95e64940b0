package flow_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

// list is an accumulator with a size.
type list []int

func (l list) Size() int { return len(l) }

func none(int) list             { return nil }
func (l list) with(e tick) list { return append(l, e.N) }

func ticksOf(key int, times ...int) []tick {
	all := make([]tick, len(times))
	for i, at := range times {
		all[i] = tick{Key: key, Ms: at, N: i}
	}
	return all
}

// metered runs a flow of events that come one by one, and calls at with what the meter tells after each
// of them, and after the end.
func metered(t *testing.T, events []tick, of func(flow.Keyed[int, tick], *flow.Meter) flow.Stream[string], at func(i int, s flow.Stats)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var m flow.Meter
		c := make(chan tick)
		done := make(chan error)
		s := of(flow.By(flow.FromChan(c), tick.key), &m)
		go func() { done <- s.Run(t.Context()) }()
		for i, e := range events {
			c <- e
			synctest.Wait()
			at(i, m.Stats())
		}
		close(c)
		if err := <-done; err != nil {
			t.Error(err)
		}
		at(len(events), m.Stats())
	})
}

func toText[T any](s flow.Stream[T]) flow.Stream[string] {
	return flow.Map(s, func(T) string { return "" })
}

func TestStats(t *testing.T) {
	lists := func(k flow.Keyed[int, tick]) flow.Stream[string] { return toText(flow.Fold(k, none, list.with)) }
	reduced := func(k flow.Keyed[int, tick]) flow.Reduced[list] {
		return flow.Reduce(k.Partitions(3), func() list { return nil }, list.with)
	}
	fixed := flow.Fixed(10*ms, tick.time)
	tests := map[string]struct {
		events []tick
		flow   func(flow.Keyed[int, tick]) flow.Stream[string]
		want   []flow.Stats // after each event, and at the end
	}{
		"fold": {
			append(ticksOf(0, 0, 1), ticksOf(1, 2)...), lists,
			[]flow.Stats{{1, 1, 0}, {1, 2, 0}, {2, 3, 0}, {}},
		},
		"fold in windows": {
			ticksOf(0, 0, 5, 10, 3), func(k flow.Keyed[int, tick]) flow.Stream[string] { return lists(k.Within(fixed)) },
			[]flow.Stats{{1, 1, 0}, {1, 2, 0}, {1, 1, 0}, {1, 1, 1}, {0, 0, 1}},
		},
		"fold in sessions": {
			ticksOf(0, 0, 2, 20), func(k flow.Keyed[int, tick]) flow.Stream[string] {
				return lists(k.Within(flow.Session(5*ms, tick.time)))
			},
			[]flow.Stats{{1, 0, 0}, {2, 0, 0}, {1, 0, 0}, {}},
		},
		"count in sessions that merge": {
			ticksOf(0, 0, 8, 4), func(k flow.Keyed[int, tick]) flow.Stream[string] {
				return toText(flow.CountBy(k.Within(flow.Session(5*ms, tick.time).Delay(time.Hour))))
			},
			[]flow.Stats{{1, 0, 0}, {2, 0, 0}, {1, 0, 0}, {}},
		},
		"uniq": {
			ticksOf(0, 0, 1), func(k flow.Keyed[int, tick]) flow.Stream[string] { return toText(flow.Uniq(k)) },
			[]flow.Stats{{1, 0, 0}, {1, 0, 0}, {}},
		},
		"scan": {
			append(ticksOf(0, 0, 1), ticksOf(1, 2)...), func(k flow.Keyed[int, tick]) flow.Stream[string] {
				return toText(flow.Scan(k, none, func(l list, e tick) (list, []string) { return l.with(e), nil }, nil))
			},
			[]flow.Stats{{1, 1, 0}, {1, 2, 0}, {2, 3, 0}, {}},
		},
		"reduce": {
			ticksOf(0, 0, 1), func(k flow.Keyed[int, tick]) flow.Stream[string] { return toText(reduced(k).Emit()) },
			[]flow.Stats{{1, 1, 0}, {1, 2, 0}, {}},
		},
		"reduce that a trigger empties": {
			ticksOf(0, 0, 1, 2), func(k flow.Keyed[int, tick]) flow.Stream[string] {
				return toText(flow.OnTrigger(reduced(k.Within(flow.Global[tick]().EveryN(2))), func(list, flow.Pane) ([]int, list) { return nil, nil }))
			},
			[]flow.Stats{{1, 1, 0}, {1, 0, 0}, {1, 1, 0}, {}},
		},
		"count windows": {
			ticksOf(0, 0, 1, 2), func(k flow.Keyed[int, tick]) flow.Stream[string] { return lists(k.Within(flow.Count[tick](2))) },
			[]flow.Stats{{1, 1, 0}, {1, 0, 0}, {1, 1, 0}, {}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			of := func(k flow.Keyed[int, tick], m *flow.Meter) flow.Stream[string] { return tt.flow(k.Metered(m)) }
			metered(t, tt.events, of, func(i int, got flow.Stats) {
				if got != tt.want[i] {
					t.Errorf("%d events: %+v, want %+v", i+1, got, tt.want[i])
				}
			})
		})
	}
}

// A join has the events of both sides, and a meter of several runs, the one above it too, their sum.
func TestStatsOfAJoin(t *testing.T) {
	of := func(k flow.Keyed[int, tick], m *flow.Meter) flow.Stream[string] {
		right := flow.By(flow.From(func(yield func(tick) bool) { yield(tick{Key: 1}) }), tick.key)
		return toText(flow.Join(flow.Full, k.Metered(m), right.Metered(m)))
	}
	want := []flow.Stats{{2, 2, 0}, {2, 3, 0}, {3, 4, 0}, {}}
	metered(t, append(ticksOf(0, 0, 1), ticksOf(2, 2)...), of, func(i int, got flow.Stats) {
		if got != want[i] {
			t.Errorf("%d events: %+v, want %+v", i+1, got, want[i])
		}
	})
}

func TestMeterOfAWrongFlow(t *testing.T) {
	var m flow.Meter
	keyed := flow.By(flow.From(upTo(3)), func(n int) int { return n })
	if err := flow.CountBy(keyed.Metered(nil)).Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("Run returned %v", err)
	}
	if err := flow.CountBy(keyed.Metered(&m).MaxKeys(2)).Run(t.Context()); !errors.Is(err, flow.ErrTooManyKeys) {
		t.Errorf("Run returned %v", err)
	}
	if err := flow.CountBy(keyed.Metered(&m)).Demand(-1).Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("Run returned %v", err)
	}
	if got := m.Stats(); got != (flow.Stats{}) {
		t.Errorf("after runs that failed: %+v", got)
	}
}

// What is kept is, after each event, what the windows hold that the watermark has not closed.
func TestStatsAreWhatIsOpen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawCut(rt)
		step := c.step
		if step == 0 {
			step = c.size
		}
		events := drawTicks(rt, rapid.SampledFrom([]int{0, 2, 30}).Draw(rt, "out of order"))
		events = events[:min(len(events), 20)]
		type place struct{ key, start int }
		open := map[place]int{}
		var want []flow.Stats
		low, dropped := -1<<30, 0
		for _, e := range events {
			low = max(low, e.Ms-c.delay)
			taken := false
			for start := e.Ms/step*step - c.size + step; start <= e.Ms; start += step {
				if start+c.size+c.late > low {
					open[place{e.Key, start}]++
					taken = true
				}
			}
			if !taken {
				dropped++
			}
			s := flow.Stats{Dropped: dropped}
			for p, n := range open {
				if p.start+c.size+c.late > low {
					s.Accumulators++
					s.Size += n
				}
			}
			want = append(want, s)
		}
		partitions := rapid.IntRange(1, 3).Draw(rt, "partitions")
		of := func(k flow.Keyed[int, tick], m *flow.Meter) flow.Stream[string] {
			return toText(flow.Fold(k.Partitions(partitions).Within(c.window()).Metered(m), none, list.with))
		}
		metered(t, events, of, func(i int, got flow.Stats) {
			if i < len(want) && got != want[i] {
				rt.Fatalf("%d events: %+v, want %+v", i+1, got, want[i])
			}
		})
	})
}

// How much a flow keeps is asked for while it runs, such as by a page of the process.
func ExampleMeter() {
	var m flow.Meter
	words := flow.From(slices.Values([]string{"to", "be", "or", "not", "to", "be"}))
	counts := flow.CountBy(flow.By(words, strings.ToLower).Metered(&m))
	for _, err := range counts.All(ctx) {
		if err != nil {
			fmt.Println(err)
		}
		fmt.Println(m.Stats().Accumulators, "words are kept")
		break
	}
	// Output: 4 words are kept
}
