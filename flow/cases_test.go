package flow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// flowCase is a case of testdata/flow.json: what was observed of Elixir's Flow.
type flowCase struct {
	ID, Title, Determinism, Verdict string
	Setup                           map[string]any
	Steps                           []string
	Expect                          json.RawMessage

	Area, Note, Go string          // for who reads it
	Source, Legend json.RawMessage // likewise: where it was observed
}

// expectation is a member of a case's expect, in the order of the file.
type expectation struct {
	name  string
	value any
}

func (c *flowCase) expectations(t *testing.T) []expectation {
	t.Helper()
	var list []expectation
	dec := json.NewDecoder(bytes.NewReader(c.Expect))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
		list = append(list, expectation{name.(string), whole(value)})
	}
	return list
}

func (c *flowCase) expected(t *testing.T, name string) any {
	t.Helper()
	for _, e := range c.expectations(t) {
		if e.name == name {
			return e.value
		}
	}
	return nil
}

// readCases reads all files of cases: what was recorded, and ours, which are worked out by hand.
func readCases(t *testing.T) []flowCase {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "flow*.json"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%d files of cases, %v", len(names), err)
	}
	var all []flowCase
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Area  string
			Cases []flowCase
		}
		if err := strictly(content, &file); err != nil || len(file.Cases) == 0 {
			t.Fatalf("%s has %d cases, %v", name, len(file.Cases), err)
		}
		for i := range file.Cases {
			c := &file.Cases[i]
			c.Setup, _ = whole(c.Setup).(map[string]any)
			if i > 0 {
				c.inherit(file.Cases[i-1].Setup)
			}
			c.inheritKeys(file.Cases[:i])
		}
		all = append(all, file.Cases...)
	}
	return all
}

// strictly decodes what has no fields that nobody knows.
func strictly(content []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// inherit fills in what "same" means: the source of the case before, and its window.
func (c *flowCase) inherit(before map[string]any) {
	source, _ := c.Setup["source"].(string)
	change, isSame := strings.CutPrefix(source, "same")
	earlier, isText := before["source"].(string)
	if !isSame || !isText {
		return
	}
	c.Setup["source"] = earlier + change
	if c.Setup["window"] == nil {
		c.Setup["window"] = before["window"]
	}
}

// inheritKeys gives a join that says nothing of its keys those of the one before, as far as there is one.
func (c *flowCase) inheritKeys(before []flowCase) {
	if c.Setup["left"] == nil || c.Setup["left_key"] != nil || slices.ContainsFunc(c.Steps, func(s string) bool { return strings.Contains(s, " on ") }) {
		return
	}
	for _, earlier := range slices.Backward(before) {
		if earlier.Setup["left_key"] != nil {
			c.Setup["left_key"], c.Setup["right_key"] = earlier.Setup["left_key"], earlier.Setup["right_key"]
			return
		}
	}
}

// The steps of each case are read as a little language (see clauses), and what they yield is compared
// with what is expected. A step that nobody understands fails.
func TestFlowCases(t *testing.T) {
	cases := readCases(t)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer failsAlone(t)
				enact(t, &c, cases)
			})
		})
	}
}

// failsAlone has a case that has another form than its kind fail, and not end the others.
func failsAlone(t *testing.T) {
	t.Helper()
	if v := recover(); v != nil {
		t.Errorf("the case has a form that nobody knows: %v\n%s", v, debug.Stack())
	}
}

// outcome is what a step of a case has come to.
type outcome struct {
	value   any  // a list mostly
	checked bool // there is no value to compare
	reads   int  // events read from the sources
	merges  map[string]int
}

// known are the words of a setup, and what they may be.
var known = map[string][]reflect.Kind{
	"source": {reflect.String, reflect.Slice}, "sources": {reflect.Slice}, "left": {reflect.Slice}, "right": {reflect.Slice},
	"stages": {reflect.Int}, "upstream_stages": {reflect.Int}, "max_demand": {reflect.Int}, "min_demand": {reflect.Int}, "partitions": {reflect.Int},
	"trigger_ms": {reflect.Int}, "trigger_every": {reflect.Int}, "every": {reflect.Int},
	"hash": {reflect.String}, "window": {reflect.String}, "trigger": {reflect.String}, "marker": {reflect.String}, "punctuation": {reflect.String},
	"left_key": {reflect.String}, "right_key": {reflect.String}, "kind": {reflect.String}, "mode": {reflect.String}, "file": {reflect.String},
}

// check fails on words of the case that nobody knows, on values that they cannot have, and on expectations beside
// one of what is here instead.
func (c *flowCase) check(t *testing.T) {
	t.Helper()
	for word, value := range c.Setup {
		if !slices.Contains(known[word], reflect.ValueOf(value).Kind()) {
			t.Fatalf("nobody knows %q of a setup as %v", word, value)
		}
	}
	if p := c.Setup["punctuation"]; p != nil && p != "pre" && p != "post" {
		t.Fatalf("nobody knows the punctuation %q", p)
	}
	if !slices.Contains([]string{"exact", "set", "invariant", "timing"}, c.Determinism) || !slices.Contains([]string{"carry", "adapt", "avoid"}, c.Verdict) {
		t.Fatalf("nobody knows a case that is %q and to %q", c.Determinism, c.Verdict)
	}
	if len(c.Steps) == 0 || len(c.expectations(t)) == 0 {
		t.Fatal("a case without steps, or without expectations")
	}
	for _, e := range c.expectations(t) {
		if e.name != "go_expect" && e.name != "elixir" && c.expected(t, "go_expect") != nil {
			t.Fatalf("nothing is known about the expectation %q", e.name)
		}
	}
}

