package millhand

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/supervisor"
)

var errInjected = errors.New("killed by the test")

// faults ends parts of a tree on demand, as if they had failed by themselves.
type faults struct {
	mu    sync.Mutex
	parts map[string]context.CancelCauseFunc
	runs  map[string]int
}

func newFaults() *faults {
	return &faults{parts: make(map[string]context.CancelCauseFunc), runs: make(map[string]int)}
}

func (f *faults) instrument(c supervisor.Child) supervisor.Child {
	name := c.Name
	if c.Part != nil {
		c.Part = faultyPart{Part: c.Part, name: name, faults: f}
		if c.StopTimeout == 0 {
			c.StopTimeout = supervisor.Forever // what the part's own type would mean
		}
		return c
	}
	run := c.Run
	c.Run = func(ctx context.Context) error {
		return f.run(ctx, name, func(ctx context.Context) error { return run(ctx) })
	}
	return c
}

type faultyPart struct {
	supervisor.Part
	name   string
	faults *faults
}

func (p faultyPart) RunReady(ctx context.Context, ready func()) error {
	return p.faults.run(ctx, p.name, func(ctx context.Context) error { return p.Part.RunReady(ctx, ready) })
}

func (f *faults) run(ctx context.Context, name string, run func(context.Context) error) error {
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	f.mu.Lock()
	f.parts[name] = kill
	f.runs[name]++
	f.mu.Unlock()
	err := run(ctx)
	if errors.Is(context.Cause(ctx), errInjected) {
		return errInjected
	}
	return err
}

func (f *faults) kill(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parts[name](errInjected)
}

// Whatever part of a worker fails under load, it heals within its backoff, and every job
// ends exactly once.
func TestEveryPartHealsUnderLoad(t *testing.T) {
	for _, part := range []string{"settler", "keeper", "queue default", "runner", "puller work", "census"} {
		t.Run(part, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) { killUnderLoad(t, s, part) })
		})
	}
}

func killUnderLoad(t *testing.T, s *natstest.Server, part string) {
	t.Helper()
	const jobs, kills = 600, 5
	f := newFaults()
	mux := NewMux()
	mux.HandleFunc("work", func(ctx context.Context, j *Job[Raw]) ([]byte, error) {
		select {
		case <-time.After(time.Duration(len(j.ID)%7) * 100 * time.Millisecond):
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	w, err := newWorker(s.Connect(t), WorkerConfig{
		Mux: mux, Concurrency: 10, Config: Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
	}, f.instrument)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	c, err := NewClient(s.Connect(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	refs := enqueueMany(t, c, jobs)
	for range kills {
		time.Sleep(2500 * time.Millisecond)
		f.kill(part)
	}
	finals := make(map[string][]string)
	for e, err := range c.Events(ctx, time.Now().Add(-time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		if e.State.Final() {
			finals[e.ID] = append(finals[e.ID], e.Kind)
		}
		if len(finals) == jobs {
			break
		}
	}
	for _, ref := range refs {
		if got := finals[ref.ID]; !slices.Equal(got, []string{"succeeded"}) {
			t.Errorf("job %s ended as %v", ref.ID, got)
		}
		if info, err := c.Get(t.Context(), ref); err != nil || info.Crashes > 0 || info.Attempt > 1 {
			t.Errorf("job %s: attempt %d, crashes %d, %v", ref.ID, info.Attempt, info.Crashes, err)
		}
	}
	time.Sleep(time.Minute)
	if got := f.runs[part]; got <= kills {
		t.Errorf("%s ran %d times, want more than the %d times it was killed", part, got, kills)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func enqueueMany(t *testing.T, c *Client, n int) []Ref {
	t.Helper()
	batch := make([]Request, n)
	for i := range batch {
		batch[i] = Request{Args: Raw{Name: "work"}, Options: []EnqueueOption{WithID(fmt.Sprintf("job-%0*d", 1+i%9, i))}}
	}
	refs, err := c.EnqueueMany(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}
