package flow_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

// cut is how the windows of a property are, in milliseconds.
type cut struct{ size, step, gap, delay, late int }

func (c cut) window() flow.Window[tick] {
	w := flow.Fixed(time.Duration(c.size)*ms, tick.time)
	switch {
	case c.gap > 0:
		w = flow.Session(time.Duration(c.gap)*ms, tick.time)
	case c.step > 0:
		w = flow.Sliding(time.Duration(c.size)*ms, time.Duration(c.step)*ms, tick.time)
	}
	return w.Delay(time.Duration(c.delay) * ms).Late(time.Duration(c.late) * ms)
}

func drawCut(t *rapid.T) cut {
	c := cut{
		step:  rapid.IntRange(0, 5).Draw(t, "step"),
		delay: rapid.SampledFrom([]int{0, 3, 20}).Draw(t, "delay"),
		late:  rapid.SampledFrom([]int{0, 4, 30}).Draw(t, "late"),
	}
	c.size = max(c.step, 1) * rapid.IntRange(1, 4).Draw(t, "size")
	return c
}

// drawTicks draws events that are up to jitter out of order.
func drawTicks(t *rapid.T, jitter int) []tick {
	all := make([]tick, rapid.IntRange(0, 80).Draw(t, "events"))
	pace := rapid.IntRange(0, 4).Draw(t, "pace")
	for i := range all {
		all[i] = tick{Key: rapid.IntRange(0, 4).Draw(t, "key"), Ms: pace*i + rapid.IntRange(0, jitter).Draw(t, "jitter"), N: i}
	}
	return all
}

// modelled are the panes of windows that do not merge, by what is said about each of them alone: which
// events it takes, and which of those come before the watermark passes it.
func modelled(c cut, events []tick) []flow.Group[int, []int] {
	low := make([]int, len(events)) // the watermark at each event
	step := c.step
	if step == 0 {
		step = c.size
	}
	for i, e := range events {
		low[i] = e.Ms - c.delay
		if i > 0 {
			low[i] = max(low[i], low[i-1])
		}
	}
	var panes []flow.Group[int, []int]
	for start := -c.size - c.size%step; start < 1000; start += step {
		passed := slices.IndexFunc(low, func(low int) bool { return low >= start+c.size })
		for key := range 5 {
			var early, all []int
			for i, e := range events {
				if e.Key != key || e.Ms < start || e.Ms >= start+c.size || low[i] >= start+c.size+c.late {
					continue
				}
				all = append(all, e.N)
				if i < passed {
					early = all
				}
			}
			at := flow.Pane{Start: time.UnixMilli(int64(start)), End: time.UnixMilli(int64(start + c.size)), Revision: 1}
			if len(early) > 0 && c.late > 0 {
				at.Trigger = flow.Watermark
				panes = append(panes, flow.Group[int, []int]{Key: key, Value: early, Pane: at})
				at.Revision++
			}
			if len(all) > 0 {
				at.Trigger, at.Final = flow.Done, true
				panes = append(panes, flow.Group[int, []int]{Key: key, Value: all, Pane: at})
			}
		}
	}
	return panes
}

// sessions are those of events none of which is late: runs of each key.
func sessions(c cut, events []tick) []flow.Group[int, []int] {
	var panes []flow.Group[int, []int]
	for key := range 5 {
		own := slices.DeleteFunc(slices.Clone(events), func(e tick) bool { return e.Key != key })
		slices.SortStableFunc(own, func(a, b tick) int { return cmp.Compare(a.Ms, b.Ms) })
		for len(own) > 0 {
			n := 1
			for n < len(own) && own[n].Ms < own[n-1].Ms+c.gap {
				n++
			}
			g := flow.Group[int, []int]{Key: key, Pane: flow.Pane{
				Start: time.UnixMilli(int64(own[0].Ms)), End: time.UnixMilli(int64(own[n-1].Ms + c.gap)), Final: true, Revision: 1,
			}}
			for _, e := range own[:n] {
				g.Value = append(g.Value, e.N)
			}
			slices.Sort(g.Value) // the order in which they came
			panes, own = append(panes, g), own[n:]
		}
	}
	return panes
}

