package pipeline_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// place is where a message is in the one partition of a listed source.
type place uint64

func (p place) Position() (int, uint64) { return 0, uint64(p) }

// listed is an ordered source of some sequences, whose values they are, and the store of its folds.
type listed struct {
	seqs  []uint64
	state []byte // what the fold begins with
	delay time.Duration
	eof   bool

	begun bool
	told  bool
	mu    sync.Mutex
	fold  pipeline.Checkpointed
	ends  map[uint64]error
}

func (s *listed) Ordered() bool { return true }

func (s *listed) Keep(f pipeline.Checkpointed) func(int) {
	s.fold = f
	return func(int) {}
}

func (s *listed) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	if !s.begun {
		time.Sleep(s.delay)
	}
	if s.begun = true; s.fold != nil && !s.told {
		s.told = true
		if err := s.fold.Begin(context.WithoutCancel(ctx), 0, s.state); err != nil {
			return out, err
		}
	}
	if len(s.seqs) == 0 && s.eof {
		return out, io.EOF
	}
	if len(s.seqs) == 0 {
		<-ctx.Done()
		return out, context.Cause(ctx)
	}
	for ; n > 0 && len(s.seqs) > 0; n-- {
		out = append(out, pipeline.Delivery[int]{Value: int(s.seqs[0]), Key: "0", Acker: s, Ref: place(s.seqs[0])}) //nolint:gosec // small
		s.seqs = s.seqs[1:]
	}
	return out, nil
}

func (s *listed) Settle(_ context.Context, ends []pipeline.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends == nil {
		s.ends = map[uint64]error{}
	}
	for _, e := range ends {
		if p, ok := e.Ref.(place); ok {
			s.ends[uint64(p)] = e.Err
		}
	}
	return nil
}

// runFor runs a pipeline over a source until there is nothing more to do, and returns what its fold knows then of
// a partition that is settled up to a sequence.
func (s *listed) runFor(t *testing.T, d time.Duration, c pipeline.Config[int], upTo uint64) (state string) {
	t.Helper()
	c.Source, c.OrderBy = s, func(m *pipeline.Message[int]) string { return m.ID() }
	p := must(pipeline.New(c))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	time.Sleep(d)
	synctest.Wait()
	body, _, kept, err := s.fold.Checkpoint(0, upTo)
	if err != nil {
		t.Error(err)
	}
	kept()
	time.Sleep(d)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return string(body)
}

// A message that fails elsewhere after it was folded, and comes again, counts once.
func TestFoldCountsWhatFailedElsewhereOnce(t *testing.T) {
	run := func(t *testing.T, s *listed, upTo uint64) string {
		t.Helper()
		f := pipeline.NewFold(pipeline.FoldConfig[string, int, int]{
			Key: func(int) string { return "k" }, At: func(int) time.Time { return time.Unix(0, 0) }, Size: time.Minute, State: s,
			Zero: func(string) int { return 0 }, Fold: func(n, _ int) int { return n + 1 },
			Handle: func(context.Context, *pipeline.Window[string, int]) error { return nil },
		})
		rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 1, Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
			if b.Items[0] == 2 {
				return errors.New("the table is locked")
			}
			return nil
		}})
		return s.runFor(t, 2*time.Minute, pipeline.Config[int]{
			Batchers: []pipeline.AnyBatcher{f, rows}, Concurrency: 2,
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if m.Value == 1 {
					time.Sleep(time.Minute) // the other one fails meanwhile
				}
				rows.Add(m, m.Value)
				f.Add(m, m.Value)
				return nil
			},
		}, upTo)
	}
	synctest.Test(t, func(t *testing.T) {
		first := run(t, &listed{seqs: []uint64{1, 2}}, 1) // its dead letter waits when the process dies
		second := run(t, &listed{seqs: []uint64{2, 3}, state: []byte(first)}, 3)
		if !strings.Contains(second, `"value":{"value":3,`) {
			t.Errorf("three messages make\n%s, and two\n%s", second, first)
		}
	})
}

// A window's value is Handle's own: what it does with it is neither kept nor given to it again.
func TestFoldGivesHandleItsOwnValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &listed{seqs: []uint64{1, 100}}
		var given []map[string]int
		f := pipeline.NewFold(pipeline.FoldConfig[string, int, map[string]int]{
			Key: func(int) string { return "k" }, At: func(v int) time.Time { return time.Unix(int64(v), 0) }, Size: 10 * time.Second, State: s,
			Zero: func(string) map[string]int { return map[string]int{} },
			Fold: func(m map[string]int, v int) map[string]int { m["last"] = v; return m },
			Handle: func(_ context.Context, w *pipeline.Window[string, map[string]int]) error {
				given = append(given, maps.Clone(w.Value))
				w.Value["mine"] = 1
				return errors.New("the table is locked")
			},
		})
		s.runFor(t, 10*time.Second, pipeline.Config[int]{
			Batchers: []pipeline.AnyBatcher{f}, Process: func(_ context.Context, m *pipeline.Message[int]) error {
				f.Add(m, m.Value)
				return nil
			},
		}, 100)
		if len(given) < 2 {
			t.Fatalf("handled %d times", len(given))
		}
		for _, value := range given {
			if len(value) != 1 || value["last"] != 1 {
				t.Errorf("Handle is given %v", value)
			}
		}
	})
}
