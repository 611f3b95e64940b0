package pipeline_test

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// defaults are seen from outside: what is asked for, and what a batch waits for.
func defaults(s *scene) {
	want := map[string]any{}
	for key, raw := range s.Expect {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			s.Fatal(err)
		}
		want[key] = v
	}
	expect := func(key string, got any) {
		s.Helper()
		if f, ok := got.(int); ok {
			got = float64(f)
		}
		if want[key] != got {
			s.Errorf("%s: %v, want %v", key, got, want[key])
		}
	}
	asked := 0
	var sizes []int
	var waited time.Duration
	started := time.Now()
	b := pipeline.NewBatcher(pipeline.BatcherConfig[item]{Handle: func(_ context.Context, b *pipeline.Batch[item]) error {
		sizes = append(sizes, len(b.Items))
		if b.Trigger == pipeline.Due {
			waited = time.Since(started)
		}
		return nil
	}})
	c := s.config(1)
	c.InFlight = 0
	c.Batchers = []pipeline.AnyBatcher{b}
	c.Process = func(_ context.Context, m *pipeline.Message[item]) error { b.Add(m, m.Value); return nil }
	feed := s.source
	c.Source = demanded{feed, &asked}
	s.start(c)
	expect("max_demand", asked)
	expect("min_demand", asked/2)
	s.source.push(s.values("1..150", false)...)
	time.Sleep(time.Minute)
	synctest.Wait()
	if len(sizes) != 2 {
		s.Fatalf("batches of %v", sizes)
	}
	expect("batch_size", sizes[0])
	expect("batch_timeout_ms", int(waited.Milliseconds()))
	s.end()

	running := 0
	var mu sync.Mutex
	c = s.config(1)
	c.Concurrency, c.InFlight = 0, 0
	c.Process = func(context.Context, *pipeline.Message[item]) error {
		mu.Lock()
		running++
		mu.Unlock()
		time.Sleep(time.Hour)
		return nil
	}
	s.start(c)
	s.source.push(s.values("1..500", false)...)
	if synctest.Wait(); running == 2*runtime.GOMAXPROCS(0) {
		expect("processors", "2*CPU")
	} else {
		s.Errorf("%d processors", running)
	}
	s.stop()
	begun := time.Now()
	s.run.Wait()
	expect("shutdown_ms", int((time.Since(begun) - 10*time.Second).Milliseconds())) // 10 s later nobody is waited for
	time.Sleep(time.Hour)                                                           // those who were abandoned return
}

// demanded notes what was asked for first.
type demanded struct {
	*feed
	asked *int
}

func (d demanded) Pull(ctx context.Context, n int, out []pipeline.Delivery[item]) ([]pipeline.Delivery[item], error) {
	if *d.asked == 0 {
		*d.asked = n
	}
	return d.feed.Pull(ctx, n, out)
}
