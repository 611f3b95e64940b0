package stages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type expectation struct {
	key     *regexp.Regexp
	compare func(x *player, key string, want json.RawMessage)
}

func expectationOf(key string, compare func(x *player, key string, want json.RawMessage)) expectation {
	return expectation{regexp.MustCompile(`^(?:` + key + `)$`), compare}
}

// playerExpectations are what the names of expectations mean. All others are of what happened in a phase.
var playerExpectations = []expectation{
	expectationOf(`elixir\w*`, func(*player, string, json.RawMessage) {}),
	expectationOf(`batching|mode|result`, func(x *player, key string, want json.RawMessage) {
		x.equal(key, want, map[string]string{"batching": "free", "mode": "accumulate", "result": "ok"}[key])
	}),
	expectationOf(`invariant`, func(x *player, _ string, want json.RawMessage) { x.compareInvariant(want) }),
	expectationOf(`batches`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, only(x.all(), "batch")) }),
	expectationOf(`demands`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, only(x.all(), "demand")) }),
	expectationOf(`max_batch`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, longest(only(x.all(), "batch"))) }),
	expectationOf(`pc_batches_max`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, longest(only(x.all(), "pc"))) }),
	expectationOf(`outstanding_after`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, x.measured) }),
	expectationOf(`outstanding_while_batch1_runs`, func(x *player, key string, want json.RawMessage) {
		x.equal(key, want, x.phases[0].outstanding)
	}),
	expectationOf(`buffered`, func(x *player, key string, want json.RawMessage) {
		most := 0
		for _, p := range x.phases {
			most = max(most, p.buffered)
		}
		x.equal(key, want, most)
	}),
	expectationOf(`counts`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, x.counts) }),
	expectationOf(`final_count|buffered_after`, func(x *player, key string, want json.RawMessage) {
		x.equal(key, want, x.phases[len(x.phases)-1].buffered)
	}),
	expectationOf(`discarded`, func(x *player, key string, want json.RawMessage) {
		sum := 0
		for _, n := range x.discards {
			sum += n
		}
		x.equal(key, want, sum)
	}),
	expectationOf(`discard_reports`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, append([]int{}, x.discards...)) }),
	expectationOf(`first_delivered`, func(x *player, key string, want json.RawMessage) {
		if events := eventsOf(x.all(), ""); len(events) == 0 {
			x.Error("nothing was delivered")
		} else {
			x.equal(key, want, events[0])
		}
	}),
	expectationOf(`delivered_in_order|all`, func(x *player, key string, want json.RawMessage) { x.compareDelivered(key, want) }),
	expectationOf(`received`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, len(eventsOf(x.all(), ""))) }),
	expectationOf(`distinct`, func(x *player, key string, want json.RawMessage) {
		distinct := map[any]bool{}
		for _, event := range eventsOf(x.all(), "") {
			distinct[event] = true
		}
		x.equal(key, want, len(distinct))
	}),
	expectationOf(`per_partition|ordered`, func(x *player, key string, want json.RawMessage) { x.comparePartitions(key, want) }),
	expectationOf(`each`, func(x *player, _ string, want json.RawMessage) {
		for name := range x.consumers {
			x.compareSequence(name, want)
		}
	}),
	expectationOf(`producer_emitted_at_most`, func(x *player, key string, want json.RawMessage) {
		var most int
		if err := json.Unmarshal(want, &most); err != nil || x.emitted > most {
			x.Errorf("%s: %d, want at most %s", key, x.emitted, want)
		}
	}),
	expectationOf(`producer_alive`, func(x *player, key string, want json.RawMessage) { x.equal(key, want, !x.producing.ended()) }),
	expectationOf(`consumed|pc_batches`, func(x *player, key string, want json.RawMessage) { x.compareSpans(key, want) }),
	expectationOf(`pc_\w+`, func(x *player, key string, want json.RawMessage) {
		x.equal(key, want, only(named(x.all(), strings.TrimPrefix(key, "pc_")), "pc"))
	}),
	expectationOf(`rounds`, func(x *player, _ string, want json.RawMessage) { x.compareRounds(want) }),
	expectationOf(`trace`, func(x *player, _ string, want json.RawMessage) { x.compareTrace(want) }),
}

func (x *player) compare(key string, want json.RawMessage) {
	x.Helper()
	switch {
	case key == "go_expect":
		x.compareInstead(want)
		return
	case x.consumers[key] != nil:
		x.compareDelivered(key, want)
		return
	}
	for _, e := range playerExpectations {
		if e.key.MatchString(key) && (key != "all" || !bytes.HasPrefix(want, []byte("[true,"))) {
			e.compare(x, key, want)
			return
		}
	}
	x.comparePhase(key, want)
}

func (x *player) equal(key string, want json.RawMessage, got any) {
	x.Helper()
	x.same(key, want, got)
}

func longest(batches []any) (n int) {
	for _, batch := range batches {
		n = max(n, len(batch.([]any)))
	}
	return n
}

// all is the log of all phases.
func (x *player) all() []entry { return x.between(0, len(x.phases)) }

func (x *player) between(from, to int) (log []entry) {
	for _, p := range x.phases[from:to] {
		log = append(log, p.log...)
	}
	return log
}

// named are the entries of one stage.
func named(log []entry, name string) (found []entry) {
	for _, e := range log {
		if len(e) > 1 && e[1] == name {
			found = append(found, e)
		}
	}
	return found
}

