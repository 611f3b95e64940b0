package flow_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

// Whatever makes an endless number of events, and wherever it stands, an end of the context stops it.
func TestCancelStopsWhatIsEndless(t *testing.T) {
	const far = 5_000_000
	enough := errors.New("enough")
	var read atomic.Int64
	endless := func(yield func(int) bool) {
		for n := range far {
			read.Add(1)
			if !yield(n) {
				return
			}
		}
	}
	many := func(int) iter.Seq[int] { return endless }
	tried := func(context.Context, int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for n := range endless {
				if !yield(n, nil) {
					return
				}
			}
		}
	}
	one := flow.From(upTo(1))
	same := func(n int) int { return n }
	none := func(int) bool { return false }
	tests := map[string]func(look func(int)) flow.Stream[int]{
		"a source":          func(look func(int)) flow.Stream[int] { return flow.From(endless).Each(look) },
		"a sequence":        func(look func(int)) flow.Stream[int] { return flow.FlatMap(one, many).Each(look) },
		"one that may fail": func(look func(int)) flow.Stream[int] { return flow.FlatTry(one, tried).Each(look) },
		"a sequence of a step": func(look func(int)) flow.Stream[int] {
			return flow.FlatMap(flow.FlatMap(one, func(int) iter.Seq[int] { return upTo(3) }), many).Each(look)
		},
		"nothing comes of it": func(look func(int)) flow.Stream[int] { return flow.FlatMap(one, many).Each(look).Filter(none) },
		"in a layer":          func(look func(int)) flow.Stream[int] { return flow.FlatMap(one.Stages(2), many).Each(look) },
		"above a layer":       func(look func(int)) flow.Stream[int] { return flow.FlatMap(one, many).Stages(2).Each(look) },
		"ordered":             func(look func(int)) flow.Stream[int] { return flow.FlatMap(one, many).Ordered(2).Each(look) },
		"below what is ordered": func(look func(int)) flow.Stream[int] {
			return flow.FlatMap(flow.From(upTo(9)).Ordered(2), many).Each(look)
		},
		"keys": func(look func(int)) flow.Stream[int] {
			return flow.Uniq(flow.By(flow.FlatMap(one, many).Each(look), func(n int) int { return n & 63 }).Partitions(1))
		},
		"a fold": func(look func(int)) flow.Stream[int] {
			counts := flow.CountBy(flow.By(flow.FlatMap(one, many).Each(look), func(n int) int { return n & 63 }).Partitions(2))
			return flow.Map(counts, weigh)
		},
		"merged": func(look func(int)) flow.Stream[int] {
			return flow.Merge(flow.FlatMap(one, many).Each(look), flow.From(endless))
		},
		"a join": func(look func(int)) flow.Stream[int] {
			left := flow.By(flow.FlatMap(one, many).Each(look), same)
			return flow.Map(flow.Join(flow.Inner, left, flow.By(flow.From(upTo(3)), same)), func(j flow.Joined[int, int]) int { return j.Left })
		},
	}
	for name, of := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var seen, atEnd atomic.Int64
			err := of(func(int) {
				if seen.Add(1) == 2000 {
					cancel(enough)
					atEnd.Store(read.Load())
				}
			}).Run(ctx)
			if !errors.Is(err, enough) {
				t.Errorf("got %v", err)
			}
			if more := read.Load() - atEnd.Load(); more > far/10 {
				t.Errorf("%d events were made after the end", more)
			}
		})
	}
}

// What a function does instead of returning: it panics, or ends its goroutine.
var misdeeds = map[string]func(){
	"panic":  func() { panic(errMisdeed) },
	"Goexit": runtime.Goexit,
}

var errMisdeed = errors.New("misdeed")

// sized is an accumulator whose size is asked for.
type sized struct{ size func() int }

func (s sized) Size() int { return s.size() }

