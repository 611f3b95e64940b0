package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// storing is an ordered source that says so that it has a store.
type storing struct{ *listed }

func (s storing) Store() pipeline.Store { return s.listed }

// countFold is a fold that counts all that is added to it, and calls handle with it.
func countFold(state pipeline.Store, handle func(n int)) *pipeline.Fold[string, int, int] {
	return pipeline.NewFold(pipeline.FoldConfig[string, int, int]{
		Key: func(int) string { return "k" }, At: func(int) time.Time { return time.Unix(0, 0) }, Size: time.Minute, State: state,
		Zero: func(string) int { return 0 }, Fold: func(n, _ int) int { return n + 1 },
		Handle: func(_ context.Context, w *pipeline.Window[string, int]) error { handle(w.Value); return nil },
	})
}

func adding(s pipeline.Source[int], f *pipeline.Fold[string, int, int]) pipeline.Config[int] {
	return pipeline.Config[int]{
		Source: s, Batchers: []pipeline.AnyBatcher{f},
		Process: func(_ context.Context, m *pipeline.Message[int]) error { f.Add(m, m.Value); return nil },
	}
}

// A fold over a source that has a store needs it.
func TestFoldNeedsTheStoreOfItsSource(t *testing.T) {
	s := storing{&listed{}}
	for name, source := range map[string]pipeline.Source[int]{"itself": s, "merged": pipeline.Merge(numbers(1), pipeline.Source[int](s))} {
		if _, err := pipeline.New(adding(source, countFold(nil, func(int) {}))); !errors.Is(err, pipeline.ErrInvalid) {
			t.Errorf("%s, without State: %v", name, err)
		}
		if _, err := pipeline.New(adding(source, countFold(s.Store(), func(int) {}))); err != nil {
			t.Errorf("%s, with State: %v", name, err)
		}
	}
}

// Sources that number their messages in their own ways are folded together: no value is taken for one that came
// before.
func TestFoldOfSourcesThatNumberAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sum := 0
		a, b := &listed{seqs: []uint64{1001, 1002}, eof: true}, &listed{seqs: []uint64{1, 2, 3}, delay: time.Second, eof: true}
		p := must(pipeline.New(adding(pipeline.Merge[int](a, b), countFold(nil, func(n int) { sum += n }))))
		if err := p.Run(t.Context()); err != nil || sum != 5 {
			t.Errorf("%v, %d counted of 5", err, sum)
		}
	})
}

// What another source than that of the State adds is not taken for counted, and not counted.
func TestFoldOfAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &listed{seqs: []uint64{1001, 1002}, eof: true}, &listed{seqs: []uint64{1, 2, 3}, delay: time.Second, eof: true}
		f := countFold(a, func(int) {})
		c := adding(pipeline.Merge[int](a, b), f)
		c.Process = func(_ context.Context, m *pipeline.Message[int]) error {
			if m.Value != 3 {
				f.Add(m, m.Value)
			}
			return nil
		}
		if err := must(pipeline.New(c)).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for seq, want := range map[uint64]error{1: pipeline.ErrOtherState, 2: pipeline.ErrOtherState, 3: nil} {
			if err, ok := b.ends[seq]; !ok || !errors.Is(err, want) {
				t.Errorf("message %d ended: %t, %v", seq, ok, err)
			}
		}
		if len(a.ends) != 2 || a.ends[1001] != nil || a.ends[1002] != nil {
			t.Errorf("the fold's own source: %v", a.ends)
		}
	})
}

// Beside a source without order an ordered one keeps its own.
func TestMergeKeepsTheOrderOfASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []int
		p := must(pipeline.New(pipeline.Config[int]{
			Source: pipeline.Merge(numbers(1), pipeline.Source[int](&listed{seqs: []uint64{1001, 1002, 1003, 1004}, eof: true})), Concurrency: 8, InFlight: 8,
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				time.Sleep(time.Duration(1010-m.Value) * time.Second)
				mu.Lock()
				defer mu.Unlock()
				if m.Value > 1000 {
					got = append(got, m.Value)
				}
				return nil
			},
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []int{1001, 1002, 1003, 1004}) {
			t.Errorf("processed %v", got)
		}
	})
}

// A source that ends takes no room from the others.
func TestMergeGoesOnWithoutASourceThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := must(pipeline.New(pipeline.Config[int]{
			Source: pipeline.Merge(numbers(0), numbers(3)), Concurrency: 1, InFlight: 1,
			Process: func(context.Context, *pipeline.Message[int]) error { n++; return nil },
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := p.Run(ctx); err != nil || n != 3 {
			t.Errorf("%v, %d processed of 3", err, n)
		}
	})
}
