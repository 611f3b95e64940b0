package flow_test

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/flow"
)

func windowsOf(v any) []any {
	var ids []any
	for _, e := range v.([]any) {
		if id := e.([]any)[1].([]any)[1]; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func eventsOf(v any) []any {
	var all []any
	for _, e := range v.([]any) {
		all = append(all, e.([]any)[0].([]any)...)
	}
	return all
}

func (s *script) departition() {
	s.stream = flow.Gather(s.reduced(), func() any { return []any{} }, func(all, acc any, p flow.Pane) any {
		s.merges[p.Trigger.String()]++
		if !s.info {
			return sorted(append(all.([]any), acc))
		}
		if len(all.([]any)) == 0 {
			return []any{s.id(p), []any{acc}}
		}
		list := all.([]any)[1].([]any)
		return []any{s.id(p), sorted(append(list, acc))}
	})
	s.reduce = nil
}

// obeys checks how often a departition merges, and that a window comes out of it once.
func obeys(t *testing.T, o outcome, rule string, setup map[string]any) {
	t.Helper()
	if rule != "merge per trigger, done per window" {
		t.Fatalf("nobody knows the rule %q", rule)
	}
	if o.merges["done"] != setup["partitions"] || o.merges["every"] == 0 || len(o.value.([]any)) != 1 {
		t.Errorf("%v merges, %d results", o.merges, len(o.value.([]any)))
	}
}

// groupBy makes lists by key, in the order of their events, in the form that is expected.
func (s *script) groupBy(source string) {
	s.partition = max(s.partition, 1)
	key := s.function(source)
	lists := flow.Fold(s.by(func(x any) any { return key(valueOf(x)) }), func(any) []any { return []any{} },
		func(all []any, x any) []any { return append(all, valueOf(x)) })
	pairs := s.collect(flow.Map(lists, func(g flow.Group[any, []any]) any { return []any{g.Key, g.Value} }))
	s.out = sorted(pairs)
	if _, ok := s.c.expected(s.T, "result").(map[string]any); ok {
		byKey := map[string]any{}
		for _, p := range pairs {
			byKey[strings.Trim(canonical(p.([]any)[0]), `"`)] = p.([]any)[1]
		}
		s.out = byKey
	}
}

// takeSort takes the n least, or greatest, in one list.
func (s *script) takeSort(n int, descending bool) {
	s.stream = flow.Map(flow.Top(s.stream, n, func(a, b any) int {
		order := a.(int) - b.(int)
		if descending {
			return order
		}
		return -order
	}), func(list []any) any { return list })
	if list, ok := s.c.expected(s.T, "result").([]any); ok && len(list) > 0 {
		if _, nested := list[0].([]any); !nested {
			s.stream = flow.FlatMap(s.stream, func(list any) iter.Seq[any] { return slices.Values(list.([]any)) })
		}
	}
}

var joinKind = regexp.MustCompile(`\b(inner|left|right|full)[ _](?:outer|join)?`)

// join joins the two sides of the setup.
func (s *script) join(onFirst bool) {
	m := joinKind.FindStringSubmatch(s.text("kind") + " " + s.text("mode") + " " + s.c.Title)
	if m == nil {
		s.Fatalf("nobody knows what join %q is", s.c.Title)
	}
	kind := map[string]flow.JoinKind{"inner": flow.Inner, "left": flow.Left, "right": flow.Right, "full": flow.Full}[m[1]]
	key := func(side, otherwise string) func(any) any {
		if onFirst {
			return func(x any) any { return x.([]any)[0] }
		}
		if text := s.text(side + "_key"); text != "" {
			otherwise = text
		}
		return s.function(otherwise)
	}
	left, right := flow.From(slices.Values(s.c.Setup["left"].([]any))), flow.From(slices.Values(s.c.Setup["right"].([]any)))
	var windows []flow.JoinWindow[any, any]
	m = regexp.MustCompile(`fixed (\d+ \w+)`).FindStringSubmatch(s.text("window") + " " + s.c.Title)
	if m != nil {
		at := func(x any) time.Time { return time.UnixMilli(int64(x.(int))) }
		windows = append(windows, flow.JoinWindow[any, any]{Size: s.duration(m[1]), LeftAt: at, RightAt: at})
	}
	joined := flow.Join(kind, flow.By(left, key("left", "x")).Partitions(2), flow.By(right, key("right", "x-3")).Partitions(2), windows...)
	s.stream = flow.Map(joined, func(j flow.Joined[any, any]) any {
		pair := []any{j.Left, j.Right}
		for i := range pair {
			if list, ok := pair[i].([]any); ok {
				pair[i] = list[1]
			}
		}
		return pair
	})
}

func (s *script) emitNothing(text string) {
	s.stream = s.source(text, nil)
	calls := 0
	r := flow.Reduce(s.by(nil), func() any { return 0 }, func(acc, _ any) any { calls++; return acc })
	list := s.collect(flow.OnTrigger(r, func(acc any, _ flow.Pane) ([]any, any) { return nil, acc }))
	s.out = []any{list, calls}
}

func (s *script) emitEvents(text string) {
	s.stream = s.source(text, nil)
	r := flow.Reduce(s.by(nil), func() []any { return nil }, func(acc []any, x any) []any { return append([]any{x}, acc...) })
	s.stream = flow.OnTrigger(r, func(acc []any, _ flow.Pane) ([]any, []any) { return acc, nil })
}

// vector is a recorded input, of counts and triggers or of fixed windows, and what the original emitted for it.
type vector struct {
	Kind     string
	N, Size  int
	Reset    bool  `json:"reset_on_trigger"`
	Duration int   `json:"duration_ms"`
	Times    []int `json:"event_times_ms_item_index_from_1"`
	Emitted  []struct {
		State, Items []any
		ID           any
		Start        int `json:"window_start_ms"`
		Trigger      string
		Window       string // as the vector's kind has it
	}
}

// replay runs vectors through the public package.
func (s *script) replay() {
	content, err := os.ReadFile(filepath.Join("..", "internal", "window", "testdata", filepath.Base(s.text("file"))))
	if err != nil {
		s.Fatal(err)
	}
	var vectors []vector
	if err := strictly(content, &vectors); err != nil || len(vectors) == 0 {
		s.Fatalf("%d vectors: %v", len(vectors), err)
	}
	s.out = "all"
	for i, v := range vectors {
		want := []any{}
		for _, e := range v.Emitted {
			number, _ := whole(e.ID).(int) // "global" is window 0
			want = append(want, []any{whole(append(e.State, e.Items...)), e.Trigger, number + e.Start})
		}
		if got := s.emittedOf(v); canonical(got) != canonical(want) {
			s.out = fmt.Sprintf("not vector %d", i)
			s.Errorf("vector %d: got %s, want %s", i, canonical(got), canonical(want))
		}
	}
}

// emittedOf is what the windows of a vector emit here: list, trigger and number or start.
func (s *script) emittedOf(v vector) []any {
	var w flow.Window[any]
	var events []any
	switch {
	case v.Kind == "count":
		w = flow.Count[any](v.Size)
	case v.Kind == "global_trigger":
		w = flow.Global[any]().EveryN(v.Size)
	case v.Duration > 0:
		w = flow.Fixed(time.Duration(v.Duration)*time.Millisecond, func(x any) time.Time { return x.(timed).At })
	default:
		s.Fatalf("nobody knows the vector %+v", v)
	}
	for n := range v.N {
		events = append(events, timed{Value: n + 1})
	}
	for n, at := range v.Times {
		events = append(events, timed{n + 1, time.UnixMilli(int64(at))})
	}
	keyed := flow.By(flow.From(slices.Values(events)), func(any) int { return 0 }).Partitions(1).Within(w.Empty())
	r := flow.Reduce(keyed, func() []any { return []any{} }, func(acc []any, x any) []any { return append(slices.Clone(acc), valueOf(x)) })
	return s.collect(flow.OnTrigger(r, func(acc []any, p flow.Pane) ([]any, []any) {
		next := acc
		if v.Reset {
			next = []any{}
		}
		name, at := p.Trigger.String(), p.Number
		if p.Trigger == flow.Every {
			name = fmt.Sprintf("every_%d", v.Size)
		}
		if v.Duration > 0 {
			at = int(p.Start.UnixMilli())
		}
		return []any{[]any{acc, name, at}}, next
	}))
}