func lines(groups []flow.Group[int, []int]) []string {
	all := make([]string, len(groups))
	for i, g := range groups {
		all[i] = show(g)
	}
	slices.Sort(all)
	return all
}

func sameLines(t *rapid.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func collected[T any](t *rapid.T, s flow.Stream[T]) []T {
	t.Helper()
	all, err := flow.Collect(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// shaped has events come as they may in a flow that keeps their order.
func shaped(t *rapid.T, events []tick) flow.Keyed[int, tick] {
	s := flow.From(slices.Values(events))
	if rapid.Bool().Draw(t, "fixed demand") {
		s = s.Demand(rapid.IntRange(1, 20).Draw(t, "demand"))
	}
	if n := rapid.IntRange(0, 3).Draw(t, "ordered"); n > 0 {
		s = s.Ordered(n).Filter(func(tick) bool { return true })
	}
	return flow.By(s, tick.key).Partitions(rapid.IntRange(1, 4).Draw(t, "partitions"))
}

// Every windowed operator yields what the events of each window do, however they travel (I12).
func TestWindowsAreTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCut(t)
		events := drawTicks(t, rapid.SampledFrom([]int{0, 2, 30}).Draw(t, "out of order"))
		want := modelled(c, events)
		if rapid.IntRange(0, 3).Draw(t, "sessions") == 0 {
			c = cut{gap: rapid.IntRange(1, 6).Draw(t, "gap"), delay: 30}
			want = sessions(c, events)
		}
		keyed := shaped(t, events).Within(c.window())
		sameLines(t, "Fold", lines(collected(t, numbers(keyed))), lines(want))

		var counts, firsts, scans, counted []string
		totals := map[time.Time]int{}
		for _, g := range want {
			counts = append(counts, fmt.Sprint(g.Key, g.Pane.Start.UnixMilli(), g.Pane.Trigger, len(g.Value)))
			if g.Pane.Final {
				firsts = append(firsts, strconv.Itoa(g.Value[0]))
				scans = append(scans, fmt.Sprint("end ", len(g.Value)))
				for n := range g.Value {
					scans = append(scans, strconv.Itoa(n+1))
				}
				totals[g.Pane.Start] += len(g.Value)
			}
		}
		for _, g := range collected(t, flow.CountBy(keyed)) {
			counted = append(counted, fmt.Sprint(g.Key, g.Pane.Start.UnixMilli(), g.Pane.Trigger, g.Value))
		}
		sameLines(t, "CountBy", counted, counts)
		if c.step > 0 {
			return // an event is in several windows
		}
		if c.gap == 0 {
			scanned := flow.Scan(keyed, func(int) int { return 0 },
				func(n int, _ tick) (int, []string) { return n + 1, []string{strconv.Itoa(n + 1)} },
				func(n int) []string { return []string{fmt.Sprint("end ", n)} })
			sameLines(t, "Scan", collected(t, scanned), scans)
			gatheredTotals(t, keyed, totals)
		}
		if c.gap == 0 || slices.IsSortedFunc(events, func(a, b tick) int { return cmp.Compare(a.Ms, b.Ms) }) {
			uniq := flow.Map(flow.Uniq(keyed), func(e tick) string { return strconv.Itoa(e.N) })
			sameLines(t, "Uniq", collected(t, uniq), firsts)
		}
	})
}

// gatheredTotals has the windows of all partitions counted, in the order of their ends.
func gatheredTotals(t *rapid.T, keyed flow.Keyed[int, tick], want map[time.Time]int) {
	t.Helper()
	type total struct {
		at time.Time
		n  int
	}
	perPartition := flow.Reduce(keyed, func() int { return 0 }, func(n int, _ tick) int { return n + 1 })
	got := collected(t, flow.Gather(perPartition, func() total { return total{} }, func(all total, n int, p flow.Pane) total {
		if p.Final {
			all.n += n
		}
		all.at = p.Start.Local()
		return all
	}))
	if !slices.IsSortedFunc(got, func(a, b total) int { return a.at.Compare(b.at) }) {
		t.Fatalf("Gather: not in order: %v", got)
	}
	all := map[time.Time]int{}
	for _, w := range got {
		all[w.at] += w.n
	}
	if fmt.Sprint(all) != fmt.Sprint(want) || len(got) != len(want) {
		t.Fatalf("Gather: got %v, want %v", got, want)
	}
}

