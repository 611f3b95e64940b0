package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Whatever the options: each item has one result, never too many run at once, the order is that of
// the input or of the ends, and a timeout is in the place of its item.
func TestStreamOfAnyShape(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			durations := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 20).Draw(rt, "durations")
			opts := StreamOptions{
				MaxConcurrency: rapid.IntRange(1, 5).Draw(rt, "concurrency"),
				Window:         rapid.IntRange(1, 20).Draw(rt, "window"),
				Unordered:      rapid.Bool().Draw(rt, "unordered"),
				OnTimeout:      ReportItem,
				ItemTimeout:    6500 * time.Millisecond,
			}
			d, err := NewDynamic(DynamicSpec{Name: "tasks"})
			if err != nil {
				rt.Fatal(err)
			}
			r := launch(t, d)
			defer func() { _ = r.end() }()
			var running, most atomic.Int64
			f := func(ctx context.Context, n int) (int, error) {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				return n, sleep(ctx, time.Duration(n)*time.Second)
			}
			var got []Result[int, int]
			var ends []time.Time
			for r, err := range Stream(context.Background(), d, slices.Values(durations), f, opts) {
				if err != nil {
					rt.Fatal(err)
				}
				got, ends = append(got, r), append(ends, time.Now())
			}
			checkStream(rt, durations, got, opts)
			if got := int(most.Load()); got > opts.MaxConcurrency {
				rt.Errorf("at once = %d, want at most %d", got, opts.MaxConcurrency)
			}
			if !slices.IsSortedFunc(ends, time.Time.Compare) {
				rt.Errorf("results at %v, want them in the order of time", ends)
			}
		})
	})
}

func checkStream(t *rapid.T, durations []int, got []Result[int, int], opts StreamOptions) {
	if opts.Unordered {
		got = slices.Clone(got)
		slices.SortFunc(got, func(a, b Result[int, int]) int { return a.Index - b.Index })
	}
	if len(got) != len(durations) {
		t.Fatalf("results = %d, want %d", len(got), len(durations))
	}
	for i, r := range got {
		if r.Index != i || r.Input != durations[i] {
			t.Fatalf("result %d is of item %d, %d, want %d", i, r.Index, r.Input, durations[i])
		}
		late := durations[i] > 6
		if errors.Is(r.Err, ErrTimeout) != late || !late && (r.Value != durations[i] || r.Err != nil) {
			t.Fatalf("result %d = %d, %v of an item that takes %d s", i, r.Value, r.Err, durations[i])
		}
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBoom)
		defer cancel()
		var end error
		for _, err := range Stream(ctx, d, items(3), after1(time.Hour), StreamOptions{ItemTimeout: Forever}) {
			end = err
		}
		if !errors.Is(end, errBoom) {
			t.Errorf("stream ended with %v, want %v", end, errBoom)
		}
		if n := childrenOf(d); n != 0 {
			t.Errorf("left running = %d, want 0", n)
		}
	})
}

// A slow input delays a result by no more than one of its items, though there is room for more.
func TestStreamOfASlowInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{})
		taken, given := 0, 0
		slow := func(yield func(int) bool) {
			for yield(taken) && taken < 10 {
				taken++
				time.Sleep(time.Second)
				if given < taken-1 {
					t.Errorf("results = %d after %d items", given, taken)
				}
			}
		}
		for range Stream(t.Context(), d, slow, after1(0), StreamOptions{MaxConcurrency: 100}) {
			given++
		}
		if given != 11 {
			t.Errorf("results = %d, want 11", given)
		}
	})
}

func TestStreamWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{MaxChildren: 1})
		_, err := collect(t, d, items(3), after1(time.Second), StreamOptions{MaxConcurrency: 2})
		if !errors.Is(err, ErrMaxChildren) {
			t.Errorf("stream ended with %v, want %v", err, ErrMaxChildren)
		}
	})
}

// An item that is late keeps its place until it ends, and one that does not end is given up.
// Neither disturbs others.
func TestStreamWithAStubbornItem(t *testing.T) {
	for _, takes := range []time.Duration{7 * time.Second, 13 * time.Second} {
		synctest.Test(t, func(t *testing.T) { streamWithAStubbornItem(t, takes) })
	}
}

func streamWithAStubbornItem(t *testing.T, takes time.Duration) {
	t.Helper()
	var log eventLog
	d, _ := startDynamic(t, DynamicSpec{OnEvent: log.add})
	begin := time.Now()
	got, err := collect(t, d, items(4), func(ctx context.Context, item int) (int, error) {
		if item == 1 {
			time.Sleep(takes)
		} else if err := sleep(ctx, 4*time.Second); err != nil {
			return 0, err
		}
		return item, nil
	}, StreamOptions{MaxConcurrency: 1, OnTimeout: ReportItem})
	want := []caseEvent{event("exit", "timeout"), event("ok", 2), event("ok", 3), event("ok", 4)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("results (-want +got):\n%s\n%v", diff, err)
	}
	freed := min(takes, DefaultTimeout+DefaultStopTimeout)
	if got := time.Since(begin); got != freed+3*4*time.Second {
		t.Errorf("total = %v, want the place of the first item free after %v", got, freed)
	}
	if got := len(log.of(ChildAbandoned)); (got == 1) != (takes > freed) {
		t.Errorf("abandoned = %d of an item that takes %v", got, takes)
	}
}
