package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// A processor is given several messages of a key. While one of them takes long, those before it are settled, what
// they have added is handled, and those behind it wait.
func TestRunOfAKeyIsSettledBeforeItsSlowMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var batched []int
		b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 1, Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
			mu.Lock()
			defer mu.Unlock()
			batched = append(batched, b.Items...)
			return nil
		}})
		p := must(pipeline.New(pipeline.Config[int]{
			Source: numbers(20), Concurrency: 2, InFlight: 20, Batchers: []pipeline.AnyBatcher{b},
			OrderBy: func(*pipeline.Message[int]) string { return "key" },
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if m.Value%2 == 1 {
					b.Add(m, m.Value)
				}
				if m.Value == 10 {
					time.Sleep(time.Hour)
				}
				return nil
			},
		}))
		var run sync.WaitGroup
		run.Go(func() {
			if err := p.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Minute)
		mu.Lock()
		if s := p.Stats(); s.Handled != 9 || !slices.Equal(batched, []int{1, 3, 5, 7, 9}) {
			t.Errorf("%d are settled, and %v were batched", s.Handled, batched)
		}
		mu.Unlock()
		run.Wait()
		if s := p.Stats(); s.Handled != 20 || len(batched) != 10 {
			t.Errorf("%d are settled, and %v were batched", s.Handled, batched)
		}
	})
}

// Prepare is called once for each message, also of those that a processor was given and has returned.
func TestRunOfAKeyIsPreparedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prepared, calls := map[int]int{}, 0
		var processed []int
		p := must(pipeline.New(pipeline.Config[int]{
			Source: numbers(100), Concurrency: 1, InFlight: 100, Logger: slog.New(slog.DiscardHandler),
			OrderBy: func(*pipeline.Message[int]) string { return "key" },
			Prepare: func(_ context.Context, ms []*pipeline.Message[int]) error {
				calls++
				for _, m := range ms {
					prepared[m.Value]++
				}
				return nil
			},
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				processed = append(processed, m.Value)
				switch m.Value {
				case 20:
					time.Sleep(time.Second)
				case 40:
					return errors.New("fails")
				}
				return nil
			},
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for v := range 100 {
			if prepared[v+1] != 1 || processed[v] != v+1 {
				t.Errorf("%d was prepared %d times, and %d processed in its place", v+1, prepared[v+1], processed[v])
			}
		}
		if calls > 10 {
			t.Errorf("%d calls of Prepare", calls)
		}
	})
}
