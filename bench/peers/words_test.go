package peers

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/reugn/go-streams/extension"
	gostreams "github.com/reugn/go-streams/flow"
	"github.com/samber/ro"
	"github.com/sourcegraph/conc/iter"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/flow"
)

func word(w string) string { return w }

// Words are split and counted, in two goroutines where there is something for that.
func BenchmarkWords(b *testing.B) {
	lines := text()
	want := map[string]int{}
	for _, line := range lines {
		count(want, line)
	}
	compare(b, events, want, maps.Equal, []contestant[map[string]int]{
		{"flow", func(ctx context.Context) (map[string]int, error) {
			words := flow.FlatMap(flow.From(slices.Values(lines)).Stages(goroutines), strings.FieldsSeq)
			all := map[string]int{}
			for g, err := range flow.CountBy(flow.By(words, word).Partitions(goroutines)).All(ctx) {
				if err != nil {
					return nil, err
				}
				all[g.Key] = g.Value
			}
			return all, nil
		}},
		{"errgroup", func(ctx context.Context) (map[string]int, error) {
			all := map[string]int{}
			counts := make([]map[string]int, goroutines)
			g, _ := errgroup.WithContext(ctx)
			for i := range counts {
				g.Go(func() error {
					counts[i] = map[string]int{}
					for _, line := range lines[i*len(lines)/goroutines : (i+1)*len(lines)/goroutines] {
						count(counts[i], line)
					}
					return nil
				})
			}
			err := g.Wait()
			for _, c := range counts {
				merge(all, c)
			}
			return all, err
		}},
		{"conc", func(context.Context) (map[string]int, error) {
			all := map[string]int{}
			chunks := slices.Collect(slices.Chunk(lines, chunk))
			for _, c := range (iter.Mapper[[]string, map[string]int]{MaxGoroutines: goroutines}).Map(chunks, func(lines *[]string) map[string]int {
				counts := map[string]int{}
				for _, line := range *lines {
					count(counts, line)
				}
				return counts
			}) {
				merge(all, c)
			}
			return all, nil
		}},
		{"ro", func(context.Context) (map[string]int, error) {
			counts, err := ro.Collect(ro.Pipe3(ro.FromSlice(lines), ro.Map(strings.Fields), ro.Flatten[string](), ro.Reduce(add, map[string]int{})))
			return counts[0], err
		}},
		{"go-streams", func(context.Context) (map[string]int, error) {
			in := make(chan any)
			go func() {
				defer close(in)
				for _, line := range lines {
					in <- line
				}
			}()
			all := map[string]int{}
			for w := range extension.NewChanSource(in).Via(gostreams.NewFlatMap(strings.Fields, goroutines)).Out() {
				all[w.(string)]++
			}
			return all, nil
		}},
	})
}

func add(counts map[string]int, w string) map[string]int {
	counts[w]++
	return counts
}