// Behind a layer without order, what is in order counts as ever. Of what is not, each key has between
// what it has without its late events and all of it.
func TestWindowsBehindStages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCut(t)
		events := drawTicks(t, rapid.SampledFrom([]int{0, 0, 30}).Draw(t, "out of order"))
		s := flow.From(slices.Values(events)).Demand(rapid.IntRange(1, 9).Draw(t, "source")).
			Stages(rapid.IntRange(2, 4).Draw(t, "stages")).Demand(rapid.IntRange(1, 9).Draw(t, "demand"))
		keyed := flow.By(s, tick.key).Partitions(rapid.IntRange(1, 3).Draw(t, "partitions")).Within(c.window())
		got := map[string]int{}
		for _, g := range collected(t, flow.CountBy(keyed)) {
			if g.Pane.Final {
				got[fmt.Sprint(g.Key, g.Pane.Start.UnixMilli())] = g.Value
			}
		}
		least, most := modelled(c, events), modelled(cut{size: c.size, step: c.step, late: 1000}, events)
		if slices.IsSortedFunc(events, func(a, b tick) int { return cmp.Compare(a.Ms, b.Ms) }) {
			least = most
		}
		for _, g := range most {
			id := fmt.Sprint(g.Key, g.Pane.Start.UnixMilli())
			if g.Pane.Final && got[id] > len(g.Value) {
				t.Fatalf("%s: got %d of %d", id, got[id], len(g.Value))
			}
		}
		if len(events) == len(least) || slices.IsSortedFunc(events, func(a, b tick) int { return cmp.Compare(a.Ms, b.Ms) }) {
			for _, g := range least {
				id := fmt.Sprint(g.Key, g.Pane.Start.UnixMilli())
				if g.Pane.Final && got[id] < len(g.Value) {
					t.Fatalf("%s: got %d, want %d", id, got[id], len(g.Value))
				}
			}
		}
	})
}

// A join yields what two loops do.
func TestJoinsAreLoops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left, right := drawTicks(t, 10), drawTicks(t, 10)
		kind := rapid.SampledFrom([]flow.JoinKind{flow.Inner, flow.Left, flow.Right, flow.Full}).Draw(t, "kind")
		var windows []flow.JoinWindow[tick, tick]
		size := 1 << 20
		if rapid.Bool().Draw(t, "windows") {
			size = rapid.IntRange(1, 20).Draw(t, "size")
			windows = append(windows, flow.JoinWindow[tick, tick]{Size: time.Duration(size) * ms, Delay: 10 * ms, LeftAt: tick.time, RightAt: tick.time})
		}
		pair := func(l, r int) string { return fmt.Sprint(l, " ", r) }
		var want []string
		met := map[int]bool{}
		for _, l := range left {
			found := false
			for _, r := range right {
				if l.Key == r.Key && l.Ms/size == r.Ms/size {
					want = append(want, pair(l.N, r.N))
					found, met[r.N] = true, true
				}
			}
			if !found && (kind == flow.Left || kind == flow.Full) {
				want = append(want, pair(l.N, -1))
			}
		}
		for _, r := range right {
			if !met[r.N] && (kind == flow.Right || kind == flow.Full) {
				want = append(want, pair(-1, r.N))
			}
		}
		joined := flow.Join(kind, shaped(t, left).Partitions(0), shaped(t, right), windows...)
		sameLines(t, kind.String(), collected(t, flow.Map(joined, func(j flow.Joined[tick, tick]) string {
			l, r := j.Left.N, j.Right.N
			if !j.HasLeft {
				l = -1
			}
			if !j.HasRight {
				r = -1
			}
			return pair(l, r)
		})), want)
	})
}