func enact(t *testing.T, c *flowCase, all []flowCase) {
	t.Helper()
	c.check(t)
	switch goExpect := c.expected(t, "go_expect").(type) {
	case string:
		enactInstead(t, c, goExpect, all)
		return
	case []any, map[string]any, int: // what Flow did is beside it
		equal(t, c, "go_expect", newScript(t, c, variant{}).play(c.Steps).value, goExpect)
		return
	}
	var outcomes []outcome
	for i := range c.Steps {
		s := newScript(t, c, variant{})
		outcomes = append(outcomes, s.play(c.Steps[:i+1]))
	}
	step := 0 // of the next value that is expected
	for _, e := range c.expectations(t) {
		last := outcomes[len(outcomes)-1]
		switch {
		case strings.HasSuffix(e.name, "_elixir") || e.name == "elixir": // what is different here: the next name says to what
		case e.name == "each_partition_sorted":
			equal(t, c, e.name, true, e.value)
			for _, part := range last.value.([]any) {
				if !slices.IsSortedFunc(part.([]any), func(a, b any) int { return a.(int) - b.(int) }) {
					t.Errorf("not in order: %v", part)
				}
			}
		case e.name == "states":
			equal(t, c, e.name, len(last.value.([]any)), e.value)
		case e.name == "total":
			equal(t, c, e.name, total(last.value), e.value)
		case e.name == "reads":
			equal(t, c, e.name, last.reads, e.value)
		case e.name == "reads_at_most":
			if last.reads == 0 || last.reads > e.value.(int) {
				t.Errorf("%d events were read, want at most %v", last.reads, e.value)
			}
		case e.name == "results":
			for i, want := range e.value.([]any) {
				equal(t, c, e.name, outcomes[i].value, want)
			}
		case e.name == "windows":
			equal(t, c, e.name, windowsOf(last.value), e.value)
		case e.name == "all":
			equal(t, c, e.name, eventsOf(last.value), e.value)
		case e.name == "rule":
			obeys(t, last, e.value.(string), c.Setup)
		case step < len(outcomes) && outcomes[step].checked:
			if text := e.value; text != "caller exit shutdown" && text != "exit with the original error boom" {
				t.Errorf("nobody knows the end %q", text)
			}
			step++
		case step < len(outcomes):
			equal(t, c, e.name, outcomes[step].value, e.value)
			step++
		default:
			t.Errorf("nothing is known about the expectation %q", e.name)
		}
	}
}

// enactInstead enacts a case of what is not to be as Flow has it.
func enactInstead(t *testing.T, c *flowCase, goExpect string, all []flowCase) {
	t.Helper()
	var other string
	if n, _ := fmt.Sscanf(goExpect, "same as %s", &other); n == 1 && strings.HasSuffix(goExpect, "for every batch size") {
		i := slices.IndexFunc(all, func(o flowCase) bool { return o.ID == other })
		if i < 0 {
			t.Fatalf("there is no case %s", other)
		}
		for demand := 1; demand <= 10; demand++ {
			got := newScript(t, c, variant{demand: demand}).play(c.Steps)
			equal(t, c, fmt.Sprintf("demand of %d", demand), got.value, all[i].expected(t, "result"))
		}
		return
	}
	if !strings.HasPrefix(goExpect, "optional") {
		t.Fatalf("nothing is known about the expectation %q", goExpect)
	}
	elixir := c.expected(t, "elixir").([]any)
	equal(t, c, "with Empty", newScript(t, c, variant{empty: true}).play(c.Steps).value, elixir)
	var some []any
	for _, e := range elixir {
		if empty := canonical(e.([]any)[0]); !slices.Contains([]string{"0", "[]", "{}"}, empty) {
			some = append(some, e)
		}
	}
	equal(t, c, "without Empty", newScript(t, c, variant{}).play(c.Steps).value, some)
}

// equal compares lists as multisets where the case says that their order is open.
func equal(t *testing.T, c *flowCase, name string, got, want any) {
	t.Helper()
	if text, ok := want.(string); ok {
		if seq, ok := numbersOf(text); ok {
			want = slices.Collect(seq)
		}
	}
	a, b := canonical(got), canonical(want)
	if list, ok := got.([]any); ok && (c.Determinism == "set" || c.Determinism == "invariant") {
		wanted, _ := whole(decode(b)).([]any)
		a, b = canonical(sorted(list)), canonical(sorted(wanted))
	}
	if a != b {
		t.Errorf("%s: got %s, want %s", name, a, b)
	}
}

func decode(text string) (v any) {
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	return v
}

// sorted is a sorted copy: of numbers by size, of anything else by its text.
func sorted(list []any) []any {
	list = append([]any{}, list...)
	slices.SortFunc(list, func(a, b any) int {
		m, isInt := a.(int)
		n, areInts := b.(int)
		if isInt && areInts {
			return m - n
		}
		return strings.Compare(canonical(a), canonical(b))
	})
	return list
}

func total(v any) int {
	if n, ok := v.(int); ok {
		return n
	}
	sum := 0
	for _, n := range v.([]any) {
		sum += n.(int)
	}
	return sum
}
