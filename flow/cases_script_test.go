package flow_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand/flow"
)

// variant is how a case is enacted otherwise than it says.
type variant struct {
	demand int  // instead of the setup's
	empty  bool // windows without events are wanted
}

// script is one step of a case on its way to a flow.
type script struct {
	*testing.T
	c         *flowCase
	variant   variant
	stream    flow.Stream[any]
	reduce    *reduction
	parts     bool // the result is a list for each partition
	info      bool // the result is wanted with its window
	take      int
	out       any // the result, once the flow was run
	reads     atomic.Int64
	merges    map[string]int
	checked   bool // the step has itself compared what it is about
	partition int  // partitions, if the step says so; 0: as the setup says
}

// timed is an event with its time.
type timed struct {
	Value any
	At    time.Time
}

// reduction is what is made of the events of a window.
type reduction struct {
	zero any
	add  func(acc, v any) any
	keep bool // at a trigger the accumulator stays; else it begins anew
}

func newScript(t *testing.T, c *flowCase, v variant) *script {
	t.Helper()
	s := &script{T: t, c: c, variant: v, take: -1, merges: map[string]int{}}
	s.stream = s.staged(s.sources()...)
	return s
}

// staged is where the steps begin: several sources as one, and as many goroutines as the setup says.
func (s *script) staged(sources ...flow.Stream[any]) flow.Stream[any] {
	if n := s.number("stages", s.number("upstream_stages", 1)); n > 1 {
		return flow.Merge(sources...).Stages(n)
	}
	return flow.Merge(sources...)
}

// number is an int of the setup.
func (s *script) number(name string, otherwise int) int {
	if n, ok := s.c.Setup[name].(int); ok {
		return n
	}
	return otherwise
}

func (s *script) text(name string) string {
	text, _ := s.c.Setup[name].(string)
	return text
}

