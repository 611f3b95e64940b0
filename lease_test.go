package millhand_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// together counts how many handlers of one job run at once.
type together struct {
	mu           sync.Mutex
	starts       int
	now, most    map[string]int
	stoppedCause []error
}

func (c *together) handler(d time.Duration) func(context.Context, *millhand.Job[email]) error {
	return func(ctx context.Context, j *millhand.Job[email]) error {
		c.mu.Lock()
		c.starts++
		c.now[j.ID]++
		c.most[j.ID] = max(c.most[j.ID], c.now[j.ID])
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.now[j.ID]--
		}()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			c.stoppedCause = append(c.stoppedCause, context.Cause(ctx))
			return context.Cause(ctx)
		}
	}
}

// What operators do to a queue while its jobs run: a handler is told, and no job runs twice at
// once in one worker.
func TestWhatBefallsAQueueWhileJobsRun(t *testing.T) {
	const stream = "millhand-queue-default"
	for name, tt := range map[string]struct {
		befall func(t *testing.T, js jetstream.JetStream)
		starts int  // at most
		stops  bool // the handlers
		gone   bool // the jobs
	}{
		"the consumer is removed": {starts: 8, stops: true, befall: func(t *testing.T, js jetstream.JetStream) {
			t.Helper()
			if err := js.DeleteConsumer(t.Context(), stream, "email"); err != nil {
				t.Fatal(err)
			}
		}},
		"the stream is removed": {starts: 4, stops: true, gone: true, befall: func(t *testing.T, js jetstream.JetStream) {
			t.Helper()
			if err := js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
		}},
		"the lease is lowered": {starts: 4, befall: func(t *testing.T, js jetstream.JetStream) {
			t.Helper()
			setAckWait(t, js, 5*time.Second)
		}},
		"the lease is raised": {starts: 4, befall: func(t *testing.T, js jetstream.JetStream) {
			t.Helper()
			setAckWait(t, js, 5*time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				nc := s.Connect(t)
				js := jetStream(t, nc)
				c := client(t, nc)
				count := together{now: make(map[string]int), most: make(map[string]int)}
				start(t, s.Connect(t), millhand.WorkerConfig{Mux: muxOf(count.handler(time.Minute)), Concurrency: 8})
				var refs []millhand.Ref
				for range 4 {
					refs = append(refs, enqueue(t, c))
				}
				time.Sleep(9 * time.Second)
				tt.befall(t, js)
				time.Sleep(5 * time.Minute)
				count.mu.Lock()
				defer count.mu.Unlock()
				for id, most := range count.most {
					if most > 1 {
						t.Errorf("%s ran %d times at once", id, most)
					}
				}
				if count.starts > tt.starts {
					t.Errorf("%d starts of 4 jobs, want no more than %d", count.starts, tt.starts)
				}
				if tt.stops != (len(count.stoppedCause) == 4) {
					t.Errorf("%d handlers were stopped", len(count.stoppedCause))
				}
				for _, cause := range count.stoppedCause {
					if !errors.Is(cause, millhand.ErrLeaseLost) {
						t.Errorf("a handler was stopped with %v", cause)
					}
				}
				for _, ref := range refs {
					info, err := c.Get(t.Context(), ref)
					if tt.gone != errors.Is(err, millhand.ErrNotFound) || !tt.gone && info.State != millhand.Succeeded {
						t.Errorf("%s: %v, %v", ref.ID, info.State, err)
					}
				}
			})
		})
	}
}

func setAckWait(t *testing.T, js jetstream.JetStream, d time.Duration) {
	t.Helper()
	c, err := js.Consumer(t.Context(), "millhand-queue-default", "email")
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	cfg.AckWait = d
	if _, err := js.UpdateConsumer(t.Context(), "millhand-queue-default", cfg); err != nil {
		t.Fatal(err)
	}
}

// A worker that was told which lease to give finishes what it has, and ends with the reason.
func TestWorkerEndsWhenItsLeaseIsChanged(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		js := jetStream(t, nc)
		c := client(t, nc)
		count := together{now: make(map[string]int), most: make(map[string]int)}
		w, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{
			Mux: muxOf(count.handler(20 * time.Second)), Concurrency: 2, AckWait: 30 * time.Second, Config: millhand.Config{Logger: testLog(t)},
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- w.Run(context.Background()) }()
		ref := enqueue(t, c)
		time.Sleep(5 * time.Second)
		setAckWait(t, js, time.Minute)
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "nats consumer edit") {
			t.Errorf("the worker ended with %v", err)
		}
		if info, err := c.Get(t.Context(), ref); err != nil || info.State != millhand.Succeeded {
			t.Errorf("its job is %v, %v", info.State, err)
		}
	})
}
