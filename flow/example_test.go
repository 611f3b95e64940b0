package flow_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand/flow"
)

var ctx = context.Background()

// Words are split by four goroutines and counted by as many as there are cores.
func Example() {
	lines := flow.From(slices.Values([]string{"to be or", "not to be"})).Stages(4)
	words := flow.FlatMap(lines, strings.FieldsSeq)
	counts, err := flow.Collect(ctx, flow.CountBy(flow.By(words, strings.ToLower)))
	if err != nil {
		fmt.Println(err)
		return
	}
	slices.SortFunc(counts, func(a, b flow.Group[string, int]) int { return cmp.Compare(a.Key, b.Key) })
	for _, c := range counts {
		fmt.Println(c.Key, c.Value)
	}
	// Output:
	// be 2
	// not 1
	// or 1
	// to 2
}

// An error names the step and the event.
func ExampleTry() {
	numbers := flow.Try(flow.From(slices.Values([]string{"1", "2", "three"})), parse)
	for n, err := range numbers.All(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(n)
	}
	// Output:
	// 1
	// 2
	// flow: flow_test.parse of three: strconv.Atoi: parsing "three": invalid syntax
}

func parse(_ context.Context, s string) (int, error) { return strconv.Atoi(s) }

// What cannot be read is reported and left out; any other failure ends the flow.
func ExampleStream_OnError() {
	numbers := flow.Try(flow.From(slices.Values([]string{"1", "two", "3"})), parse).OnError(func(e *flow.ItemError) error {
		if errors.Is(e, strconv.ErrSyntax) {
			fmt.Println("left out:", e.Item)
			return nil
		}
		return e
	})
	fmt.Println(flow.Collect(ctx, numbers))
	// Output:
	// left out: two
	// [1 3] <nil>
}

// Requests wait: 20 of them run side by side, and the answers are in the order of the questions.
func ExampleStream_Ordered() {
	ask := func(_ context.Context, n int) (string, error) { return fmt.Sprint("answer ", n), nil }
	questions := flow.From(slices.Values([]int{1, 2, 3})).Ordered(20)
	fmt.Println(flow.Collect(ctx, flow.Try(questions, ask)))
	// Output:
	// [answer 1 answer 2 answer 3] <nil>
}

// A query for many is cheaper than many: here for 100 at once, in two goroutines.
func ExampleMapBatch() {
	prices := map[string]int{"apple": 3, "pear": 4}
	query := func(_ context.Context, names []string) ([]int, error) {
		found := make([]int, len(names))
		for i, name := range names {
			found[i] = prices[name]
		}
		return found, nil
	}
	names := flow.From(maps.Keys(prices)).Ordered(2).Demand(100)
	got, err := flow.Collect(ctx, flow.MapBatch(names, query))
	slices.Sort(got)
	fmt.Println(got, err)
	// Output:
	// [3 4] <nil>
}

// A sequence that may fail half-way, such as the rows of a query or the lines of a file.
func ExampleFlatTry() {
	read := func(_ context.Context, name string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for i := range 2 {
				if !yield(fmt.Sprint(name, ":", i+1), nil) {
					return
				}
			}
			if name == "b" {
				yield("", io.ErrUnexpectedEOF)
			}
		}
	}
	for line, err := range flow.FlatTry(flow.From(slices.Values([]string{"a", "b"})), read).Named("read").All(ctx) {
		fmt.Println(line, err)
	}
	// Output:
	// a:1 <nil>
	// a:2 <nil>
	// b:1 <nil>
	// b:2 <nil>
	//  flow: read of b: unexpected EOF
}

// Pages of an interface are asked for as they are wanted.
func ExampleFromFunc() {
	page := 0
	events := flow.FromFunc(func(_ context.Context, _ int, out []string) ([]string, error) {
		page++
		out = append(out, fmt.Sprint("first of page ", page), fmt.Sprint("last of page ", page))
		if page == 2 {
			return out, io.EOF
		}
		return out, nil
	})
	fmt.Println(flow.Collect(ctx, events))
	// Output:
	// [first of page 1 last of page 1 first of page 2 last of page 2] <nil>
}

// The largest value of each key.
func ExampleFold() {
	type reading struct {
		Sensor string
		Value  int
	}
	readings := flow.From(slices.Values([]reading{{"a", 3}, {"b", 9}, {"a", 7}}))
	bySensor := flow.By(readings, func(r reading) string { return r.Sensor })
	largest := flow.Fold(bySensor, func(string) int { return 0 }, func(m int, r reading) int { return max(m, r.Value) })
	got, err := flow.Collect(ctx, largest)
	slices.SortFunc(got, func(a, b flow.Group[string, int]) int { return cmp.Compare(a.Key, b.Key) })
	for _, g := range got {
		fmt.Println(g.Key, g.Value)
	}
	fmt.Println(err)
	// Output:
	// a 7
	// b 9
	// <nil>
}

// The first event of each key passes at once; here with one partition, so in order.
func ExampleUniq() {
	words := flow.From(slices.Values([]string{"a", "b", "a", "c", "b"}))
	fmt.Println(flow.Collect(ctx, flow.Uniq(flow.By(words, func(w string) string { return w }).Partitions(1))))
	// Output:
	// [a b c] <nil>
}

// Leaving the loop stops a source that would never end.
func ExampleStream_All() {
	for n, err := range flow.Map(flow.From(upTo(1<<60)).Ordered(4), func(n int) int { return n * n }).All(ctx) {
		if err != nil || n > 10 {
			break
		}
		fmt.Print(n, " ")
	}
	// Output:
	// 0 1 4 9
}
