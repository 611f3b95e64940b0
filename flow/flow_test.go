package flow_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/flow"
)

// upTo yields the numbers 0 to n-1.
func upTo(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func collect[T any](t *testing.T, s flow.Stream[T]) []T {
	t.Helper()
	all, err := flow.Collect(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same[T comparable](t *testing.T, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStepsOnOneGoroutine(t *testing.T) {
	doubled := flow.Map(flow.From(upTo(10)), func(n int) int { return 2 * n })
	same(t, collect(t, doubled.Filter(func(n int) bool { return n%3 == 0 })), 0, 6, 12, 18)
	words := flow.FlatMap(flow.From(slices.Values([]string{"a b", "", "c"})), strings.FieldsSeq)
	same(t, collect(t, words), "a", "b", "c")
	sums := flow.MapBatch(flow.From(upTo(10)).Demand(4), func(_ context.Context, batch []int) ([]string, error) {
		return []string{fmt.Sprint(batch)}, nil
	})
	same(t, collect(t, sums), "[0 1 2 3]", "[4 5 6 7]", "[8 9]")
	same(t, collect(t, doubled.Take(3)), 0, 2, 4)
	same(t, collect(t, doubled.Take(0)))
	same(t, collect(t, flow.Merge[int]()))
}

func TestLayers(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8} {
		for _, demand := range []int{0, 1, 7} {
			inLayer := func(s flow.Stream[int]) flow.Stream[int] {
				if demand > 0 {
					return s.Demand(demand)
				}
				return s
			}
			square := func(n int) int { return n * n }
			numbers := flow.From(upTo(5000))
			want := collect(t, flow.Map(numbers, square))
			same(t, collect(t, inLayer(flow.Map(numbers.Ordered(n), square))), want...)
			got := collect(t, inLayer(flow.Map(numbers.Stages(n), square)))
			slices.Sort(got)
			same(t, got, want...)
			merged := collect(t, inLayer(flow.Merge(numbers, numbers, numbers.Take(10)).Stages(n)))
			if len(merged) != 10010 {
				t.Errorf("%d events of 10010", len(merged))
			}
		}
	}
}

func TestGroups(t *testing.T) {
	parity := func(n int) int { return n % 3 }
	for _, partitions := range []int{0, 1, 2, 5} {
		keyed := flow.By(flow.From(upTo(10)).Stages(2), parity).Partitions(partitions)
		counts := collect(t, flow.CountBy(keyed))
		slices.SortFunc(counts, func(a, b flow.Group[int, int]) int { return cmp.Compare(a.Key, b.Key) })
		if got := fmt.Sprint(counts[0].Value, counts[1].Value, counts[2].Value); got != "4 3 3" {
			t.Errorf("counts %v", got)
		}
		sums := collect(t, flow.Fold(keyed, func(int) int { return 0 }, func(a, n int) int { return a + n }))
		slices.SortFunc(sums, func(a, b flow.Group[int, int]) int { return cmp.Compare(a.Key, b.Key) })
		if got := fmt.Sprint(sums[0].Value, sums[1].Value, sums[2].Value); got != "18 12 15" {
			t.Errorf("sums %v", got)
		}
		if got := len(collect(t, flow.Uniq(keyed))); got != 3 {
			t.Errorf("%d different keys", got)
		}
	}
}

func TestTakeStopsWhatIsAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := make(chan int)
		five := flow.Merge(flow.From(forever()), flow.FromChan(silent)).Stages(3).Take(5)
		both := flow.Merge(five, flow.From(upTo(2)))
		if got := len(collect(t, both)); got != 7 {
			t.Errorf("%d events", got)
		}
		in := flow.Map(flow.From(forever()).Ordered(4), func(n int) int { return 2 * n })
		same(t, collect(t, in.Take(3)), 0, 2, 4)
		for v, err := range flow.From(forever()).Stages(2).All(t.Context()) {
			if err != nil || v > 1000 {
				break
			}
		}
	})
}

