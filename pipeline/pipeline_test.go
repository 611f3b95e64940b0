package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/pipeline"
)

func numbers(n int) pipeline.Source[int] {
	return pipeline.FromSeq(func(yield func(int) bool) {
		for i := range n {
			if !yield(i + 1) {
				return
			}
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var quiet = slog.New(slog.DiscardHandler)

// gather returns a pipeline of one batcher, and its batches as they come.
func gather(c pipeline.Config[int], bc pipeline.BatcherConfig[int]) (p *pipeline.Pipeline[int], batches *[]string) {
	batches = new([]string)
	begun := time.Now()
	handle := bc.Handle
	bc.Handle = func(ctx context.Context, b *pipeline.Batch[int]) error {
		*batches = append(*batches, fmt.Sprint(b.Items, b.Key, " ", b.Trigger, " ", time.Since(begun)))
		if handle != nil {
			return handle(ctx, b)
		}
		return nil
	}
	b := pipeline.NewBatcher(bc)
	c.Batchers, c.Concurrency, c.Logger = []pipeline.AnyBatcher{b}, 1, quiet
	c.Process = func(_ context.Context, m *pipeline.Message[int]) error {
		b.Add(m, m.Value)
		return nil
	}
	return must(pipeline.New(c)), batches
}

func TestHungryBatches(t *testing.T) {
	long := pipeline.BatcherConfig[int]{Size: 100, Wait: time.Minute}
	tests := []struct {
		name   string
		config pipeline.Config[int]
		want   []string
	}{
		{
			"all that may be in hand is in the batch",
			pipeline.Config[int]{Source: numbers(7), InFlight: 5},
			[]string{"[1 2 3 4 5] flushed 0s", "[6 7] flushed 0s"},
		},
		{"the source has ended", pipeline.Config[int]{Source: numbers(3), InFlight: 50}, []string{"[1 2 3] flushed 0s"}},
		{
			"the limiter keeps the source shut",
			pipeline.Config[int]{Source: numbers(4), InFlight: 50, Limit: pipeline.Every(3, time.Second)},
			[]string{"[1 2 3] flushed 0s", "[4] flushed 1s"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, got := gather(tt.config, long)
				if err := p.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, *got); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values := make(chan int, 10)
		p, got := gather(pipeline.Config[int]{Source: pipeline.FromChan(values)}, pipeline.BatcherConfig[int]{Size: 100, Wait: time.Hour})
		p.Pause()
		var run sync.WaitGroup
		run.Go(func() {
			if err := p.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
		values <- 1
		if synctest.Wait(); p.Stats().InHand != 0 {
			t.Error("a message was pulled while paused")
		}
		p.Resume()
		synctest.Wait()
		if s := p.Stats(); s.InHand != 1 || s.OpenBatches["default"] != 1 {
			t.Errorf("after Resume: %+v", s)
		}
		p.Flush()
		synctest.Wait()
		close(values)
		run.Wait()
		if diff := cmp.Diff([]string{"[1] flushed 0s"}, *got); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestSetConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running := 0
		values := make(chan int, 1000)
		for i := range 1000 {
			values <- i
		}
		p := must(pipeline.New(pipeline.Config[int]{
			Source: pipeline.FromChan(values), Concurrency: 1, InFlight: 100,
			OrderBy: func(m *pipeline.Message[int]) string { return strconv.Itoa(m.Value) },
			Process: func(context.Context, *pipeline.Message[int]) error {
				mu.Lock()
				running++
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			},
		}))
		ctx, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for _, n := range []int{1, 4, 2, 8} {
			if err := p.SetConcurrency(n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5*time.Second + time.Millisecond)
			mu.Lock()
			if running != n {
				t.Errorf("%d messages are in Process, want %d", running, n)
			}
			mu.Unlock()
		}
		if err := p.SetConcurrency(0); !errors.Is(err, pipeline.ErrInvalid) {
			t.Errorf("SetConcurrency(0) = %v", err)
		}
		if err := p.Run(ctx); !errors.Is(err, pipeline.ErrRunning) {
			t.Errorf("a second Run = %v", err)
		}
		stop()
		run.Wait()
	})
}

func TestFailures(t *testing.T) {
	bad := func(items ...int) func(context.Context, *pipeline.Batch[int]) error {
		return func(_ context.Context, b *pipeline.Batch[int]) error {
			for _, i := range items {
				if slices.Contains(b.Items, i) {
					return errors.New("bad")
				}
			}
			return nil
		}
	}
	tests := []struct {
		name    string
		failure pipeline.Failure
		handle  func(context.Context, *pipeline.Batch[int]) error
		want    []string
		failed  int64
	}{
		{"a batch fails whole", pipeline.Failure{}, bad(2), []string{"[1 2 3 4] full 0s"}, 4},
		{
			"bisected",
			pipeline.Failure{Bisect: true},
			bad(2),
			[]string{"[1 2 3 4] full 0s", "[1 2] full 0s", "[1] full 0s", "[2] full 0s", "[3 4] full 0s"},
			1,
		},
		{
			"nobody's own fault",
			pipeline.Failure{Bisect: true},
			func(context.Context, *pipeline.Batch[int]) error { return pipeline.All(errors.New("down")) },
			[]string{"[1 2 3 4] full 0s"},
			4,
		},
		{
			"tried again without what was failed by index",
			pipeline.Failure{Attempts: 3, Backoff: func(n int) time.Duration { return time.Duration(n) * time.Second }},
			func(_ context.Context, b *pipeline.Batch[int]) error {
				if len(b.Items) == 4 {
					b.Fail(1, errors.New("own"))
				}
				return errors.New("all others")
			},
			[]string{"[1 2 3 4] full 0s", "[1 3 4] full 1s", "[1 3 4] full 3s"},
			4,
		},
		{
			"what is said to be handled is",
			pipeline.Failure{},
			func(_ context.Context, b *pipeline.Batch[int]) error { b.Fail(0, nil); return errors.New("all others") },
			[]string{"[1 2 3 4] full 0s"},
			3,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, got := gather(pipeline.Config[int]{Source: numbers(4), OnFailure: tt.failure}, pipeline.BatcherConfig[int]{Size: 4, Handle: tt.handle})
				if err := p.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, *got); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
				if s := p.Stats(); s.Failed != tt.failed || s.Handled != 4-tt.failed {
					t.Errorf("%+v, want %d failed", s, tt.failed)
				}
			})
		})
	}
}

// permanently fails for good, as errors of jobs do.
type permanently struct{ error }

func (permanently) Permanent() bool { return true }

func TestAttemptsOfProcess(t *testing.T) {
	for name, tt := range map[string]struct {
		err     error
		message *pipeline.Failure
		calls   int
	}{
		"any error":            {errors.New("any"), nil, 3},
		"a permanent error":    {permanently{errors.New("for good")}, nil, 1},
		"of the message's own": {errors.New("any"), &pipeline.Failure{Attempts: 2}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				p := must(pipeline.New(pipeline.Config[int]{
					Source: numbers(1), OnFailure: pipeline.Failure{Attempts: 3}, Logger: quiet,
					Process: func(_ context.Context, m *pipeline.Message[int]) error {
						calls++
						if tt.message != nil {
							m.OnFailure(*tt.message)
						}
						return tt.err
					},
				}))
				if err := p.Run(t.Context()); err != nil || calls != tt.calls || p.Stats().Failed != 1 {
					t.Errorf("Run = %v after %d calls, want %d; %+v", err, calls, tt.calls, p.Stats())
				}
			})
		})
	}
}

func TestStopHandsBackAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := errors.New("wrong")
		ends := map[int]error{}
		var mu sync.Mutex
		acker := settleFunc(func(settled []pipeline.End) {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range settled {
				ends[e.Ref.(int)] = e.Err
			}
		})
		var deliveries []pipeline.Delivery[int]
		for i := range 3 {
			deliveries = append(deliveries, pipeline.Delivery[int]{Value: i, Ref: i, Acker: acker})
		}
		p := must(pipeline.New(pipeline.Config[int]{
			Source: &list{deliveries}, Concurrency: 3, InFlight: 3, OnFailure: pipeline.Failure{Stop: true}, Logger: quiet,
			Process: func(ctx context.Context, m *pipeline.Message[int]) error {
				if m.Value > 0 {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				time.Sleep(time.Second)
				return wrong
			},
		}))
		if err := p.Run(t.Context()); !errors.Is(err, wrong) {
			t.Errorf("Run = %v, want what the message failed with", err)
		}
		for i := range 3 {
			if !errors.Is(ends[i], pipeline.ErrHandedBack) {
				t.Errorf("message %d: %v, want handed back", i, ends[i])
			}
		}
	})
}

func TestSourcesThatFail(t *testing.T) {
	broken := errors.New("broken")
	seq := pipeline.FromErr(func(yield func(int, error) bool) {
		if yield(1, nil) && yield(2, nil) {
			yield(0, broken)
		}
	})
	for name, source := range map[string]pipeline.Source[int]{"one": seq, "merged": pipeline.Merge(seq, numbers(5))} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sum := 0
				p := must(pipeline.New(pipeline.Config[int]{Source: source, Concurrency: 1, Process: func(_ context.Context, m *pipeline.Message[int]) error {
					sum += m.Value
					return nil
				}}))
				want := map[string]int{"one": 3, "merged": 18}[name]
				if err := p.Run(t.Context()); !errors.Is(err, broken) || !errors.Is(err, io.EOF) || sum != want {
					t.Errorf("Run = %v with a sum of %d, want %d", err, sum, want)
				}
			})
		})
	}
}

