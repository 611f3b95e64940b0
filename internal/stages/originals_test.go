package stages

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// original is a dispatcher as GenStage 1.3.2 has it, word for word in Go: what it says is what ours
// is held to, on the terms of replay. Where it loses or reorders events it is not followed, and no
// operation here leads there.
type original interface {
	subscribe(c string)
	ask(c string, n int) (upstream int, sent []delivered)
	cancel(c string) (upstream int)
	dispatch(events []int) (leftover []int, sent, reasks []delivered)
}

// script draws operations as a stage could make them, with what the original answers.
func script(t *rapid.T, o original) (ops []dispatcherOp) {
	var present []string
	names := []string{"a", "b", "c"}
	next := 1
	for range rapid.IntRange(1, 60).Draw(t, "ops") {
		op := dispatcherOp{}
		switch kind := rapid.IntRange(0, 9).Draw(t, "op"); {
		case kind == 0 && len(present) > 0:
			op.Op, op.Consumer = "cancel", rapid.SampledFrom(present).Draw(t, "consumer")
			op.Upstream = o.cancel(op.Consumer)
			present = slices.DeleteFunc(present, func(c string) bool { return c == op.Consumer })
		case kind <= 2:
			absent := slices.DeleteFunc(slices.Clone(names), func(c string) bool { return slices.Contains(present, c) })
			if len(absent) == 0 {
				continue
			}
			op.Op, op.Consumer = "subscribe", rapid.SampledFrom(absent).Draw(t, "consumer")
			o.subscribe(op.Consumer)
			present = append(present, op.Consumer)
		case kind <= 5 && len(present) > 0:
			op.Op, op.Consumer, op.Count = "ask", rapid.SampledFrom(present).Draw(t, "consumer"), rapid.IntRange(1, 8).Draw(t, "n")
			op.Upstream, op.Delivered = o.ask(op.Consumer, op.Count)
		default:
			op.Op = "dispatch"
			for range rapid.IntRange(1, 8).Draw(t, "events") {
				op.Events = append(op.Events, next)
				next++
			}
			op.Leftover, op.Delivered, op.SelfReask = o.dispatch(op.Events)
		}
		ops = append(ops, op)
	}
	return ops
}

type originalDemand struct {
	demands []delivered // consumer and demand
	pending int
}

func (o *originalDemand) pop(c string) (n int) {
	o.demands = slices.DeleteFunc(o.demands, func(d delivered) bool {
		if d.Consumer == c {
			n = d.N
		}
		return d.Consumer == c
	})
	return n
}

func (o *originalDemand) add(c string, n int) {
	i := slices.IndexFunc(o.demands, func(d delivered) bool { return n > d.N })
	if i < 0 {
		i = len(o.demands)
	}
	o.demands = slices.Insert(o.demands, i, delivered{Consumer: c, N: n})
}

func (o *originalDemand) subscribe(c string) { o.demands = append(o.demands, delivered{Consumer: c}) }

func (o *originalDemand) ask(c string, n int) (int, []delivered) {
	o.add(c, o.pop(c)+n)
	sent := min(o.pending, n)
	o.pending -= sent
	return n - sent, nil
}

func (o *originalDemand) cancel(c string) int {
	o.pending += o.pop(c)
	return 0
}

func (o *originalDemand) dispatch(events []int) (leftover []int, sent, _ []delivered) {
	for len(events) > 0 && len(o.demands) > 0 && o.demands[0].N > 0 {
		head := o.demands[0]
		n := min(head.N, len(events))
		sent = append(sent, delivered{Consumer: head.Consumer, Events: events[:n]})
		events = events[n:]
		o.demands = o.demands[1:]
		o.add(head.Consumer, head.N-n)
	}
	o.pending = max(o.pending-len(events), 0)
	return events, sent, nil
}

func TestDemandDispatcherIsTheOriginal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := script(t, new(originalDemand))
		replay(t, new(DemandDispatcher[int]), nil, ops, func(events, _, _ int) int { return events }, false)
	})
}

type originalBroadcast struct {
	surplus   map[string]int
	waiting   int
	requested int
	even      string // selects even events
}

func (o *originalBroadcast) subscribe(c string) {
	for known := range o.surplus {
		o.surplus[known] += o.waiting
	}
	o.waiting = 0
	o.surplus[c] = 0
}

