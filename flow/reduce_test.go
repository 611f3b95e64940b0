package flow_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/flow"
)

func sum(k flow.Keyed[int, int]) flow.Reduced[int] {
	return flow.Reduce(k, func() int { return 0 }, func(a, n int) int { return a + n })
}

func modulo(n int) func(int) int { return func(v int) int { return v % n } }

func self(n int) int { return n }

// Cases flow-partition-sums, flow-empty.
func TestReduce(t *testing.T) {
	in := flow.From(upTo(11))
	sums := collect(t, sum(flow.By(in, modulo(4)).Partitions(4).PartitionBy(self)).Emit())
	slices.Sort(sums)
	same(t, sums, 10, 12, 15, 18)
	same(t, collect(t, sum(flow.By(in.Take(0), self).Partitions(2)).Emit()), 0, 0)
	same(t, collect(t, sum(flow.By(in, self).Partitions(1)).Emit()), 55)
}

// Case flow-count-window, and a trigger of a partition that begins anew.
func TestOnTrigger(t *testing.T) {
	in := flow.By(flow.Map(flow.From(upTo(25)), func(n int) int { return n + 1 }), modulo(3)).Partitions(1)
	shown := func(w flow.Window[int], keep bool) []string {
		return collect(t, flow.OnTrigger(sum(in.Within(w)), func(a int, p flow.Pane) ([]string, int) {
			line := fmt.Sprint(a, " ", p.Number, " ", p.Trigger)
			if keep {
				return []string{line}, a
			}
			return []string{line}, 0
		}))
	}
	same(t, shown(flow.Count[int](10), true), "55 0 done", "155 1 done", "115 2 done")
	same(t, shown(flow.Global[int]().EveryN(20), true), "210 0 every", "325 0 done")
	same(t, shown(flow.Global[int]().EveryN(20), false), "210 0 every", "115 0 done")
}

func TestReduceRefused(t *testing.T) {
	in := flow.By(flow.From(upTo(3)), self)
	at := func(int) time.Time { return time.Time{} }
	for want, r := range map[string]flow.Reduced[int]{
		"use Fold":             sum(in.Within(flow.Session(time.Second, at))),
		"a Count window of 0":  sum(in.Within(flow.Count[int](0))),
		"the first value":      flow.Reduce(in, nil, func(a, _ int) int { return a }),
		"Reduce needs a funct": flow.Reduce[int](in, func() int { return 0 }, nil),
	} {
		if err := r.Emit().Run(t.Context()); !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if err := flow.Gather(sum(in), nil, func(b, a int, _ flow.Pane) int { return a + b }).Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("Gather without a first value: %v", err)
	}
}

func gathered(r flow.Reduced[int]) flow.Stream[string] {
	lists := flow.Gather(r, func() []string { return nil }, func(all []string, n int, p flow.Pane) []string {
		return append(all, fmt.Sprintf("%d/%v", n, p.Trigger))
	})
	return flow.Map(lists, func(all []string) string {
		slices.Sort(all)
		return strings.Join(all, " ")
	})
}

// Cases flow-departition, flow-departition-triggers.
func TestGather(t *testing.T) {
	in := flow.By(flow.From(upTo(11)), modulo(4)).Partitions(4).PartitionBy(self)
	same(t, collect(t, gathered(sum(in))), "10/done 12/done 15/done 18/done")
	same(t, collect(t, gathered(sum(in.Partitions(1).PartitionBy(func(int) int { return 0 })))), "55/done")
	// Windows that all partitions are done with come, those of the end last.
	same(t, collect(t, gathered(sum(in.Within(flow.Count[int](2))))), "10/done 4/done 6/done 8/done", "10/done 8/done 9/done")
	same(t, collect(t, gathered(sum(in.Within(flow.Global[int]().EveryN(2))))),
		"10/done 10/every 12/done 15/done 18/done 4/every 6/every 8/every")
}