func TestConfigurations(t *testing.T) {
	process := func(context.Context, *pipeline.Message[int]) error { return nil }
	handle := func(context.Context, *pipeline.Batch[int]) error { return nil }
	batchers := func(cs ...pipeline.BatcherConfig[int]) (all []pipeline.AnyBatcher) {
		for _, c := range cs {
			all = append(all, pipeline.NewBatcher(c))
		}
		return all
	}
	for name, c := range map[string]pipeline.Config[int]{
		"no source":          {Process: process},
		"no process":         {Source: numbers(1)},
		"negative":           {Source: numbers(1), Process: process, InFlight: -1},
		"a nil batcher":      {Source: numbers(1), Process: process, Batchers: []pipeline.AnyBatcher{nil}},
		"no handle":          {Source: numbers(1), Process: process, Batchers: batchers(pipeline.BatcherConfig[int]{})},
		"a name twice":       {Source: numbers(1), Process: process, Batchers: batchers(pipeline.BatcherConfig[int]{Handle: handle}, pipeline.BatcherConfig[int]{Handle: handle})},
		"bytes of what size": {Source: numbers(1), Process: process, Batchers: batchers(pipeline.BatcherConfig[int]{Handle: handle, Bytes: 1})},
		"negative size":      {Source: numbers(1), Process: process, Batchers: batchers(pipeline.BatcherConfig[int]{Handle: handle, Size: -1})},
	} {
		if _, err := pipeline.New(c); !errors.Is(err, pipeline.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No more than the limit starts in any period, wherever that begins.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := pipeline.Every(5, time.Second)
		var starts []time.Time
		for i := range 40 {
			n, err := r.Take(t.Context(), i%3+1)
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				starts = append(starts, time.Now())
			}
			time.Sleep(70 * time.Millisecond)
		}
		for i := 5; i < len(starts); i++ {
			if within := starts[i].Sub(starts[i-5]); within < time.Second {
				t.Fatalf("six starts within %v", within)
			}
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		r.Reset()
		if n, err := r.Take(ctx, 9); n != 5 || err != nil {
			t.Errorf("Take after Reset = %d, %v", n, err)
		}
		if _, err := r.Take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Take = %v", err)
		}
	})
}
