package millhand_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

// taken is when something was started.
type taken struct {
	mu sync.Mutex
	at []time.Time
}

func (s *taken) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.at = append(s.at, time.Now())
	}
}

func (s *taken) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

// most is how many started in any period.
func (s *taken) most(period time.Duration) (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.at {
		n := 0
		for j := i; j < len(s.at) && s.at[j].Sub(s.at[i]) < period; j++ {
			n++
		}
		most = max(most, n)
	}
	return most
}

// Processes that share a rate never start more than it lets them, and what it lets them is used.
func TestRateOverProcesses(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		if err := c.SetQuota(t.Context(), millhand.Quota{Key: "push-api", Limit: 30, Per: 10 * time.Second}); err != nil {
			t.Fatal(err)
		}
		var all taken
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		var working sync.WaitGroup
		for range 3 {
			rate, err := millhand.NewRate(s.Connect(t), "push-api", millhand.Config{Logger: testLog(t)})
			if err != nil {
				t.Fatal(err)
			}
			working.Go(func() {
				for {
					n, err := rate.Take(ctx, 2)
					if err != nil {
						break
					}
					all.add(n)
				}
				if err := rate.Close(); err != nil {
					t.Error(err)
				}
				if _, err := rate.Take(context.WithoutCancel(ctx), 1); !errors.Is(err, millhand.ErrRateClosed) {
					t.Errorf("after Close: %v", err)
				}
			})
		}
		time.Sleep(35 * time.Second)
		before := all.count()
		if most := all.most(10 * time.Second); most > 30 || before < 60 {
			t.Errorf("%d started in 35 s, %d of them within 10 s", before, most)
		}
		if err := c.SetQuota(t.Context(), millhand.Quota{Key: "push-api", Limit: 90, Per: 10 * time.Second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if n := all.count() - before; n < 100 {
			t.Errorf("%d started in 20 s at three times the rate", n)
		}
		cancel()
		working.Wait()
	})
}

func TestRateWithoutALimit(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		if _, err := millhand.NewRate(nc, "a b"); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("a key of two words: %v", err)
		}
		rate, err := millhand.NewRate(nc, "free", millhand.Config{Logger: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		var _ pipeline.Limiter = rate
		if n, err := rate.Take(t.Context(), 7); n != 7 || err != nil {
			t.Errorf("Take = %d, %v", n, err)
		}
		if workers, err := client(t, nc).Workers(t.Context()); err != nil || len(workers) > 0 {
			t.Errorf("it is among the workers: %+v, %v", workers, err)
		}
		if err := rate.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is handled again enqueues nothing twice, and what cannot be enqueued fails alone.
func TestJobsOfABatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		sink := pipeline.NewBatcher(pipeline.BatcherConfig[string]{Name: "sink", Handle: millhand.Jobs(c, func(name string) millhand.Args {
			return millhand.Raw{Name: name, Payload: []byte("{}")}
		})})
		var failed []string
		p, err := pipeline.New(pipeline.Config[string]{
			Source: named{}, Batchers: []pipeline.AnyBatcher{sink}, Logger: testLog(t), Concurrency: 1,
			Process: func(_ context.Context, m *pipeline.Message[string]) error {
				for name := range strings.FieldsSeq(m.Value) {
					sink.Add(m, name)
				}
				return nil
			},
			Failed: func(_ context.Context, messages []*pipeline.Message[string]) {
				for _, m := range messages {
					failed = append(failed, m.Value)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if len(failed) != 2 || failed[0] != "b.d good" {
			t.Errorf("failed: %q", failed)
		}
		for _, id := range []string{"S--1--sink--0", "S--1--sink--1", "S--2--sink--1"} {
			typ := "good"
			if i, err := c.Get(t.Context(), millhand.Ref{Queue: "default", Type: typ, ID: id}); err != nil || i.State != millhand.Ready {
				t.Errorf("%s: %+v, %v", id, i, err)
			}
		}
	})
}

// named is a source whose messages have names.
type named struct{}

type nameOf string

func (n nameOf) ID() string { return string(n) }

func (named) Pull(_ context.Context, _ int, out []pipeline.Delivery[string]) ([]pipeline.Delivery[string], error) {
	for i, v := range []string{"good good", "b.d good"} {
		out = append(out, pipeline.Delivery[string]{Value: v, Ref: nameOf([]string{"S/1", "S/2"}[i])})
	}
	return out, io.EOF
}
