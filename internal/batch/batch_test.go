package batch_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/batch"
)

type (
	item    = batch.Item[string, int]
	batched = batch.Batch[string, int]
)

// left is a batch as the vectors write it.
type left struct {
	Data    []int
	Key     string
	Size    int
	Trigger string
}

func as(t rapid.TB, batches []batched) []left {
	t.Helper()
	names := map[batch.Trigger]string{batch.Full: "size", batch.Due: "timeout", batch.Flushed: "flush"}
	out := []left{}
	for _, b := range batches {
		out = append(out, left{b.Values, b.Key, len(b.Values), names[b.Trigger]})
	}
	return out
}

// The original flushes what is open at the end by key, and this package by age.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/batcher.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		BatchSize int `json:"batch_size"`
		Rounds    []struct {
			In []struct {
				Data      int
				Key, Mode string
			}
			Out []left
		}
		FinalFlush []left `json:"final_flush"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields() // which would be an operation that is not replayed
	if err := dec.Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("no vectors")
	}
	for i, v := range vectors {
		b := batch.New[string](batch.Config[int]{Size: v.BatchSize, Wait: time.Hour})
		for j, round := range v.Rounds {
			var group []item
			for _, in := range round.In {
				if in.Mode != "bulk" && in.Mode != "flush" {
					t.Fatalf("vector %d, round %d: unknown mode %q", i, j, in.Mode)
				}
				group = append(group, item{Key: in.Key, Value: in.Data, Flush: in.Mode == "flush"})
			}
			if diff := gocmp.Diff(round.Out, as(t, b.Add(time.Time{}, group, nil))); diff != "" {
				t.Fatalf("vector %d, round %d (-want +got):\n%s", i, j, diff)
			}
		}
		got := as(t, b.Flush(nil))
		byKey := func(a, b left) int { return cmp.Compare(a.Key, b.Key) }
		slices.SortFunc(got, byKey)
		slices.SortFunc(v.FinalFlush, byKey)
		if diff := gocmp.Diff(v.FinalFlush, got); diff != "" {
			t.Errorf("vector %d: at the end (-want +got):\n%s", i, diff)
		}
	}
}

func TestRules(t *testing.T) {
	values := func(weights ...int) (group []item) {
		for i, w := range weights {
			group = append(group, item{Value: i, Weight: w})
		}
		return group
	}
	budget := func() func(int) bool {
		left := 10
		return func(v int) bool {
			left -= v
			return left <= 0
		}
	}
	tests := []struct {
		name   string
		config batch.Config[int]
		group  []item
		want   []left
		open   int
	}{
		{"a value that is too much begins the next batch", batch.Config[int]{Ceiling: 10}, values(4, 4, 4), []left{{[]int{0, 1}, "", 2, "size"}}, 1},
		{"a batch at its ceiling is full", batch.Config[int]{Ceiling: 8}, values(4, 4, 4), []left{{[]int{0, 1}, "", 2, "size"}}, 1},
		{
			"a value above the ceiling is alone",
			batch.Config[int]{Ceiling: 8},
			values(1, 9, 1),
			[]left{{[]int{0}, "", 1, "size"}, {[]int{1}, "", 1, "size"}},
			1,
		},
		{
			"the greatest weight there is does not wrap around",
			batch.Config[int]{Ceiling: 10},
			values(4, math.MaxInt, 4),
			[]left{{[]int{0}, "", 1, "size"}, {[]int{1}, "", 1, "size"}},
			1,
		},
		{
			"a negative weight makes no room for others",
			batch.Config[int]{Ceiling: 10},
			values(8, -5, 4),
			[]left{{[]int{0, 1}, "", 2, "size"}},
			1,
		},
		{
			"the oldest batch makes room",
			batch.Config[int]{Keys: 2},
			[]item{{Key: "a", Value: 1}, {Key: "b", Value: 2}, {Key: "a", Value: 3}, {Key: "c", Value: 4}},
			[]left{{[]int{1, 3}, "a", 2, "flush"}},
			2,
		},
		{
			"a splitter begins anew with each batch",
			batch.Config[int]{Split: budget},
			[]item{{Value: 4}, {Value: 3}, {Value: 5}, {Value: 10}, {Value: 2}, {Value: 2}},
			[]left{{[]int{4, 3, 5}, "", 3, "size"}, {[]int{10}, "", 1, "size"}},
			1,
		},
	}
	for _, tt := range tests {
		b := batch.New[string](tt.config)
		got := as(t, b.Add(time.Time{}, tt.group, nil))
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if open, _ := b.Len(); open != tt.open {
			t.Errorf("%s: %d batches are open, want %d", tt.name, open, tt.open)
		}
	}
}

func TestAgeIsThatOfTheFirstValue(t *testing.T) {
	start := time.Now()
	b := batch.New[string](batch.Config[int]{Wait: time.Second})
	b.Add(start, []item{{Key: "a", Value: 1}}, nil)
	b.Add(start.Add(500*time.Millisecond), []item{{Key: "b", Value: 2}}, nil)
	b.Add(start.Add(900*time.Millisecond), []item{{Key: "a", Value: 3}}, nil)
	if next, ok := b.Next(); !ok || !next.Equal(start.Add(time.Second)) {
		t.Errorf("Next() = %v, %v", next.Sub(start), ok)
	}
	if early := b.Due(start.Add(time.Second-1), nil); early != nil {
		t.Errorf("due too early: %v", early)
	}
	want := []left{{[]int{1, 3}, "a", 2, "timeout"}}
	if diff := gocmp.Diff(want, as(t, b.Due(start.Add(time.Second), nil))); diff != "" {
		t.Errorf("after a second (-want +got):\n%s", diff)
	}
	if oldest, ok := b.Oldest(); !ok || oldest.Key != "b" || oldest.Trigger != batch.Flushed {
		t.Errorf("Oldest() = %v, %v", oldest, ok)
	}
	if _, ok := b.Next(); ok {
		t.Error("an empty batcher is due")
	}
	if _, ok := b.Oldest(); ok {
		t.Error("an empty batcher has an oldest batch")
	}
}

// Whatever comes, however it is cut into groups: no batch passes a bound, and the values of a key leave
// once each, in order.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := batch.Config[int]{
			Size: rapid.IntRange(0, 5).Draw(t, "size"), Ceiling: rapid.IntRange(0, 20).Draw(t, "ceiling"),
			Keys: rapid.IntRange(0, 3).Draw(t, "keys"), Wait: time.Duration(rapid.IntRange(0, 10).Draw(t, "wait")),
		}
		b := batch.New[string](c)
		now := time.Unix(0, 0)
		added, gone := map[string][]int{}, map[string][]int{}
		weights := map[int]int{}
		check := func(batches []batched) {
			for _, out := range batches {
				weight := 0
				for _, v := range out.Values {
					weight += weights[v]
				}
				switch {
				case len(out.Values) == 0:
					t.Fatal("an empty batch")
				case weight != out.Weight:
					t.Fatalf("a batch that weighs %d says %d", weight, out.Weight)
				case c.Size > 0 && len(out.Values) > c.Size:
					t.Fatalf("%d values, at most %d", len(out.Values), c.Size)
				case c.Ceiling > 0 && weight > c.Ceiling && len(out.Values) > 1:
					t.Fatalf("%d values weigh %d, at most %d", len(out.Values), weight, c.Ceiling)
				case out.Trigger == batch.Due && now.Sub(out.Since) < c.Wait:
					t.Fatalf("due after %v", now.Sub(out.Since))
				}
				gone[out.Key] = append(gone[out.Key], out.Values...)
			}
		}
		for n := range rapid.IntRange(1, 30).Draw(t, "groups") {
			var group []item
			for i := range rapid.IntRange(0, 8).Draw(t, "values") {
				it := item{
					Key:   rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key"),
					Value: n*100 + i, Weight: rapid.IntRange(0, 25).Draw(t, "weight"), Flush: rapid.IntRange(0, 9).Draw(t, "flush") == 0,
				}
				weights[it.Value] = it.Weight
				added[it.Key] = append(added[it.Key], it.Value)
				group = append(group, it)
			}
			check(b.Add(now, group, nil))
			if open, _ := b.Len(); c.Keys > 0 && open > c.Keys {
				t.Fatalf("%d batches are open, at most %d", open, c.Keys)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "later")))
			check(b.Due(now, nil))
			if next, ok := b.Next(); ok && !next.After(now) {
				t.Fatal("something is due after Due")
			}
			if rapid.IntRange(0, 9).Draw(t, "hunger") == 0 {
				if oldest, ok := b.Oldest(); ok {
					check([]batched{oldest})
				}
			}
		}
		check(b.Flush(nil))
		if open, values := b.Len(); open != 0 || values != 0 {
			t.Fatalf("%d batches with %d values are open after Flush", open, values)
		}
		if diff := gocmp.Diff(added, gone); diff != "" {
			t.Fatalf("added and gone (-want +got):\n%s", diff)
		}
	})
}
