package flow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/flow"
)

// tick is an event of the tests: so many milliseconds since 1970.
type tick struct{ Key, Ms, N int }

func (e tick) time() time.Time { return time.UnixMilli(int64(e.Ms)) }
func (e tick) key() int        { return e.Key }

func ticks(ms ...int) []tick {
	all := make([]tick, len(ms))
	for i, at := range ms {
		all[i] = tick{Ms: at, N: i + 1}
	}
	return all
}

const ms = time.Millisecond

// show is a group of numbers as a line.
func show(g flow.Group[int, []int]) string {
	return fmt.Sprintf("%d: %d-%d #%d %v %v %t r%d", g.Key, g.Pane.Start.UnixMilli(), g.Pane.End.UnixMilli(),
		g.Pane.Number, g.Pane.Trigger, g.Value, g.Pane.Final, g.Pane.Revision)
}

func numbers(k flow.Keyed[int, tick]) flow.Stream[flow.Group[int, []int]] {
	return flow.Fold(k, func(int) []int { return nil }, func(a []int, e tick) []int { return append(slices.Clone(a), e.N) })
}

func TestWindowsOfOneSource(t *testing.T) {
	in := flow.From(slices.Values(ticks(5, 12, 8, 31, 9)))
	for _, partitions := range []int{1, 3} {
		got := collect(t, flow.Map(numbers(flow.By(in, tick.key).Partitions(partitions).Within(flow.Fixed(10*ms, tick.time).Delay(3*ms).Late(20*ms))), show))
		same(t, got, "0: 0-10 #0 watermark [1 3] false r1", "0: 10-20 #0 watermark [2] false r1", "0: 0-10 #0 done [1 3 5] true r2",
			"0: 10-20 #0 done [2] true r2", "0: 30-40 #0 done [4] true r1")
	}
}

func TestWindowRefused(t *testing.T) {
	in := flow.By(flow.From(slices.Values(ticks(1))), tick.key)
	fixed := flow.Fixed(10*ms, tick.time)
	for want, w := range map[string]flow.Window[tick]{
		"a Fixed window of 0s":                    flow.Fixed(0, tick.time),
		"needs a function":                        flow.Fixed[tick](time.Second, nil),
		"the step has to divide it":               flow.Sliding(10*ms, 3*ms, tick.time),
		"a Delay of -1ns":                         fixed.Delay(-1),
		"a Late of -1ns":                          fixed.Late(-1),
		"an IdleAfter of -1ns":                    fixed.IdleAfter(-1),
		"an EveryPeriod of -1ns":                  fixed.EveryPeriod(-1),
		"EveryN of -1":                            fixed.EveryN(-1),
		"Delay and Late are":                      flow.Count[tick](3).Late(time.Second),
		"IdleAfter and OnLate are":                flow.Global[tick]().OnLate(func(tick) {}),
		"a Count window of 0":                     flow.Count[tick](0),
		"Empty is for Reduce and Gather":          fixed.Empty(),
		"a Periodic window of -1ns":               flow.Periodic[tick](-1),
		"a Session window is never empty: Empty ": flow.Session(time.Second, tick.time).Empty(),
	} {
		err := flow.CountBy(in.Within(w)).Run(t.Context())
		if !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestEventWithoutTime(t *testing.T) {
	type event struct{ At time.Time }
	in := flow.From(slices.Values([]event{{time.Unix(1, 0)}, {}}))
	w := flow.Fixed(time.Second, func(e event) time.Time { return e.At })
	err := flow.CountBy(flow.By(in, func(event) int { return 0 }).Within(w)).Run(t.Context())
	item, ok := errors.AsType[*flow.ItemError](err)
	if !ok || item.Item != (event{}) || !strings.Contains(err.Error(), "1678 to 2262") {
		t.Errorf("got %v", err)
	}
}

// Of several sources the one that is furthest behind holds the windows, unless it has ended or is silent.
func TestWatermarkOfSources(t *testing.T) {
	for name, layer := range map[string]func(flow.Stream[tick]) flow.Stream[tick]{
		"merged":  func(s flow.Stream[tick]) flow.Stream[tick] { return s },
		"staged":  func(s flow.Stream[tick]) flow.Stream[tick] { return s.Stages(3) },
		"ordered": func(s flow.Stream[tick]) flow.Stream[tick] { return s.Ordered(2) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fast, slow := make(chan tick), make(chan tick)
				in := layer(flow.Merge(flow.FromChan(fast), flow.FromChan(slow)))
				var mu sync.Mutex
				var got []string
				done := make(chan struct{})
				w := flow.Fixed(10*ms, tick.time).IdleAfter(time.Minute)
				go func() {
					for g, err := range numbers(flow.By(in, tick.key).Partitions(2).Within(w)).All(t.Context()) {
						if err != nil {
							t.Error(err)
							break
						}
						mu.Lock()
						got = append(got, fmt.Sprint(g.Pane.Start.UnixMilli(), g.Value))
						mu.Unlock()
					}
					close(done)
				}()
				expect := func(what string, want ...string) {
					t.Helper()
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					if !slices.Equal(got, want) {
						t.Errorf("%s: got %v, want %v", what, got, want)
					}
					got = nil
				}
				fast <- tick{Ms: 5, N: 1}
				fast <- tick{Ms: 35, N: 2}
				expect("the slow one has nothing yet")
				slow <- tick{Ms: 12, N: 3}
				expect("it has passed the first window", "0 [1]")
				time.Sleep(time.Minute)
				expect("both are silent: the greatest holds", "10 [3]")
				slow <- tick{Ms: 14, N: 4}
				expect("late")
				fast <- tick{Ms: 55, N: 5}
				expect("the slow one is back, and holds")
				close(slow)
				synctest.Wait()
				fast <- tick{Ms: 56, N: 6}
				want := [][]string{{"30 [2]"}, {"50 [5 6]"}}
				if name == "ordered" { // it is not known when all of its events have been there
					want = [][]string{nil, {"30 [2]", "50 [5 6]"}}
				}
				expect("it has ended", want[0]...)
				close(fast)
				<-done
				expect("the end", want[1]...)
			})
		})
	}
}

