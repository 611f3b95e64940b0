package stages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// find returns the first phase from one on whose clause has all words of a name that any clause has, or -1.
func (x *player) find(name string, from int) int {
	words := slices.DeleteFunc(stems(name), func(word string) bool {
		return !slices.ContainsFunc(x.phases, func(p phase) bool { return slices.Contains(p.words, word) })
	})
	for i := max(from, 1); i < len(x.phases) && len(words) > 0; i++ {
		if !slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(x.phases[i].words, word) }) {
			return i
		}
	}
	return -1
}

var ordinals = []string{"first", "second", "third", "fourth", "fifth"}

// phasesOf are from which phase to which an expectation is about.
func (x *player) phasesOf(key string) (from, to int) {
	x.Helper()
	last := len(x.phases) - 1
	name := strings.TrimPrefix(key, "first_")
	found := x.find(name, 1)
	if name == key && slices.Contains(ordinals, key) {
		return x.ordinal(slices.Index(ordinals, key))
	}
	switch {
	case key == "events":
		return x.events()
	case key == "initial":
		return 0, 1
	case strings.HasPrefix(key, "before"):
		if found < 0 {
			found = last
			if i := slices.IndexFunc(x.phases, func(p phase) bool { return slices.Contains(p.words, "subscrib") }); i > 0 {
				found = i
			}
		}
		return 0, found
	case strings.HasPrefix(name, "after") && found >= 0:
		return x.afterStep(name, found)
	case found >= 0:
		return found, found + 1
	case strings.HasPrefix(key, "after"), strings.HasPrefix(key, "then"), key == "next", key == "later", key == "last", key == "all":
		return last, last + 1
	case strings.HasPrefix(key, "while"):
		return 0, 2
	case key == "deliveries":
		return 0, last + 1
	}
	x.Fatalf("%s: unknown expectation %q: %s", x.ID, key, x.Expect.parts[key])
	return 0, 0
}

// afterStep are the phases from the one that a name speaks of to the end of its step. A name of one word
// speaks of the last one.
func (x *player) afterStep(name string, found int) (from, to int) {
	next := found
	for next >= 0 {
		if found = next; len(stems(name)) == 2 {
			next = x.find(name, found+1)
		} else {
			next = -1
		}
	}
	to = found + 1
	for to < len(x.phases) && x.phases[to].step == x.phases[found].step {
		to++
	}
	return found, to
}

// ordinal is the step of that number. If there are more steps than ordinals, the last one is of the last step
// and the others are of all before.
func (x *player) ordinal(n int) (from, to int) {
	count := 0
	for _, o := range ordinals {
		if x.Expect.parts[o] != nil {
			count++
		}
	}
	last := len(x.phases)
	if steps := len(x.Steps); count > 1 && steps > count {
		if n == count-1 {
			return last - 1, last
		}
		return 1, last - 1
	}
	of := func(step int) int {
		i := slices.IndexFunc(x.phases, func(p phase) bool { return p.step >= step })
		if i < 0 {
			return last
		}
		return i
	}
	return of(n), of(n + 1)
}

// events is the log up to the first phase that another expectation is about, of the whole case if there is
// none. What happened before all steps is left out if it does not begin with that.
func (x *player) events() (from, to int) {
	to = len(x.phases)
	for _, key := range x.Expect.keys {
		if key != "events" && (strings.HasPrefix(key, "then") || strings.HasPrefix(key, "after")) {
			first, _ := x.phasesOf(key)
			to = min(to, first)
		}
	}
	var log []entry
	if json.Unmarshal(x.Expect.parts["events"], &log) == nil && len(log) > 0 && log[0][0] == "batch" {
		from = 1
	}
	return from, to
}

// comparePhase compares what happened in a phase.
func (x *player) comparePhase(key string, want json.RawMessage) {
	x.Helper()
	name := strings.TrimPrefix(key, "go_expect_")
	from, to := x.phasesOf(name)
	log := x.between(from, to)
	switch {
	case key == "all": // whether there is a new subscription, and what happened
		var parts []json.RawMessage
		if err := json.Unmarshal(want, &parts); err != nil || len(parts) != 2 {
			x.Fatalf("%s: unknown expectation %s", x.ID, want)
		}
		x.equal("new subscription", parts[0], x.again)
		x.compareLog(key, parts[1], log)
	case strings.HasPrefix(key, "first_"): // and no more than the beginning of it
		var list []entry
		if err := json.Unmarshal(want, &list); err != nil {
			x.Fatal(err)
		}
		left := map[any]int{}
		for _, e := range list {
			left[who(e)]++
		}
		log = slices.DeleteFunc(x.told(log), func(e entry) bool { left[who(e)]--; return left[who(e)] < 0 })
		x.compareLog(key, want, log)
	default:
		x.compareAt(key, want, log, x.phases[to-1].buffered)
	}
}

// who is whose entry it is.
func who(e entry) any {
	if len(e) > 1 {
		return e[1]
	}
	return ""
}

