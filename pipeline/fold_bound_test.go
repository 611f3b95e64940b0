package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// seconds folds values, which are seconds, in windows of a second, a key for each of some remainders.
func seconds(keys, most int, state pipeline.Store, handle func(n int) error) pipeline.FoldConfig[int, int, int] {
	return pipeline.FoldConfig[int, int, int]{
		Name: "seconds", Key: func(v int) int { return v % keys }, At: func(v int) time.Time { return time.Unix(int64(v), 0) },
		Size: time.Second, State: state, MaxKeys: most,
		Zero: func(int) int { return 0 }, Fold: func(n, _ int) int { return n + 1 },
		Handle: func(_ context.Context, w *pipeline.Window[int, int]) error { return handle(w.Value) },
	}
}

func foldedInto(f *pipeline.Fold[int, int, int]) pipeline.Config[int] {
	return pipeline.Config[int]{
		Batchers: []pipeline.AnyBatcher{f}, InFlight: 1000,
		Process: func(_ context.Context, m *pipeline.Message[int]) error { f.Add(m, m.Value); return nil },
	}
}

func fine(int) error { return nil }

// A fold with more keys than it may have ends the pipeline, and says what helps. Keys whose windows are closed do not
// count.
func TestFoldOfTooManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			size time.Duration
			most int
			fits bool
		}{"too many": {time.Hour, 99, false}, "just enough": {time.Hour, 100, true}, "closed": {time.Second, 2, true}, "any": {time.Hour, 0, true}} {
			fold := seconds(1000, c.most, nil, fine)
			fold.Size = c.size
			config := foldedInto(pipeline.NewFold(fold))
			config.Source = numbers(100)
			err := must(pipeline.New(config)).Run(t.Context())
			if c.fits != (err == nil) {
				t.Errorf("%s: Run returned %v", name, err)
			}
			if err != nil && (!errors.Is(err, pipeline.ErrTooManyKeys) || !strings.Contains(err.Error(), "fold seconds") || !strings.Contains(err.Error(), "99")) {
				t.Errorf("%s: Run returned %v", name, err)
			}
		}
		bad := seconds(1, -1, nil, fine)
		config := foldedInto(pipeline.NewFold(bad))
		config.Source = numbers(1)
		if _, err := pipeline.New(config); !errors.Is(err, pipeline.ErrInvalid) {
			t.Errorf("MaxKeys -1: %v", err)
		}
	})
}

// What was folded before there were too many keys is kept, and with room for more the fold goes on from there.
func TestFoldOfTooManyKeysGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &listed{}
		for seq := range uint64(20) {
			s.seqs = append(s.seqs, seq+1)
		}
		hours := func(most int) *pipeline.Fold[int, int, int] {
			fold := seconds(1000, most, s, fine)
			fold.Size = time.Hour
			return pipeline.NewFold(fold)
		}
		config := foldedInto(hours(10))
		config.Source = s
		if err := must(pipeline.New(config)).Run(t.Context()); !errors.Is(err, pipeline.ErrTooManyKeys) {
			t.Fatalf("Run returned %v", err)
		}
		state, _, _, err := s.fold.Checkpoint(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var again []uint64
		for seq := range uint64(20) {
			if err, ended := s.ends[seq+1]; !ended || errors.Is(err, pipeline.ErrHandedBack) {
				again = append(again, seq+1)
			}
		}
		if len(again) != 9 { // the eleventh key is in the state, too
			t.Errorf("handed back are %v", again)
		}
		next := &listed{seqs: again, state: state}
		s = next
		config = foldedInto(hours(20))
		body := next.runFor(t, time.Minute, config, 20)
		if n := strings.Count(body, `"value":{"value":1,`); n != 20 {
			t.Errorf("%d keys of 20 are in\n%s", n, body)
		}
	})
}

// While windows cannot be handled no more is folded than may be kept. Later on everything is.
func TestFoldWaitsForItsWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, all = 10, 200
		var clicks []click
		for i := range all {
			clicks = append(clicks, click{"a", i})
		}
		for name, source := range map[string]pipeline.Source[click]{
			"forgotten": pipeline.FromSeq(slices.Values(clicks)), "that come again": &held{clicks: clicks, eof: true},
		} {
			var locked atomic.Bool
			locked.Store(true)
			var folded, handled atomic.Int64
			c := minutes(func(_ context.Context, w *pipeline.Window[string, int]) error {
				if locked.Load() {
					return errors.New("the table is locked")
				}
				handled.Add(int64(w.Value))
				return nil
			})
			c.Size, c.Delay, c.Late, c.MaxKeys = time.Second, 0, 0, most
			c.Fold = func(n int, _ click) int { folded.Add(1); return n + 1 }
			p := foldAll(t, source, pipeline.NewFold(c), func(c *pipeline.Config[click]) {
				c.InFlight, c.Logger = 1000, slog.New(slog.DiscardHandler)
			})
			done := make(chan error, 1)
			go func() { done <- p.Run(t.Context()) }()
			time.Sleep(time.Hour)
			if n := folded.Load(); n < most || n > most+2 {
				t.Errorf("%s: %d values are folded, while %d windows may wait", name, n, most)
			}
			locked.Store(false)
			if err := <-done; err != nil || handled.Load() != all {
				t.Errorf("%s: %d of %d are handled, %v", name, handled.Load(), all, err)
			}
		}
	})
}

// A fold that waits for its windows keeps no pipeline from its end: what has waited is handed back.
func TestFoldThatWaitsIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &listed{}
		for seq := range uint64(100) {
			s.seqs = append(s.seqs, seq+1)
		}
		config := foldedInto(pipeline.NewFold(seconds(7, 10, s, fine))) // no state is ever kept, so no window is handled
		config.Source = s
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- must(pipeline.New(config)).Run(ctx) }()
		time.Sleep(time.Minute)
		begin := time.Now()
		cancel()
		err := <-done
		if took := time.Since(begin); err != nil || took > time.Second {
			t.Errorf("drained in %v: %v", took, err)
		}
		back := 0
		for _, err := range s.ends {
			if errors.Is(err, pipeline.ErrHandedBack) {
				back++
			}
		}
		if back < 85 || back > 90 {
			t.Errorf("%d of 100 are handed back", back)
		}
	})
}

// taken is a source whose partition was lost and taken again between two messages.
type taken struct {
	*listed
	former context.Context //nolint:containedctx // it is a message's life
}

func (s taken) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	begun := s.begun
	out, err := s.listed.Pull(ctx, n, out)
	if !begun {
		out[0].Context = s.former
	}
	return out, err
}

// A message that was handed out before its partition was lost is not taken for one of the partition that is its process's
// again.
func TestFoldOfAPartitionThatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former, lose := context.WithCancel(t.Context())
		lose()
		s := taken{&listed{seqs: []uint64{3, 1, 2, 3}}, former}
		config := foldedInto(pipeline.NewFold(seconds(1000, 0, s.listed, fine)))
		config.Source = s
		p := must(pipeline.New(config))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		for seq := range uint64(3) {
			if err := s.ends[seq+1]; err != nil {
				t.Errorf("message %d ends with %v", seq+1, err)
			}
		}
		if len(s.ends) != 3 {
			t.Errorf("%d messages have ended", len(s.ends))
		}
	})
}
