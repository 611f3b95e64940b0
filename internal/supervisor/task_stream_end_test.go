package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// However the iteration over a stream ends, none of its items runs on, and its supervisor is as
// before.
func TestStreamLeavesNothingBehind(t *testing.T) {
	forever := func(ctx context.Context, _ int) (int, error) { return 0, untilStopped(ctx) }
	panics := func(i int) func(func(int) bool) {
		return func(yield func(int) bool) {
			for n := range i {
				if !yield(n) {
					return
				}
			}
			panic(errBoom)
		}
	}
	for name, play := range map[string]func(t *testing.T, d *Dynamic){
		"the input panics": func(t *testing.T, d *Dynamic) {
			_, _ = collect(t, d, panics(2), forever, StreamOptions{MaxConcurrency: 3})
		},
		"the consumer panics": func(t *testing.T, d *Dynamic) {
			for range Stream(t.Context(), d, items(9), takeItem, StreamOptions{MaxConcurrency: 3}) {
				panic(errBoom)
			}
		},
		"the last item times out": func(t *testing.T, d *Dynamic) {
			f := func(ctx context.Context, i int) (int, error) {
				if i == 4 {
					return forever(ctx, i)
				}
				return i, nil
			}
			got, err := collect(t, d, items(4), f, StreamOptions{MaxConcurrency: 2, OnTimeout: ReportItem})
			want := []caseEvent{event("ok", 1), event("ok", 2), event("ok", 3), event("exit", "timeout")}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("results (-want +got):\n%s\n%v", diff, err)
			}
		},
		"a linked item fails behind a slow one": func(t *testing.T, d *Dynamic) {
			f := func(ctx context.Context, i int) (int, error) {
				if i == 3 {
					return 0, errBoom
				}
				return forever(ctx, i)
			}
			begin := time.Now()
			_, err := collect(t, d, items(9), f, StreamOptions{MaxConcurrency: 3, Linked: true})
			if !errors.Is(err, errBoom) || time.Since(begin) != 0 {
				t.Errorf("stream ended with %v after %v, want %v at once", err, time.Since(begin), errBoom)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r := startDynamic(t, DynamicSpec{})
				func() {
					defer func() {
						if v := recover(); v != nil && v != errBoom { //nolint:errorlint // the very value
							panic(v)
						}
					}()
					play(t, d)
				}()
				if n := childrenOf(d); n != 0 || d.Abandoned() != 0 {
					t.Errorf("left running = %d, abandoned = %d, want none", n, d.Abandoned())
				}
				r.expectAlive()
			})
		})
	}
}

// A stream is a description: each iteration runs it again, and unordered results tell which items
// they are of.
func TestStreamIsIteratedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{})
		durations := []int{30, 10, 20}
		stream := Stream(t.Context(), d, slices.Values(durations), takeItem, StreamOptions{MaxConcurrency: 3, Unordered: true})
		for range 2 {
			var order []int
			for r, err := range stream {
				if err != nil || r.Err != nil || r.Input != durations[r.Index] || r.Value != r.Input {
					t.Errorf("result = %+v, %v", r, err)
				}
				order = append(order, r.Index)
			}
			if diff := cmp.Diff([]int{1, 2, 0}, order); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		}
	})
}
