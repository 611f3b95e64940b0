package batch_test

import (
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/batch"
)

// modelled is what a delivered group comes to: it is cut into runs of one key; a batch leaves when it is full,
// and at the end of a run that asks for it.
func modelled(size int, open map[string][]int, group []item) []left {
	out := []left{}
	leave := func(key, why string) {
		out = append(out, left{open[key], key, len(open[key]), why})
		delete(open, key)
	}
	flush := false
	for i, in := range group {
		open[in.Key] = append(slices.Clone(open[in.Key]), in.Value)
		flush = flush || in.Flush
		if len(open[in.Key]) == size {
			leave(in.Key, "size")
			flush = false // who asked for it has left
		}
		if i+1 == len(group) || group[i+1].Key != in.Key {
			if flush && len(open[in.Key]) > 0 {
				leave(in.Key, "flush")
			}
			flush = false
		}
	}
	return out
}

func TestBatcherIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 6).Draw(t, "size")
		b := batch.New[string](batch.Config[int]{Size: size, Wait: time.Hour})
		open := map[string][]int{}
		n := 0
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			var group []item
			for range rapid.IntRange(0, 8).Draw(t, "values") {
				n++
				group = append(group, item{
					Key: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "key"), Value: n, Flush: rapid.IntRange(0, 4).Draw(t, "flush") == 0,
				})
			}
			want := modelled(size, open, group)
			if diff := gocmp.Diff(want, as(t, b.Add(time.Time{}, group, nil))); diff != "" {
				t.Fatalf("size %d, %+v (-want +got):\n%s", size, group, diff)
			}
		}
	})
}
