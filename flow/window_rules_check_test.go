package flow_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

const (
	ruleKeys       = 5
	rulePartitions = 3
)

func drawRules(t *rapid.T) rules {
	r := rules{
		kind:  rapid.SampledFrom([]string{"global", "count", "fixed", "sliding", "session"}).Draw(t, "kind"),
		n:     rapid.IntRange(1, 5).Draw(t, "n"),
		step:  rapid.IntRange(1, 6).Draw(t, "step"),
		every: rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "every"),
		mark:  rapid.SampledFrom([]flow.Mark{flow.Plain, flow.Plain, flow.Before, flow.After, flow.Only}).Draw(t, "mark"),
		delay: rapid.SampledFrom([]int{0, 0, 3, 20}).Draw(t, "delay"),
		late:  rapid.SampledFrom([]int{0, 0, 4, 30, 1 << 30}).Draw(t, "late"),
	}
	r.size = r.step
	if r.kind == "sliding" {
		r.size *= rapid.IntRange(1, 4).Draw(t, "steps")
	}
	return r
}

// cut has events come in deliveries that are cut somehow, and through layers that keep their order.
func cutSomehow(t *rapid.T, events []tick) flow.Stream[tick] {
	var s flow.Stream[tick]
	switch rapid.IntRange(0, 2).Draw(t, "source") {
	case 0:
		s = flow.From(slices.Values(events))
	case 1:
		c := make(chan tick, len(events))
		for _, e := range events {
			c <- e
		}
		close(c)
		s = flow.FromChan(c)
	case 2:
		cuts := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 10).Draw(t, "cuts")
		call, rest := 0, events
		s = flow.FromFunc(func(_ context.Context, n int, out []tick) ([]tick, error) {
			n = min(n, len(rest), cuts[call%len(cuts)])
			call++
			out, rest = append(out, rest[:n]...), rest[n:]
			if len(rest) == 0 {
				return out, io.EOF
			}
			return out, nil
		})
	}
	if rapid.Bool().Draw(t, "fixed demand") {
		s = s.Demand(rapid.IntRange(1, 20).Draw(t, "demand"))
	}
	if n := rapid.IntRange(0, 3).Draw(t, "ordered"); n > 0 {
		s = s.Ordered(n)
		if rapid.Bool().Draw(t, "fixed demand of the layer") {
			s = s.Demand(rapid.IntRange(1, 20).Draw(t, "demand of the layer"))
		}
		s = s.Each(func(tick) {})
	}
	return s
}

func line(t flow.Trigger, start, end, number int, values any, final bool, revision, dropped int) string {
	return fmt.Sprintf("%v %d-%d #%d %v %t r%d d%d", t, start, end, number, values, final, revision, dropped)
}

func lineOf(p flow.Pane, values any) string {
	start, end := 0, 0
	if !p.Start.IsZero() {
		start, end = int(p.Start.UnixMilli()), int(p.End.UnixMilli())
	}
	return line(p.Trigger, start, end, p.Number, values, p.Final, p.Revision, p.Dropped)
}

// lines are the panes of an owner in a partition, some of whose events are late. A session's revision goes
// on where those have been that it was made of.
func (s *story) lines(late []int, values func([]int) any) []string {
	all := []string{}
	revisions := map[[2]int]int{}
	for _, e := range s.panes() {
		id := [2]int{e.start, e.number}
		if s.kind != "session" {
			revisions[id]++
			e.revision = revisions[id]
		}
		dropped := 0
		for _, i := range late {
			if i < e.event {
				dropped++
			}
		}
		all = append(all, line(e.trigger, e.start, e.end, e.number, values(e.values), e.final, e.revision, dropped))
	}
	return all
}