func (o *originalBroadcast) raise() (upstream int) {
	if len(o.surplus) == 0 {
		o.waiting = 0
		return 0
	}
	shared := -1
	for _, n := range o.surplus {
		if shared < 0 || n < shared {
			shared = n
		}
	}
	for c := range o.surplus {
		o.surplus[c] -= shared
	}
	o.waiting += shared
	upstream = max(0, o.waiting-o.requested)
	o.requested += upstream
	return upstream
}

func (o *originalBroadcast) ask(c string, n int) (int, []delivered) {
	o.surplus[c] += n
	return o.raise(), nil
}

func (o *originalBroadcast) cancel(c string) int {
	delete(o.surplus, c)
	return o.raise()
}

func (o *originalBroadcast) dispatch(events []int) (leftover []int, sent, reasks []delivered) {
	n := min(o.waiting, len(events))
	if n == 0 {
		return events, nil, nil
	}
	o.waiting -= n
	o.requested = max(o.requested-n, 0)
	for _, c := range []string{"a", "b", "c"} {
		if _, ok := o.surplus[c]; !ok {
			continue
		}
		got := slices.Clone(events[:n])
		if c == o.even {
			got = slices.DeleteFunc(got, func(e int) bool { return e%2 != 0 })
		}
		sent = append(sent, delivered{Consumer: c, Events: got})
		if len(got) < n {
			reasks = append(reasks, delivered{Consumer: c, N: n - len(got)})
		}
	}
	return events[n:], sent, reasks
}

func TestBroadcastDispatcherIsTheOriginal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &originalBroadcast{surplus: make(map[string]int), even: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "even")}
		options := make(map[string]SubscribeOptions[int])
		if o.even != "" {
			options[o.even] = SubscribeOptions[int]{Selector: func(event int) bool { return event%2 == 0 }}
		}
		replay(t, new(BroadcastDispatcher[int]), options, script(t, o), func(_, taken, _ int) int { return taken }, true)
	})
}

type originalPartition struct {
	consumers map[string]int // their partitions, always the same
	demand    [3]int
	queue     [3][]int
	waiting   int
	pending   int
}

func (o *originalPartition) subscribe(string) {}

func (o *originalPartition) ask(c string, n int) (upstream int, sent []delivered) {
	i := o.consumers[c]
	queued := min(len(o.queue[i]), n)
	if queued > 0 {
		sent = []delivered{{Consumer: c, Events: o.queue[i][:queued]}}
		o.queue[i] = o.queue[i][queued:]
	}
	o.demand[i] += n - queued
	known := min(o.pending, n)
	o.pending -= known
	o.waiting += n - known
	return n - known, sent
}

func (o *originalPartition) cancel(c string) (upstream int) {
	i := o.consumers[c]
	if upstream = len(o.queue[i]); upstream > 0 {
		o.waiting += upstream
	} else {
		o.pending += o.demand[i]
	}
	o.queue[i], o.demand[i] = nil, 0
	return upstream
}

func (o *originalPartition) dispatch(events []int) (leftover []int, sent, _ []delivered) {
	var batches [3][]int
	for len(events) > 0 && o.waiting > 0 {
		if events[0]%7 != 0 {
			o.waiting--
			batches[events[0]%3] = append(batches[events[0]%3], events[0])
		}
		events = events[1:]
	}
	for c, i := range map[string]int{"a": 0, "b": 1, "c": 2} {
		n := min(len(batches[i]), o.demand[i])
		if n > 0 {
			sent = append(sent, delivered{Consumer: c, Events: batches[i][:n]})
		}
		o.demand[i] -= n
		o.queue[i] = append(o.queue[i], batches[i][n:]...)
	}
	slices.SortFunc(sent, func(a, b delivered) int { return int(a.Consumer[0]) - int(b.Consumer[0]) })
	return events, sent, nil
}

func TestPartitionDispatcherIsTheOriginal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := NewPartitionDispatcher(PartitionConfig[int]{
			Partitions: 3, OnOrphans: func(int, []int) {},
			Hash: func(event int) (int, int, bool) {
				return event, event % 3, event%7 != 0
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		options := map[string]SubscribeOptions[int]{"a": {Partition: 0}, "b": {Partition: 1}, "c": {Partition: 2}}
		o := &originalPartition{consumers: map[string]int{"a": 0, "b": 1, "c": 2}}
		replay(t, d, options, script(t, o), func(_, _, fell int) int { return fell }, true)
	})
}