// positions are flows with a function of the user in each place that there is one, which does what it is
// told. in is where the events come from.
func positions(in flow.Stream[tick], do func()) map[string]flow.Stream[int] {
	number := func(e tick) int { do(); return e.N }
	n := func(s flow.Stream[tick]) flow.Stream[int] { return flow.Map(s, func(e tick) int { return e.N }) }
	keyed := flow.By(in, tick.key).Partitions(2)
	fixed := flow.Fixed(10*ms, tick.time)
	late := fixed.OnLate(func(tick) { do() })
	counts := func(k flow.Keyed[int, tick]) flow.Stream[int] { return flow.Map(flow.CountBy(k), weigh) }
	zeroOf := func(int) int { return 0 }
	count := func(a int, _ tick) int { return a + 1 }
	reduced := flow.Reduce(keyed, func() int { return 0 }, count)
	bad := func(a int, _ tick) int { do(); return a }
	join := func(w flow.JoinWindow[tick, tick]) flow.Stream[int] {
		left := flow.By(in, tick.key).Partitions(2)
		return flow.Map(flow.Join(flow.Full, left, keyed, w), func(j flow.Joined[tick, tick]) int { return j.Left.N })
	}
	window := flow.JoinWindow[tick, tick]{Size: 10 * ms, LeftAt: tick.time, RightAt: tick.time}
	badAt := func(e tick) time.Time { do(); return e.time() }
	withLeft, withRight, lateLeft, lateRight := window, window, window, window
	withLeft.LeftAt, withRight.RightAt = badAt, badAt
	lateLeft.OnLateLeft, lateRight.OnLateRight = func(tick) { do() }, func(tick) { do() }
	return map[string]flow.Stream[int]{
		"Map":    flow.Map(in, number),
		"Try":    flow.Try(in, func(_ context.Context, e tick) (int, error) { return number(e), nil }),
		"Filter": n(in.Filter(func(tick) bool { do(); return true })),
		"Each":   n(in.Each(func(tick) { do() })),
		"FlatMap": flow.FlatMap(in, func(e tick) iter.Seq[int] {
			do()
			return upTo(e.N)
		}),
		"a sequence of FlatMap": flow.FlatMap(in, func(e tick) iter.Seq[int] {
			return func(yield func(int) bool) { _ = yield(1) && yield(number(e)) }
		}),
		"a sequence of FlatTry": flow.FlatTry(in, func(_ context.Context, e tick) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) { _ = yield(1, nil) && yield(number(e), nil) }
		}),
		"MapBatch": flow.MapBatch(in, func(_ context.Context, batch []tick) ([]int, error) { return []int{number(batch[0])}, nil }),
		"OnError": flow.Try(in, func(context.Context, tick) (int, error) { return 0, errors.New("no") }).
			OnError(func(*flow.ItemError) error { do(); return nil }),
		"By":           n(flow.Uniq(flow.By(in, number).Partitions(2))),
		"PartitionBy":  n(flow.Uniq(keyed.PartitionBy(func(int) int { do(); return 0 }))),
		"zero of Fold": flow.Map(flow.Fold(keyed, func(int) int { do(); return 0 }, count), weigh),
		"Fold":         flow.Map(flow.Fold(keyed, zeroOf, bad), weigh),
		"Fold, in a window": flow.Map(flow.Fold(keyed.Within(fixed), zeroOf, bad),
			weigh),
		"Fold, of sessions": flow.Map(flow.Fold(keyed.Within(flow.Session(10*ms, tick.time)), zeroOf, bad), weigh),
		"zero of Scan":      flow.Scan(keyed, func(int) int { do(); return 0 }, func(a int, _ tick) (int, []int) { return a, nil }, nil),
		"Scan":              flow.Scan(keyed, zeroOf, func(a int, _ tick) (int, []int) { do(); return a, nil }, nil),
		"end of Scan": flow.Scan(keyed, zeroOf, func(a int, _ tick) (int, []int) { return a, nil },
			func(int) []int { do(); return nil }),
		"zero of Reduce": flow.Reduce(keyed, func() int { do(); return 0 }, count).Emit(),
		"Reduce":         flow.Reduce(keyed, func() int { return 0 }, bad).Emit(),
		"OnTrigger":      flow.OnTrigger(reduced, func(a int, _ flow.Pane) ([]int, int) { do(); return nil, a }),
		"zero of Gather": flow.Gather(reduced, func() int { do(); return 0 }, func(b, a int, _ flow.Pane) int { return a + b }),
		"Gather":         flow.Gather(reduced, func() int { return 0 }, func(b, _ int, _ flow.Pane) int { do(); return b }),
		"Top": flow.FlatMap(flow.Top(n(in), 3, func(a, b int) int { do(); return cmp.Compare(a, b) }),
			slices.Values[[]int]),
		"at":               counts(keyed.Within(flow.Fixed(10*ms, badAt))),
		"When":             counts(keyed.Within(fixed.When(func(tick) flow.Mark { do(); return flow.Plain }))),
		"OnLate":           counts(keyed.Within(late)),
		"LeftAt":           join(withLeft),
		"RightAt":          join(withRight),
		"OnLateLeft":       join(lateLeft),
		"OnLateRight":      join(lateRight),
		"Size":             meteredSize(keyed, func() int { do(); return 1 }),
		"Size in windows":  meteredSize(keyed.Within(fixed), func() int { do(); return 1 }),
		"the last step":    flow.Map(n(in), func(v int) int { do(); return v }),
		"above the source": n(flow.Merge(in, flow.From(func(func(tick) bool) { do() }))),
		"a function that is asked": n(flow.Merge(in, flow.FromFunc(func(_ context.Context, _ int, out []tick) ([]tick, error) {
			do()
			return out, nil
		}))),
		"a sequence that may fail": n(flow.Merge(in, flow.FromErr(func(func(tick, error) bool) { do() }))),
	}
}

