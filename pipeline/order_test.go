package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/pipeline"
)

// For each key, Process sees the messages one at a time in the order of the source, whatever takes how long
// and fails; what failed is settled before the next begins; and a batcher handles them in that order.
func TestOrderByKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type message struct {
			key   string
			takes time.Duration
			fails bool
		}
		var messages []message
		for range rapid.IntRange(1, 40).Draw(t, "messages") {
			messages = append(messages, message{
				rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "key"),
				time.Duration(rapid.IntRange(0, 50).Draw(t, "takes")) * time.Millisecond,
				rapid.IntRange(0, 4).Draw(t, "fails") == 0,
			})
		}
		processors := rapid.IntRange(1, 5).Draw(t, "processors")
		handlers := rapid.IntRange(1, 3).Draw(t, "handlers")
		inFlight := rapid.IntRange(1, 50).Draw(t, "in flight")
		failure := pipeline.Failure{Attempts: rapid.IntRange(1, 2).Draw(t, "attempts"), HoldKey: rapid.Bool().Draw(t, "hold")}
		rapid.SyncTest(t, func(t *rapid.T) {
			var mu sync.Mutex
			running, unsettled := map[string]bool{}, map[string]int{}
			seen, batched := map[string][]int{}, map[string][]int{}
			settled := settleFunc(func(ends []pipeline.End) {
				mu.Lock()
				defer mu.Unlock()
				for _, e := range ends {
					if e.Err != nil {
						unsettled[messages[e.Ref.(int)].key]--
					}
				}
			})
			b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{
				Size: 3, Wait: 20 * time.Millisecond, Concurrency: handlers,
				Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
					time.Sleep(time.Duration(len(b.Items)) * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					for _, i := range b.Items {
						batched[messages[i].key] = append(batched[messages[i].key], i)
					}
					return nil
				},
			})
			var deliveries []pipeline.Delivery[int]
			for i := range messages {
				deliveries = append(deliveries, pipeline.Delivery[int]{Value: i, Ref: i, Acker: settled})
			}
			p := must(pipeline.New(pipeline.Config[int]{
				Source: &list{deliveries}, Concurrency: processors, InFlight: inFlight, OnFailure: failure,
				Batchers: []pipeline.AnyBatcher{b}, Logger: slog.New(slog.DiscardHandler),
				OrderBy: func(m *pipeline.Message[int]) string { return messages[m.Value].key },
				Process: func(_ context.Context, m *pipeline.Message[int]) error {
					own := messages[m.Value]
					mu.Lock()
					again := len(seen[own.key]) > 0 && seen[own.key][len(seen[own.key])-1] == m.Value
					if own.key != "" && (running[own.key] || unsettled[own.key] > 0 && !again) {
						t.Errorf("message %d of key %q began: running %v, %d unsettled", m.Value, own.key, running[own.key], unsettled[own.key])
					}
					running[own.key] = true
					if !again {
						seen[own.key] = append(seen[own.key], m.Value)
						if own.fails {
							unsettled[own.key]++
						}
					}
					mu.Unlock()
					b.Add(m, m.Value)
					time.Sleep(own.takes)
					mu.Lock()
					defer mu.Unlock()
					running[own.key] = false
					if own.fails {
						return errors.New("fails")
					}
					return nil
				},
			}))
			if err := p.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			want, good := map[string][]int{}, map[string][]int{}
			for i, m := range messages {
				want[m.key] = append(want[m.key], i)
				if !m.fails {
					good[m.key] = append(good[m.key], i)
				}
			}
			for key := range want {
				if key == "" {
					slices.Sort(seen[key])
					slices.Sort(batched[key])
				}
				if !slices.Equal(seen[key], want[key]) && (key != "" || failure.Attempts == 1) {
					t.Errorf("key %q: processed %v, want %v", key, seen[key], want[key])
				}
				if !slices.Equal(batched[key], good[key]) {
					t.Errorf("key %q: batched %v, want %v", key, batched[key], good[key])
				}
			}
		})
	})
}

type settleFunc func([]pipeline.End)

// list is a source of what it has.
type list struct{ left []pipeline.Delivery[int] }

func (l *list) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	if len(l.left) == 0 {
		return pipeline.FromSeq(func(func(int) bool) {}).Pull(ctx, n, out)
	}
	k := min(n, len(l.left))
	out = append(out, l.left[:k]...)
	l.left = l.left[k:]
	return out, nil
}

func (f settleFunc) Settle(_ context.Context, ends []pipeline.End) error {
	f(ends)
	return nil
}

// One key that takes a second for each message leaves the others alone.
func TestSlowKeyHoldsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		begun := time.Now()
		var last time.Duration
		p := must(pipeline.New(pipeline.Config[int]{
			Source: numbers(1000), Concurrency: 2, InFlight: 1000,
			OrderBy: func(m *pipeline.Message[int]) string {
				if m.Value <= 10 {
					return "slow"
				}
				return strconv.Itoa(m.Value)
			},
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if m.Value <= 10 {
					time.Sleep(time.Second)
					return nil
				}
				time.Sleep(time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				last = time.Since(begun)
				return nil
			},
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last > 1100*time.Millisecond || time.Since(begun) < 10*time.Second {
			t.Errorf("the others took %v, all %v", last, time.Since(begun))
		}
	})
}

// While a message fails in a batch, HoldKey keeps the next ones of its key out of Process.
func TestHoldKeyInABatch(t *testing.T) {
	for _, hold := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			processed := map[int]time.Duration{}
			begun := time.Now()
			b := pipeline.NewBatcher(pipeline.BatcherConfig[int]{
				Size: 1, Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
					if b.Items[0] == 1 {
						return errors.New("fails")
					}
					return nil
				},
			})
			values := make(chan int, 2)
			p := must(pipeline.New(pipeline.Config[int]{
				Source: pipeline.FromChan(values), Concurrency: 2, Batchers: []pipeline.AnyBatcher{b}, Logger: slog.New(slog.DiscardHandler),
				OnFailure: pipeline.Failure{Attempts: 2, HoldKey: hold, Backoff: func(int) time.Duration { return time.Minute }},
				OrderBy:   func(*pipeline.Message[int]) string { return "key" },
				Process: func(_ context.Context, m *pipeline.Message[int]) error {
					mu.Lock()
					defer mu.Unlock()
					processed[m.Value] = time.Since(begun)
					b.Add(m, m.Value)
					return nil
				},
			}))
			var run sync.WaitGroup
			run.Go(func() {
				if err := p.Run(t.Context()); err != nil {
					t.Error(err)
				}
			})
			values <- 1
			synctest.Wait()
			values <- 2
			synctest.Wait()
			if s := p.Stats(); hold != (s.HeldKeys == 1) || hold != (s.Waiting == 1) && hold {
				t.Errorf("hold %v: %+v", hold, s)
			}
			close(values)
			run.Wait()
			if held := processed[2] >= time.Minute; held != hold {
				t.Errorf("hold %v: the next one was processed after %v", hold, processed[2])
			}
		})
	}
}