// Events that are in the order of their source are not late because others overtake them in the goroutines
// of a layer.
func TestOvertakenEventsAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []tick
		for i := range 300 {
			all = append(all, tick{Ms: i, Key: i % 3, N: i})
		}
		slow := flow.Map(flow.From(slices.Values(all)).Stages(4).Demand(3), func(e tick) tick {
			time.Sleep(time.Duration(e.N*7919%13) * ms)
			return e
		})
		w := flow.Fixed(10*ms, tick.time).OnLate(func(e tick) { t.Errorf("%v is late", e) })
		sum := 0
		closed := 0
		for g, err := range flow.CountBy(flow.By(slow, tick.key).Partitions(2).Within(w)).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if sum += g.Value; g.Pane.Dropped > 0 {
				t.Errorf("dropped %d", g.Pane.Dropped)
			}
			closed++
		}
		if sum != 300 || closed != 90 {
			t.Errorf("%d events in %d groups", sum, closed)
		}
	})
}

func TestPeriodicWindowsAndTriggers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chan tick)
		go func() {
			for i := range 4 {
				in <- tick{N: i, Key: i % 2}
				time.Sleep(40 * ms)
			}
			close(in)
		}()
		lines := func(w flow.Window[tick]) []string {
			var all []string
			for _, g := range collect(t, numbers(flow.By(flow.FromChan(in), tick.key).Partitions(1).Within(w))) {
				all = append(all, fmt.Sprint(g.Key, g.Pane.Number, g.Pane.Trigger, g.Value))
			}
			return all
		}
		same(t, lines(flow.Periodic[tick](100*ms)), "0 0 done [0 2]", "1 0 done [1]", "1 1 done [3]")
		in = make(chan tick)
		go func() {
			in <- tick{N: 1}
			time.Sleep(250 * ms)
			in <- tick{N: 2}
			close(in)
		}()
		same(t, lines(flow.Global[tick]().EveryPeriod(100*ms)), "0 0 period [1]", "0 0 period [1]", "0 0 done [1 2]")
	})
}

func TestMarksAndEveryN(t *testing.T) {
	in := flow.From(slices.Values(ticks(1, 2, 3, 4, 5)))
	lines := func(w flow.Window[tick]) []string {
		return collect(t, flow.Map(numbers(flow.By(in, tick.key).Within(w)), func(g flow.Group[int, []int]) string {
			return fmt.Sprint(g.Pane.Trigger, g.Value)
		}))
	}
	when := func(m flow.Mark) flow.Window[tick] {
		return flow.Global[tick]().When(func(e tick) flow.Mark {
			if e.N == 3 {
				return m
			}
			return flow.Plain
		})
	}
	same(t, lines(when(flow.Before)), "mark [1 2]", "done [1 2 3 4 5]")
	same(t, lines(when(flow.After)), "mark [1 2 3]", "done [1 2 3 4 5]")
	same(t, lines(when(flow.Only)), "mark [1 2]", "done [1 2 4 5]")
	same(t, lines(flow.Global[tick]().EveryN(2)), "every [1 2]", "every [1 2 3 4]", "done [1 2 3 4 5]")
	same(t, lines(flow.Count[tick](2)), "done [1 2]", "done [3 4]", "done [5]")
}