// What comes of the windows of each key, and of each partition, is what the rules say about each window by
// itself: every pane with all that it says, in their order, however the events travel (I12).
func TestWindowsFollowTheirRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRules(t)
		events := drawTicks(t, rapid.SampledFrom([]int{0, 2, 30}).Draw(t, "out of order"))
		ofPartition := func(p int) func(tick) bool { return func(e tick) bool { return e.Key%rulePartitions == p } }
		late := map[int][]int{}
		for key := range ruleKeys {
			s := newStory(r, events, func(e tick) bool { return e.Key == key })
			late[key%rulePartitions] = append(late[key%rulePartitions], s.late()...)
		}
		keyed := func(r rules, onLate func(tick)) flow.Keyed[int, tick] {
			k := flow.By(cutSomehow(t, events), tick.key).Partitions(rulePartitions).PartitionBy(func(k int) int { return k % rulePartitions })
			return k.Within(r.window(onLate))
		}
		number := func(values []int) any { return len(values) }
		list := func(values []int) any { return values }

		lateNumbers := make(chan int, len(events))
		got := map[int][]string{}
		for _, g := range collected(t, flow.Fold(keyed(r, func(e tick) { lateNumbers <- e.N }), func(int) []int { return []int{} }, appendN)) {
			got[g.Key] = append(got[g.Key], lineOf(g.Pane, g.Value))
		}
		close(lateNumbers)
		wantLate := slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Values(late))...)))
		gotLate := []int{}
		for n := range lateNumbers {
			gotLate = append(gotLate, n)
		}
		slices.Sort(gotLate)
		if !slices.Equal(gotLate, wantLate) {
			t.Fatalf("%+v: OnLate got %v, want %v", r, gotLate, wantLate)
		}
		counts := map[int][]string{}
		for _, g := range collected(t, flow.CountBy(keyed(r, nil))) {
			counts[g.Key] = append(counts[g.Key], lineOf(g.Pane, g.Value))
		}
		for key := range ruleKeys {
			s := newStory(r, events, func(e tick) bool { return e.Key == key })
			sameSequence(t, fmt.Sprintf("%+v: Fold of key %d", r, key), got[key], s.lines(late[key%rulePartitions], list))
			sameSequence(t, fmt.Sprintf("%+v: CountBy of key %d", r, key), counts[key], s.lines(late[key%rulePartitions], number))
		}
		if r.kind == "session" {
			return // which is of a key
		}
		reduced(t, r, events, late, keyed, ofPartition)
	})
}

func appendN(a []int, e tick) []int { return append(slices.Clone(a), e.N) }

func sameSequence(t *rapid.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// reduced compares what becomes of partitions as a whole, also with windows that have no events.
func reduced(t *rapid.T, r rules, events []tick, late map[int][]int, keyed func(rules, func(tick)) flow.Keyed[int, tick], ofPartition func(int) func(tick) bool) {
	t.Helper()
	r.empty = rapid.Bool().Draw(t, "empty")
	if r.empty && r.eventTime() {
		r.mark = flow.Plain // what a mark finds of a window without events depends on whether that has passed
		if slices.ContainsFunc(events, func(e tick) bool { return e.Ms < events[0].Ms }) {
			r.late = 0 // else windows before the first appear when later ones have passed
		}
		late = map[int][]int{}
		for p := range rulePartitions {
			late[p] = newStory(r, events, ofPartition(p)).late()
		}
	}
	lists := flow.Reduce(keyed(r, nil), func() []int { return []int{} }, appendN)
	got := map[int][]string{}
	for _, p := range collected(t, flow.OnTrigger(lists, func(a []int, p flow.Pane) ([]flow.Group[int, string], []int) {
		return []flow.Group[int, string]{{Key: p.Partition, Value: lineOf(p, a)}}, a
	})) {
		got[p.Key] = append(got[p.Key], p.Value)
	}
	r.empty = r.empty || r.kind == "global"
	for p := range rulePartitions {
		want := []string{}
		if len(events) > 0 || !r.eventTime() {
			want = newStory(r, events, ofPartition(p)).lines(late[p], func(values []int) any { return values })
		}
		sameSequence(t, fmt.Sprintf("%+v: Reduce of partition %d", r, p), got[p], want)
	}
}