func meteredSize(k flow.Keyed[int, tick], size func() int) flow.Stream[int] {
	s := flow.Fold(k.Metered(new(flow.Meter)), func(int) sized { return sized{size} }, func(a sized, _ tick) sized { return a })
	return flow.Map(s, func(g flow.Group[int, sized]) int { return g.Key })
}

// behind are the layers that a step may stand behind.
var behind = map[string]func(flow.Stream[tick]) flow.Stream[tick]{
	"the source":     func(s flow.Stream[tick]) flow.Stream[tick] { return s },
	"a layer":        func(s flow.Stream[tick]) flow.Stream[tick] { return s.Stages(3) },
	"an ordered one": func(s flow.Stream[tick]) flow.Stream[tick] { return s.Ordered(3) },
}

// outOfOrder are events some of which are late for windows of 10 ms.
func outOfOrder() flow.Stream[tick] {
	return flow.From(func(yield func(tick) bool) {
		for i := range 3000 {
			e := tick{Key: i % 7, Ms: i, N: i}
			if i%10 == 9 {
				e.Ms = 0
			}
			if !yield(e) {
				return
			}
		}
	})
}

// A function that does not return ends the flow with an error, and leaves no goroutine behind, in whatever
// place it stands.
func TestFunctionsThatDoNotReturn(t *testing.T) {
	for misdeed, do := range misdeeds {
		for layer, of := range behind {
			for place, s := range positions(of(outOfOrder()), do) {
				t.Run(misdeed+" in "+place+" behind "+layer, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						done := make(chan error, 1)
						go func() { // Goexit may be of this one
							defer close(done)
							done <- s.Run(t.Context())
						}()
						err := <-done
						p, isPanic := errors.AsType[*flow.PanicError](err)
						switch {
						case err == nil && strings.HasPrefix(place, "OnLate"): // whether one is late may be a matter of who is first
						case misdeed == "panic" && (!isPanic || !errors.Is(err, errMisdeed) || !strings.Contains(string(p.Stack), "positions")):
							t.Errorf("got %v", err)
						case misdeed == "Goexit" && err != nil && !strings.Contains(err.Error(), "runtime.Goexit"):
							t.Errorf("got %v", err)
						}
					})
				})
			}
		}
	}
}

func panicsAsKey(int) int { panic("key") }

// A panic tells in which step it was, also where the goroutines of an ordered layer take turns.
func TestPanicsNameTheirStep(t *testing.T) {
	numbers := flow.From(upTo(100))
	same := func(n int) int { return n }
	for name, s := range map[string]flow.Stream[int]{
		"beside":  flow.Map(numbers, same),
		"staged":  flow.Map(numbers.Stages(2), same),
		"ordered": flow.Map(numbers.Ordered(2), same),
	} {
		for _, partitions := range []int{1, 2} {
			err := flow.Uniq(flow.By(s, panicsAsKey).Partitions(partitions)).Run(t.Context())
			if p, ok := errors.AsType[*flow.PanicError](err); !ok || p.Step != "flow_test.panicsAsKey" {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

// A flow that another one runs in a step is interrupted with that, and says so: what it has come to is not all.
func TestFlowInAFlowIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var interrupted atomic.Int32
		outer := flow.Try(flow.From(upTo(2)).Stages(2).Demand(1), func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				time.Sleep(time.Second)
				return n, nil
			}
			if err := flow.FromChan(make(chan int)).Run(ctx); err == nil {
				t.Error("the inner flow was interrupted, and calls it a success")
			}
			interrupted.Add(1)
			return n, nil
		})
		if got := collect(t, outer.Take(1)); len(got) != 1 || interrupted.Load() != 1 {
			t.Errorf("got %v, %d interrupted", got, interrupted.Load())
		}
	})
}

// An error is the last thing that a sequence yields, also if it goes on.
func TestNothingComesBehindAnError(t *testing.T) {
	s := flow.FlatTry(flow.From(upTo(2)), func(_ context.Context, n int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			yield(10*n, nil)
			yield(0, errors.New("first"))
			if yield(10*n+1, nil) {
				t.Error("more is wanted behind an error")
			}
			yield(0, errors.New("second"))
		}
	})
	var errs []string
	got := collect(t, s.OnError(func(e *flow.ItemError) error {
		errs = append(errs, e.Err.Error())
		return nil
	}))
	same(t, got, 0, 10)
	same(t, errs, "first", "first")
}