func TestUniqWithin(t *testing.T) {
	in := flow.By(flow.From(slices.Values(ticks(1, 2, 11, 12, 30))), tick.key)
	number := func(s flow.Stream[tick]) []int {
		return collect(t, flow.Map(s, func(e tick) int { return e.N }))
	}
	same(t, number(flow.Uniq(in.Within(flow.Fixed(10*ms, tick.time)))), 1, 3, 5)
	same(t, number(flow.Uniq(in.Within(flow.Session(10*ms, tick.time)))), 1, 5)
	same(t, number(flow.Uniq(in.Within(flow.Count[tick](2)))), 1, 3, 5)
	if err := flow.Uniq(in.Within(flow.Count[tick](2).EveryN(1))).Run(t.Context()); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("with a trigger: %v", err)
	}
}

func TestMaxKeysWithin(t *testing.T) {
	in := flow.From(slices.Values(ticks(1, 11, 21)))
	keyed := flow.By(in, func(e tick) int { return e.N }).Partitions(1).MaxKeys(2)
	if got := collect(t, flow.CountBy(keyed.Within(flow.Fixed(10*ms, tick.time)))); len(got) != 3 {
		t.Errorf("one key in each window: got %v", got)
	}
	err := flow.CountBy(keyed.Within(flow.Fixed(100*ms, tick.time))).Run(t.Context())
	if !errors.Is(err, flow.ErrTooManyKeys) {
		t.Errorf("three keys in one window: got %v", err)
	}
}

// Four files of the same hours, read at once: none is late because another one is read faster.
func TestFilesReadAtOnceAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := flow.From(slices.Values([]int{1, 2, 3, 4})).Stages(4)
		events := flow.FlatMap(files, func(file int) iter.Seq[tick] {
			return func(yield func(tick) bool) {
				for i := range 50 {
					time.Sleep(time.Duration(file) * ms)
					if !yield(tick{Ms: i, Key: i % 3}) {
						return
					}
				}
			}
		}).Demand(1)
		w := flow.Fixed(10*ms, tick.time).OnLate(func(e tick) { t.Errorf("%v is late", e) })
		first := true
		for g, err := range flow.CountBy(flow.By(events, tick.key).Within(w)).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if first && g.Pane.Start.UnixMilli() != 0 {
				t.Errorf("the first group is of %v", g.Pane.Start)
			}
			first = false
		}
	})
}

// Windows over what comes out of windows: each partition is a source of its own.
func TestWindowsOfWindows(t *testing.T) {
	var all []tick
	for i := range 1000 {
		all = append(all, tick{Ms: i, Key: i * 7919 % 11})
	}
	minutes := flow.CountBy(flow.By(flow.From(slices.Values(all)), tick.key).Partitions(3).Within(flow.Fixed(10*ms, tick.time)))
	hours := flow.Fixed(100*ms, func(g flow.Group[int, int]) time.Time { return g.Pane.Start }).
		OnLate(func(g flow.Group[int, int]) { t.Errorf("%v is late", g) })
	one := func(flow.Group[int, int]) string { return "all" }
	sums := flow.Fold(flow.By(minutes, one).Partitions(2).Within(hours), func(string) int { return 0 },
		func(a int, g flow.Group[int, int]) int { return a + g.Value })
	same(t, collect(t, flow.Map(sums, func(g flow.Group[string, int]) int { return g.Value })),
		100, 100, 100, 100, 100, 100, 100, 100, 100, 100)
}

// Each event is in one window of processing time, and in one only (flow#18).
func TestPeriodicWindowsShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		in := flow.FromFunc(func(_ context.Context, _ int, out []tick) ([]tick, error) {
			for range 500 {
				out = append(out, tick{Key: n % 7, N: n})
				n++
			}
			time.Sleep(ms)
			if n >= 50_000 {
				return out, io.EOF
			}
			return out, nil
		})
		sum, last := 0, 0
		for g, err := range flow.CountBy(flow.By(in, tick.key).Partitions(3).Within(flow.Periodic[tick](7 * ms))).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			sum += g.Value
			last = max(last, g.Pane.Number)
		}
		if sum != n || last < 12 {
			t.Errorf("%d of %d events in %d windows", sum, n, last+1)
		}
	})
}