// clauses are what a step may consist of, separated by semicolons and commas.
var clauses = []clauseOf{
	clause(`sort`, func(s *script, _ []string) { s.finish(); s.out = sorted(s.out.([]any)) }),
	clause(`map`, func(*script, []string) {}),
	clause(`map (.+)`, func(s *script, args []string) {
		s.stream = flow.Map(s.stream, s.function(args[0]))
	}),
	clause(`filter (.+)`, func(s *script, args []string) { s.filter(s.function(args[0]), true) }),
	clause(`reject (-?\w+)`, func(s *script, args []string) { s.filter(s.function("x == "+args[0]), false) }),
	clause(`reject (.+)`, func(s *script, args []string) { s.filter(s.function(args[0]), false) }),
	clause(`flat_map (.+)`, func(s *script, args []string) {
		f := s.function(args[0])
		s.stream = flow.FlatMap(s.stream, func(x any) iter.Seq[any] { return slices.Values(f(x).([]any)) })
	}),
	clause(`map_batch -> \(size,sum\)`, func(s *script, _ []string) {
		s.stream = flow.MapBatch(s.stream, func(_ context.Context, batch []any) ([]any, error) {
			return []any{[]any{len(batch), total(batch)}}, nil
		})
	}),
	clause(`take (\d+)(?: and count source reads)?`, func(s *script, args []string) { s.take = s.int(args[0]) }),
	clause(`count reads`, func(*script, []string) {}),
	clause(`partition`, func(*script, []string) {}), // by its key, which is an event itself
	clause(`partition (\d+)`, func(s *script, args []string) { s.partition = s.int(args[0]) }),
	clause(`partition two flows of (even|odd) numbers (\S+)`, func(s *script, args []string) { s.twoFlows(args[0], args[1]) }),
	clause(`merge (.+ and .+)`, func(s *script, args []string) {
		var all []flow.Stream[any]
		for text := range strings.SplitSeq(args[0], " and ") {
			all = append(all, s.source(text, nil))
		}
		s.stream = s.staged(all...)
	}),
	clause(`shuffle(?: (\d+))?`, func(s *script, args []string) {
		s.stream = s.stream.Stages(s.int(cmp.Or(args[0], "0")))
	}),
	clause(`each`, func(s *script, _ []string) { s.stream = s.stream.Each(func(any) {}) }),
	clause(`group(?:_| )by (.+)`, func(s *script, args []string) { s.groupBy(args[0]) }),
	clause(`take_sort (\d+)( descending| desc)?`, func(s *script, args []string) { s.takeSort(s.int(args[0]), args[1] != "") }),
	clause(`uniq`, func(s *script, _ []string) { s.stream = flow.Uniq(s.by(nil)) }),
	clause(`uniq_by (x.*)`, func(s *script, args []string) { s.stream = flow.Uniq(s.by(s.function(args[0]))) }),
	clause(`uniq_by key on (.+) one stage`, func(s *script, args []string) {
		s.stream, s.partition = s.source("", s.literal(args[0])), 1
		s.stream = flow.Uniq(s.by(func(x any) any { return x.([]any)[0] }))
	}),
	clause(`(sum|collect|count)(?: (kept|reset))?`, func(s *script, args []string) { s.reduces(args[0], args[1]) }),
	clause(`count words`, func(s *script, _ []string) { s.reduces("count words", "") }),
	clause(`(sum|collect|count) per partition`, func(s *script, args []string) {
		s.reduces(args[0], "")
		s.parts = true
	}),
	clause(`emit_and_reduce (sum|count|collect)`, func(s *script, args []string) {
		r := reductions(args[0])
		all := func(any) any { return 0 } // one accumulator a partition: those of a hash are its keys
		if s.text("hash") != "" {
			all = nil
		}
		s.stream = flow.Scan(s.by(all), func(any) any { return r.zero }, func(acc, x any) (any, []any) {
			acc = r.add(acc, valueOf(x))
			return acc, []any{acc}
		}, nil)
	}),
	clause(`kept|reset`, func(s *script, args []string) { s.reduce.keep = args[0] == "kept" }),
	clause(`emit state`, func(s *script, _ []string) { s.parts = true }),
	clause(`total`, func(s *script, _ []string) { s.reduces("sum", ""); s.finish(); s.out = total(s.out) }),
	clause(`departition(?: into a sorted list)?`, func(s *script, _ []string) { s.departition() }),
	clause(`join(?: on (first))?`, func(s *script, args []string) { s.join(args[0] == "first") }),
	clause(`reduce (\S+) emit nothing`, func(s *script, args []string) { s.emitNothing(args[0]) }),
	clause(`reduce (\S+) to list emit events`, func(s *script, args []string) { s.emitEvents(args[0]) }),
	clause(`linked|unlinked run`, func(s *script, _ []string) { s.fail() }),
	clause(`replay`, func(s *script, _ []string) { s.replay() }),
}

type clauseOf struct {
	pattern *regexp.Regexp
	do      func(s *script, args []string)
}

func clause(pattern string, do func(*script, []string)) clauseOf {
	return clauseOf{regexp.MustCompile(`^(?:` + pattern + `)$`), do}
}

// play enacts the last of the steps.
func (s *script) play(steps []string) outcome {
	step := steps[len(steps)-1]
	if step == "with window info" && len(steps) > 1 {
		s.info = true
		step = steps[len(steps)-2]
	}
	for _, text := range separate(step) {
		if given := regexp.MustCompile(`^(-?\d+\.\.-?\d+) (.+)$`).FindStringSubmatch(text); given != nil {
			s.stream, text = s.staged(s.source(given[1], nil)), given[2]
		}
		s.perform(text)
	}
	s.finish()
	return outcome{value: s.out, checked: s.checked, reads: int(s.reads.Load()), merges: s.merges}
}

func (s *script) perform(text string) {
	for _, c := range clauses {
		if m := c.pattern.FindStringSubmatch(text); m != nil {
			args := m[1:]
			if len(args) == 0 {
				args = m
			}
			c.do(s, args)
			return
		}
	}
	s.Fatalf("nobody knows what %q means", text)
}