func forever() iter.Seq[int] { return upTo(1 << 60) }

func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		odd := func(_ context.Context, n int) (int, error) {
			if n%2 == 1 {
				return 0, boom
			}
			return n, nil
		}
		for _, n := range []int{1, 3} {
			in := flow.From(upTo(10)).Stages(n)
			_, err := flow.Collect(t.Context(), flow.Try(in, odd).Named("odd"))
			item, ok := errors.AsType[*flow.ItemError](err)
			if !ok || item.Step != "odd" || item.Item.(int)%2 != 1 || !errors.Is(err, boom) {
				t.Errorf("got %v", err)
			}
			dropped := flow.Try(in, odd).OnError(func(*flow.ItemError) error { return nil })
			got := collect(t, dropped)
			slices.Sort(got)
			same(t, got, 0, 2, 4, 6, 8)
			err = flow.Map(in, func(n int) int { return 1 / n }).Run(t.Context())
			if p, ok := errors.AsType[*flow.PanicError](err); !ok || !strings.Contains(p.Step, "TestErrors") {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestErrorsBelowTake(t *testing.T) {
	boom := errors.New("boom")
	same := func(n int) int { return n }
	last := func(k flow.Group[int, int]) int { return 1 / (k.Value - 1) }
	for _, n := range []int{1, 2} {
		five := flow.From(forever()).Stages(n).Take(5)
		var calls atomic.Int32
		fail := func(context.Context, int) (int, error) {
			if calls.Add(1) == 5 { // which event that is differs
				return 0, boom
			}
			return 0, nil
		}
		if err := flow.Try(five, fail).Run(t.Context()); !errors.Is(err, boom) {
			t.Errorf("the last event fails: got %v", err)
		}
		err := flow.Map(flow.CountBy(flow.By(five, same).Partitions(1)), last).Run(t.Context())
		if _, ok := errors.AsType[*flow.PanicError](err); !ok {
			t.Errorf("the end fails: got %v", err)
		}
	}
}

// What is wrong with a description is said before anything starts.
func TestInvalid(t *testing.T) {
	numbers := flow.From(upTo(3)).Each(func(int) { t.Error("it ran") })
	same := func(n int) int { return n }
	var none flow.Stream[int]
	tests := map[string]flow.Stream[int]{
		"no source":            none,
		"steps of no source":   flow.Map(none, same).Stages(2),
		"nil sequence":         flow.From[int](nil),
		"nil channel":          flow.FromChan[int](nil),
		"nil step":             flow.Map[int, int](numbers, nil),
		"nil predicate":        numbers.Filter(nil),
		"nil key":              flow.Uniq(flow.By[int](numbers, nil)),
		"negative stages":      numbers.Stages(-1),
		"negative order":       numbers.Ordered(-1),
		"no demand":            numbers.Demand(0),
		"negative take":        numbers.Take(-1),
		"negative partitions":  flow.Uniq(flow.By(numbers, same).Partitions(-1)),
		"negative keys":        flow.Uniq(flow.By(numbers, same).MaxKeys(-1)),
		"OnError of a Map":     flow.Map(numbers, same).OnError(func(e *flow.ItemError) error { return e }),
		"OnError of a source":  flow.From(upTo(3)).OnError(func(e *flow.ItemError) error { return e }),
		"Named of a layer":     numbers.Stages(2).Named("layer"),
		"one of those merged":  flow.Merge(numbers, none),
		"above a join of keys": flow.Uniq(flow.By(flow.Merge(none, numbers), same)),
	}
	for name, s := range tests {
		for _, err := range s.All(t.Context()) {
			if !errors.Is(err, flow.ErrInvalid) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if err := s.Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	first := func() int { panic("first") }
	reduced := flow.Reduce(flow.By(flow.From(upTo(3)), same), first, func(a, n int) int { return a + n })
	if _, ok := errors.AsType[*flow.PanicError](reduced.Emit().Run(t.Context())); !ok {
		t.Error("a panic of the first value is no PanicError")
	}
}

func TestKeysOutOfBounds(t *testing.T) {
	numbers := flow.From(upTo(100))
	same := func(n int) int { return n }
	err := flow.CountBy(flow.By(numbers, same).Partitions(2).PartitionBy(same)).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "key 2 belongs to partition 2, want 0 to 1") {
		t.Errorf("got %v", err)
	}
	for _, n := range []int{1, 3} {
		keyed := flow.By(numbers, same).Partitions(n).MaxKeys(99)
		for name, s := range map[string]flow.Stream[int]{
			"Uniq":    flow.Uniq(keyed),
			"CountBy": flow.Map(flow.CountBy(keyed), weigh),
		} {
			if err := s.Run(t.Context()); !errors.Is(err, flow.ErrTooManyKeys) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if err := flow.Uniq(keyed.MaxKeys(100)).Run(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// What is in a channel is handed on at once, however fast it was before.
func TestChannelsHoldNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := make(chan int, 1000)
		seen := 0
		for v, err := range flow.FromChan(c).Stages(2).All(bursts(t, c)) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; v != seen && seen > 1000 {
				t.Errorf("event %d comes as %d", v, seen)
			}
		}
		if seen != 1010 {
			t.Errorf("%d events", seen)
		}
	})
}

// bursts sends a thousand events, and then ten of which each waits for the one before to be received.
func bursts(t *testing.T, c chan int) context.Context {
	t.Helper()
	go func() {
		defer close(c)
		for n := range 1000 {
			c <- n
		}
		for n := range 10 {
			synctest.Wait()
			if len(c) > 0 {
				t.Error("an event is held back")
			}
			c <- 1001 + n
		}
	}()
	return t.Context()
}

func TestFailingSources(t *testing.T) {
	boom := errors.New("boom")
	failing := flow.FromErr(func(yield func(int, error) bool) { _ = yield(1, nil) && yield(0, boom) })
	for _, s := range []flow.Stream[int]{failing, failing.Ordered(3), flow.FromFunc(func(_ context.Context, _ int, out []int) ([]int, error) {
		return append(out, 1), boom
	})} {
		if got, err := flow.Collect(t.Context(), s); !errors.Is(err, boom) || err.Error() != "boom" || len(got) > 1 {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// A function that ends its goroutine ends the flow, which would wait for it for ever.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := func(n int) int {
			runtime.Goexit()
			return n
		}
		err := flow.Map(flow.From(forever()).Stages(2), leave).Named("leave").Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "runtime.Goexit in leave") {
			t.Errorf("got %v", err)
		}
	})
}

// A stream has no identity: used twice it is computed twice.
func TestStreamUsedTwice(t *testing.T) {
	var reads atomic.Int64
	numbers := flow.From(upTo(10)).Each(func(int) { reads.Add(1) })
	same := func(n int) int { return n }
	pairs := flow.Join(flow.Inner, flow.By(numbers, same), flow.By(numbers.Filter(func(n int) bool { return n < 5 }), same))
	if got := len(collect(t, pairs)); got != 5 || reads.Load() != 20 {
		t.Errorf("%d pairs of %d events", got, reads.Load())
	}
}

// The body of a loop over All is not the flow's: its panic is the caller's.
func TestPanicOfTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{1, 3} {
			func() {
				defer func() {
					if v := recover(); v != "mine" {
						t.Errorf("recovered %v", v)
					}
				}()
				for range flow.From(forever()).Stages(n).All(t.Context()) { //nolint:errcheck // the loop ends before there is one
					panic("mine")
				}
			}()
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(enough) })
		waits := flow.Try(flow.From(forever()).Stages(3), func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			return n, ctx.Err()
		})
		if err := waits.Run(ctx); !errors.Is(err, enough) || err.Error() != "enough" {
			t.Errorf("got %v", err)
		}
	})
}