// A source that fails late ends the flow with its error, whatever stands below, and nothing is left.
func TestSourcesThatFailLate(t *testing.T) {
	boom := errors.New("boom")
	in := flow.FromErr(func(yield func(tick, error) bool) {
		for i := range 3000 {
			if !yield(tick{Key: i % 7, Ms: i, N: i}, nil) {
				return
			}
		}
		yield(tick{}, boom)
	})
	for layer, of := range behind {
		for place, s := range positions(of(in), func() {}) {
			if strings.HasPrefix(place, "a function that is asked") {
				continue // it never ends
			}
			t.Run(place+" behind "+layer, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if err := s.Run(t.Context()); err != boom { //nolint:errorlint // as it is
						t.Errorf("got %v", err)
					}
				})
			})
		}
	}
}

// Take stops what is above, and waits for it, also on one side of a join, or above it, with sources that never end.
func TestTakeInAJoin(t *testing.T) {
	same := func(n int) int { return n }
	by := func(s flow.Stream[int]) flow.Keyed[int, int] { return flow.By(s, same).Partitions(2) }
	left := func(j flow.Joined[int, int]) int { return j.Left }
	endless := flow.From(forever())
	silent := func() flow.Stream[int] { return flow.FromChan(make(chan int)) }
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			s    flow.Stream[int]
			want int
		}{
			"the left side":   {flow.Map(flow.Join(flow.Inner, by(endless.Take(10)), by(flow.From(upTo(20)))), left), 10},
			"the right side":  {flow.Map(flow.Join(flow.Left, by(flow.From(upTo(20))), by(endless.Take(10))), left), 20},
			"both":            {flow.Map(flow.Join(flow.Full, by(endless.Take(10)), by(endless.Take(15))), left), 15},
			"in layers":       {flow.Map(flow.Join(flow.Full, by(endless.Stages(3).Take(10)), by(endless.Ordered(3).Take(10))), left), -1},
			"none of a side":  {flow.Map(flow.Join(flow.Full, by(endless.Take(0)), by(endless.Take(5))), left), 5},
			"below":           {flow.Map(flow.Join(flow.Inner, by(endless), by(endless)), left).Take(100), 100},
			"below, a silent": {flow.Map(flow.Join(flow.Inner, by(flow.Merge(endless, silent())), by(flow.Merge(silent(), endless))), left).Take(100), 100},
			"twice":           {flow.Map(flow.Join(flow.Inner, by(endless.Take(50)), by(endless)).Take(50), left).Take(20), 20},
			"a join of joins": {flow.Map(flow.Join(flow.Inner, by(flow.Map(flow.Join(flow.Inner, by(endless), by(endless)), left).Take(30)), by(endless)), left).Take(30), 30},
		} {
			if got := collect(t, tt.s); len(got) != tt.want && tt.want >= 0 {
				t.Errorf("%s: %d events, want %d", name, len(got), tt.want)
			}
		}
	})
}

// Whatever interrupts a flow, and wherever that is, it ends with that or with what it has come to, and no
// goroutine is left.
func TestFlowsEndHoweverTheyAreInterrupted(t *testing.T) {
	all := steps()
	maps.Copy(all, keyedSteps())
	enough := errors.New("enough")
	rapid.Check(t, func(rt *rapid.T) {
		how := rapid.SampledFrom([]string{"cancel", "error", "panic", "Goexit", "leave"}).Draw(rt, "how")
		at := int64(rapid.IntRange(1, 60).Draw(rt, "at"))
		steps := rapid.IntRange(0, 5).Draw(rt, "steps")
		place := rapid.IntRange(0, steps).Draw(rt, "place")
		var cancel context.CancelCauseFunc
		var calls atomic.Int64
		s := drawSource(rt)
		for i := range steps + 1 {
			if i == place {
				s.stream = flow.Try(s.stream, func(_ context.Context, v int) (int, error) {
					if calls.Add(1) != at {
						return v, nil
					}
					switch how {
					case "cancel":
						cancel(enough)
					case "error":
						return 0, enough
					case "panic":
						panic(enough)
					case "Goexit":
						runtime.Goexit()
					}
					return v, nil
				})
			}
			if i < steps {
				s = all[rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(rt, "step")](rt, s)
			}
		}
		var err error
		synctest.Test(t, func(t *testing.T) {
			var ctx context.Context
			ctx, cancel = context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan struct{})
			go func() { // Goexit may be of this one
				defer close(done)
				seen := int64(0)
				for _, err = range s.stream.All(ctx) {
					if seen++; how == "leave" && seen == at {
						break
					}
				}
			}()
			<-done
		})
		interrupted := calls.Load() >= at && how != "leave"
		if err != nil && (!interrupted || how != "Goexit" && !errors.Is(err, enough)) {
			rt.Fatalf("%s: got %v", how, err)
		}
		if err == nil && how == "panic" && interrupted {
			rt.Fatal("the panic is not told")
		}
	})
}