// separate cuts a step at semicolons and commas that are in no brackets.
func separate(step string) []string {
	var parts []string
	depth, start := 0, 0
	for i, r := range step {
		switch r {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case ',', ';':
			if depth == 0 {
				parts, start = append(parts, strings.TrimSpace(step[start:i])), i+1
			}
		}
	}
	return append(parts, strings.TrimSpace(step[start:]))
}

func (s *script) int(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *script) function(source string) func(any) any {
	f, err := expression(source)
	if err != nil {
		s.Fatal(err)
	}
	return f
}

func (s *script) literal(source string) []any {
	list, ok := s.function(source)(nil).([]any)
	if !ok {
		s.Fatalf("%q is no list", source)
	}
	return list
}

func (s *script) filter(f func(any) any, keep bool) {
	s.stream = s.stream.Filter(func(x any) bool { return f(x).(bool) == keep })
}

func (s *script) demand() int {
	if s.variant.demand > 0 {
		return s.variant.demand
	}
	return s.number("max_demand", 500)
}

// reductions are what the steps make of the events of a window.
func reductions(name string) reduction {
	return map[string]reduction{
		"sum":     {zero: 0, add: func(acc, v any) any { return acc.(int) + v.(int) }},
		"count":   {zero: 0, add: func(acc, _ any) any { return acc.(int) + 1 }},
		"collect": {zero: []any{}, add: func(acc, v any) any { return append(slices.Clone(acc.([]any)), v) }},
		"count words": {zero: map[string]int{}, add: func(acc, v any) any {
			counts := maps.Clone(acc.(map[string]int))
			counts[v.(string)]++
			return counts
		}},
	}[name]
}

func (s *script) reduces(name, mode string) {
	r := reductions(name)
	r.keep = mode != "reset"
	s.reduce = &r
}

// finish runs the flow, unless that is done.
func (s *script) finish() {
	if s.out != nil {
		return
	}
	if s.reduce != nil {
		s.stream = s.emitted()
	}
	if s.take >= 0 {
		s.stream = s.stream.Take(s.take)
	}
	s.out = s.collect(s.stream)
}

func (s *script) collect(stream flow.Stream[any]) []any {
	list, err := flow.Collect(s.Context(), stream.Demand(s.demand()))
	if err != nil {
		s.Fatal(err)
	}
	return append([]any{}, list...)
}

// fail has a step fail, and another one panic, in several goroutines.
func (s *script) fail() {
	boom := errors.New("boom")
	for _, n := range []int{1, 3} {
		err := flow.Try(s.stream.Stages(n), func(context.Context, any) (any, error) { return nil, boom }).Run(s.Context())
		if !errors.Is(err, boom) {
			s.Errorf("Run returned %v", err)
		}
		err = flow.Map(s.stream.Stages(n), func(any) any { panic(boom) }).Run(s.Context())
		if p, ok := errors.AsType[*flow.PanicError](err); !ok || !errors.Is(err, boom) || len(p.Stack) == 0 {
			s.Errorf("Run returned %v", err)
		}
	}
	s.out, s.checked = []any{}, true
}

func (s *script) twoFlows(parity, text string) {
	all, ok := numbersOf(text)
	if !ok {
		s.Fatalf("%q are no numbers", text)
	}
	var halves [2][]any
	turn := 0
	for n := range all {
		if (n.(int)%2 == 0) == (parity == "even") {
			halves[turn] = append(halves[turn], n)
			turn = 1 - turn
		}
	}
	s.stream = s.staged(s.source("", halves[0]), s.source("", halves[1]))
}

// numbersOf reads a range such as 1..10.
func numbersOf(text string) (iter.Seq[any], bool) {
	m := rangeOf.FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	from, err := strconv.Atoi(m[1])
	to, err2 := strconv.Atoi(m[2])
	if err != nil || err2 != nil {
		return nil, false
	}
	return func(yield func(any) bool) {
		for n := from; n <= to; n++ {
			if !yield(n) {
				return
			}
		}
	}, true
}

var rangeOf = regexp.MustCompile(`^(-?\d+)\.\.(-?\d+)$`)