// A partition without events in a window does not hold it, and a window comes when all are done with it.
func TestGatherByEventTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(n int) time.Time { return time.UnixMilli(int64(n)) }
		fixed := flow.Fixed(10*ms, at).Late(5 * ms)
		for _, c := range []struct {
			w    flow.Window[int]
			want []string
		}{
			{fixed, []string{"14/done 6/watermark", "13/done 13/watermark", "30/done"}},
			{fixed.Empty(), []string{
				"0/done 0/watermark 14/done 6/watermark", "0/done 0/watermark 13/done 13/watermark",
				"0/done 0/done 0/watermark 0/watermark", "0/done 30/done",
			}},
		} {
			var got []string
			in := make(chan int)
			keyed := flow.By(flow.FromChan(in), modulo(2)).Partitions(2).PartitionBy(self).Within(c.w)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for line, err := range gathered(sum(keyed)).All(t.Context()) {
					if got = append(got, line); err != nil {
						t.Error(err)
					}
				}
			}()
			for _, n := range []int{2, 4, 13, 8, 30} {
				in <- n
			}
			synctest.Wait()
			same(t, got, c.want[:2]...)
			close(in)
			<-done
			same(t, got, c.want...)
		}
	})
}

func TestGatherPeriodic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chan int)
		go func() {
			in <- 1
			in <- 2
			time.Sleep(150 * ms)
			in <- 4
			close(in)
		}()
		keyed := flow.By(flow.FromChan(in), modulo(2)).Partitions(2).PartitionBy(self).Within(flow.Periodic[int](100 * ms))
		same(t, collect(t, gathered(sum(keyed))), "1/done 2/done", "4/done")
	})
}

// Case flow-periodic-window.
func TestPeriodicWindowsWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chan int)
		go func() {
			for i := range 10 {
				in <- i + 1
			}
		}()
		keyed := flow.By(flow.FromChan(in), self).Partitions(1).Within(flow.Periodic[int](100 * ms).Empty())
		same(t, collect(t, sum(keyed).Emit().Take(2)), 55, 0)
	})
}

func TestScan(t *testing.T) {
	running := func(a, n int) (int, []int) { return a + n, []int{a + n} }
	zero := func(int) int { return 0 }
	in := flow.By(flow.From(upTo(6)), modulo(2)).Partitions(1)
	same(t, collect(t, flow.Scan(in, zero, running, nil)), 0, 1, 2, 4, 6, 9)
	total := func(a int) []int { return []int{-a} }
	same(t, collect(t, flow.Scan(in, zero, running, total)), 0, 1, 2, 4, 6, 9, -6, -9)
	same(t, collect(t, flow.Scan(in.Within(flow.Count[int](2)), zero, running, total)), 0, 1, 2, -2, 4, -4, 4, 5, -4, -5)
	at := func(n int) time.Time { return time.UnixMilli(int64(n)) }
	for _, w := range []flow.Window[int]{flow.Session(ms, at), flow.Fixed(ms, at).EveryN(1)} {
		if err := flow.Scan(in.Within(w), zero, running, nil).Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTop(t *testing.T) {
	for _, n := range []int{1, 3} {
		mixed := flow.Map(flow.From(upTo(1000)), func(n int) int { return n * 7919 % 1000 }).Stages(n)
		for _, top := range []int{1, 2, 5, 300} {
			lists := collect(t, flow.Top(mixed, top, cmp.Compare[int]))
			if len(lists) != 1 || len(lists[0]) != top {
				t.Fatalf("%d stages, top %d: got %v", n, top, lists)
			}
			for i, got := range lists[0] {
				if got != 999-i {
					t.Errorf("%d stages, top %d: got %v", n, top, lists[0])
					break
				}
			}
		}
		if got := collect(t, flow.Top(mixed.Take(0), 3, cmp.Compare[int])); len(got) != 1 || len(got[0]) != 0 {
			t.Errorf("of none: %v", got)
		}
	}
	// Of equals the first are kept.
	words := flow.From(slices.Values([]string{"b1", "a1", "b2", "a2", "b3"}))
	got := collect(t, flow.Top(words, 2, func(a, b string) int { return cmp.Compare(a[0], b[0]) }))
	same(t, got[0], "b1", "b2")
	if err := flow.Top(words, 0, cmp.Compare[string]).Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("top 0: %v", err)
	}
}