// compareAt compares what happened with a log, with a log and how much is buffered after it, or with an
// object of both.
func (x *player) compareAt(key string, want json.RawMessage, log []entry, buffered int) {
	x.Helper()
	var object map[string]json.RawMessage
	if json.Unmarshal(want, &object) == nil {
		for part, value := range object {
			switch part {
			case "events", "delivered":
				x.compareLog(key, value, log)
			case "buffered", "buffered_in_stage":
				x.equal(key+" buffered", value, buffered)
			default:
				x.Fatalf("%s: unknown expectation %q in %q", x.ID, part, key)
			}
		}
		return
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(want, &parts); err != nil {
		x.Fatalf("%s: unknown expectation %q: %s", x.ID, key, want)
	}
	var n int
	if len(parts) == 2 && json.Unmarshal(parts[1], &n) == nil {
		x.compareLog(key, parts[0], log)
		x.equal(key+" buffered", parts[1], buffered)
		return
	}
	x.compareLog(key, want, log)
}

// compareLog compares a log, stage by stage, as far as the case tells of its kinds of entries. A list of pairs
// is of what consumers got; where batches are told of by their size, first and last event, they are compared
// by that.
func (x *player) compareLog(key string, want json.RawMessage, log []entry) {
	x.Helper()
	var list []entry
	if err := json.Unmarshal(want, &list); err != nil {
		x.Fatalf("%s: unknown expectation %q: %s", x.ID, key, want)
	}
	if slices.ContainsFunc(list, func(e entry) bool { return len(e) == 0 }) {
		x.Fatalf("%s: unknown expectation %q: %s", x.ID, key, want)
	}
	if len(list) > 0 && x.consumers[fmt.Sprint(list[0][0])] != nil {
		x.comparePairs(key, list, log)
		return
	}
	log = x.told(log)
	if x.isBrief() {
		log = brief(log)
	}
	bare := slices.ContainsFunc(list, func(e entry) bool { return e[0] == "demand" && len(e) == 2 })
	for i, e := range log {
		if e[0] == "demand" && bare {
			log[i] = entry{e[0], e[2]}
		}
	}
	if log == nil {
		log = []entry{}
	}
	x.same(key, list, log)
}

// comparePairs compares what each consumer got; who is in no pair got nothing.
func (x *player) comparePairs(key string, pairs, log []entry) {
	x.Helper()
	want := map[string]any{}
	for name := range x.consumers {
		want[name] = []any{}
	}
	for _, pair := range pairs {
		if len(pair) != 2 {
			x.Fatalf("%s: unknown expectation %q: %v", x.ID, key, pairs)
		}
		want[fmt.Sprint(pair[0])] = pair[1]
	}
	got := map[string]any{}
	for name := range x.consumers {
		got[name] = eventsOf(log, name)
	}
	x.same(key, want, got)
}

// told are the entries of the kinds that the case tells of.
func (x *player) told(log []entry) (told []entry) {
	kinds := map[string]bool{"batch": x.kind != "stage" && x.kind != "pc"} // dispatchers are about who gets what
	for _, m := range regexp.MustCompile(`\["([a-z]+)"[,\]]`).FindAllSubmatch(x.expectedText(), -1) {
		kinds[string(m[1])] = true
	}
	for _, e := range log {
		if !kinds[e[0].(string)] {
			continue
		}
		e = slices.Clone(e)
		if e[0] == "ccancel" {
			e[2] = []any{x.why[0], e[2]}
		}
		told = append(told, e)
	}
	return told
}

func (x *player) expectedText() (all []byte) {
	for _, raw := range x.Expect.parts {
		all = append(all, compacted(raw)...)
	}
	return all
}

func compacted(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// isBrief reports whether the case writes batches as size, first and last event: a long push fits no other.
func (x *player) isBrief() bool {
	for _, m := range regexp.MustCompile(`\["batch","\w+",\[(\d+),(\d+),(\d+)\]\]`).FindAllSubmatch(x.expectedText(), -1) {
		if x.int(string(m[3]))-x.int(string(m[2]))+1 != x.int(string(m[1])) {
			return false
		}
	}
	return x.Setup["max_demand"] != nil && x.number("max_demand") >= 100
}

var beforePattern = regexp.MustCompile(`^([\d,]+) before ([\d,]+), always$`)

// compareInstead compares what is to happen in place of what the original does.
func (x *player) compareInstead(want json.RawMessage) {
	x.Helper()
	var parts map[string]json.RawMessage
	if json.Unmarshal(want, &parts) == nil {
		for key, part := range parts {
			x.compare(key, part)
		}
		return
	}
	m := beforePattern.FindStringSubmatch(x.optionalText(want))
	if m == nil {
		x.Fatalf("%s: unknown expectation %s", x.ID, want)
	}
	var order []any
	for number := range strings.SplitSeq(m[1]+","+m[2], ",") {
		order = append(order, x.int(number))
	}
	for name := range x.consumers {
		got := slices.DeleteFunc(eventsOf(x.all(), name), func(event any) bool { return !slices.Contains(order, event) })
		x.same("order at "+name, order, got)
	}
}