// eventsOf are the events that a consumer got, or all.
func eventsOf(log []entry, name string) []any {
	events := []any{}
	for _, e := range deliveries(slices.Clone(log)) {
		if name == "" || e[1] == name {
			events = append(events, e[2].([]any)...)
		}
	}
	return events
}

// compareDelivered compares what a consumer got, or all did. Batches are compared as what is in them.
func (x *player) compareDelivered(key string, want json.RawMessage) {
	x.Helper()
	name := key
	if x.consumers[key] == nil {
		name = ""
	}
	if want[0] == '"' {
		x.compareSequence(name, want)
		return
	}
	var batches [][]any
	if json.Unmarshal(want, &batches) == nil {
		x.same(key, slices.Concat(batches...), eventsOf(x.all(), name))
		return
	}
	x.equal(key, want, eventsOf(x.all(), name))
}

var sequencePattern = regexp.MustCompile(`^(\d+)\.\.(\d+) in order$`)

func (x *player) compareSequence(name string, want json.RawMessage) {
	x.Helper()
	m := sequencePattern.FindStringSubmatch(x.optionalText(want))
	if m == nil {
		x.Fatalf("%s: unknown expectation %s", x.ID, want)
	}
	x.same(name, numbers(x.int(m[1]), x.int(m[2])), eventsOf(x.all(), name))
}

func (x *player) comparePartitions(key string, want json.RawMessage) {
	x.Helper()
	for name := range x.consumers {
		events, n := eventsOf(x.all(), name), len(x.consumers)
		var values []int
		for _, event := range events {
			values = append(values, event.(int))
		}
		if key == "per_partition" {
			x.equal(key, want, len(events))
		} else {
			x.equal(key, want, slices.IsSorted(values))
		}
		if slices.ContainsFunc(values, func(event int) bool { return event%n != x.partitionOf(name) }) {
			x.Errorf("partition %s got %v", name, events)
		}
	}
}

var invariantPattern = regexp.MustCompile(`^batch size <= max-min; sum of demands - events emitted <= max$`)

func (x *player) compareInvariant(want json.RawMessage) {
	x.Helper()
	if !invariantPattern.MatchString(x.optionalText(want)) {
		x.Fatalf("%s: unknown invariant %s", x.ID, want)
	}
	o := x.termsOf("c")
	if n := longest(only(x.all(), "batch")); n > o.MaxDemand-*o.MinDemand || x.asked-x.emitted > o.MaxDemand {
		x.Errorf("batches of %d, %d asked for of which %d came", n, x.asked, x.emitted)
	}
}

var spanPattern = regexp.MustCompile(`^(\d+)\.\.(\d+)( doubled)?$`)

// compareSpans compares batches with how each begins and ends, up to what is left out, or what was consumed
// in any order.
func (x *player) compareSpans(key string, want json.RawMessage) {
	x.Helper()
	kind := map[string]string{"consumed": "batch", "pc_batches": "pc"}[key]
	var list []any
	if err := json.Unmarshal(want, &list); err != nil {
		x.Fatalf("%s: unknown expectation %s", x.ID, want)
	}
	if kind == "batch" && !bytes.Contains(want, []byte("..")) {
		got := eventsOf(x.all(), "")
		slices.SortFunc(got, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		x.equal(key, want, got)
		return
	}
	batches, i := only(x.all(), kind), 0
	for _, each := range list {
		if each == "..." {
			i = -1 // what follows is wherever it is
			continue
		}
		m := spanPattern.FindStringSubmatch(fmt.Sprint(each))
		if m == nil {
			x.Fatalf("%s: unknown expectation %v", x.ID, each)
		}
		events := numbers(x.int(m[1]), x.int(m[2]))
		if m[3] != "" {
			events = twice(events)
		}
		if i < 0 {
			i = slices.IndexFunc(batches, func(b any) bool { return b.([]any)[0] == events[0] })
		}
		if i < 0 || i >= len(batches) {
			x.Fatalf("%s: no batch is %v", key, each)
		}
		x.same(fmt.Sprint(key, each), events, batches[i])
		i++
	}
}

func twice(events []any) (doubled []any) {
	for _, event := range events {
		doubled = append(doubled, event, event)
	}
	return doubled
}

// compareRounds compares what happened in each clause, one after the other.
func (x *player) compareRounds(want json.RawMessage) {
	x.Helper()
	var rounds []json.RawMessage
	if err := json.Unmarshal(want, &rounds); err != nil || len(rounds) != len(x.phases)-1 {
		x.Fatalf("%s: %d rounds, %v, of %d steps", x.ID, len(rounds), err, len(x.phases)-1)
	}
	for i, round := range rounds {
		x.compareLog(fmt.Sprint("round ", i+1), round, x.phases[i+1].log)
	}
}

// compareTrace compares what happened in the clauses that are named.
func (x *player) compareTrace(want json.RawMessage) {
	x.Helper()
	var trace [][2]json.RawMessage
	if err := json.Unmarshal(want, &trace); err != nil {
		x.Fatal(err)
	}
	next := 1
	for _, part := range trace {
		i := x.find(x.optionalText(part[0]), next)
		if i < 0 {
			x.Fatalf("%s: no step is %s", x.ID, part[0])
		}
		x.compareAt(string(part[0]), part[1], x.phases[i].log, x.phases[i].buffered)
		next = i + 1
	}
}
