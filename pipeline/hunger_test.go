package pipeline_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/pipeline"
)

// Wherever the bounds are, no message waits for longer than Wait while a handler is free; and batches keep
// to size, bytes and key.
func TestNoMessageWaitsForLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gaps := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, time.Second}), 1, 20).Draw(t, "gaps")
		inFlight := rapid.IntRange(1, 12).Draw(t, "in flight")
		size, bytes := rapid.IntRange(1, 20).Draw(t, "size"), rapid.IntRange(1, 30).Draw(t, "bytes")
		keys, processors := rapid.IntRange(1, 3).Draw(t, "keys"), rapid.IntRange(1, 3).Draw(t, "processors")
		var limit pipeline.Limiter
		if n := rapid.IntRange(0, 3).Draw(t, "limit"); n > 0 {
			limit = pipeline.Every(n, 10*time.Second)
		}
		const wait = 3 * time.Second
		rapid.SyncTest(t, func(t *rapid.T) {
			source := &timed{gaps: gaps, pulled: map[int]time.Time{}}
			key := func(v int) string { return string(rune('a' + v%keys)) }
			b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{
				Size: size, Bytes: bytes, SizeOf: func(v int) int { return v % 7 }, Wait: wait, Key: key, Concurrency: 100, Keys: 2,
				Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
					weight := 0
					for _, v := range b.Items {
						weight += v % 7
						if key(v) != b.Key {
							t.Errorf("a value of %s is in a batch of %s", key(v), b.Key)
						}
						if waited := time.Since(source.at(v)); waited > wait {
							t.Errorf("a value waited %v, and the batch is %v", waited, b.Trigger)
						}
					}
					if len(b.Items) > size || weight > bytes && len(b.Items) > 1 {
						t.Errorf("a batch of %d items of %d bytes, at most %d of %d", len(b.Items), weight, size, bytes)
					}
					return nil
				},
			})
			p := must(pipeline.New(pipeline.Config[int]{
				Source: source, InFlight: inFlight, Concurrency: processors, Limit: limit, Batchers: []pipeline.AnyBatcher{b},
				Process: func(_ context.Context, m *pipeline.Message[int]) error { b.Add(m, m.Value); return nil },
			}))
			if err := p.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			if s := p.Stats(); int(s.Handled) != len(gaps) {
				t.Errorf("%+v of %d", s, len(gaps))
			}
		})
	})
}

// timed hands out one message after each gap, and knows when.
type timed struct {
	gaps   []time.Duration
	next   int
	mu     sync.Mutex
	pulled map[int]time.Time
}

func (s *timed) at(v int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pulled[v]
}

func (s *timed) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	for ; n > 0 && s.next < len(s.gaps) && (len(out) == 0 || s.gaps[s.next] == 0); n-- {
		timer := time.NewTimer(s.gaps[s.next])
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return out, ctx.Err()
		}
		s.mu.Lock()
		s.pulled[s.next] = time.Now()
		s.mu.Unlock()
		out = append(out, pipeline.Delivery[int]{Value: s.next})
		s.next++
	}
	if len(out) == 0 {
		return out, io.EOF
	}
	return out, nil
}
