package worker_test

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/supervisor"
)

var errInjected = errors.New("killed by the test")

// faults ends parts of a tree on demand, as if they had failed by themselves.
type faults struct {
	mu    sync.Mutex
	parts map[string]*faulty
}

// faulty is a part that can be made to fail.
type faulty struct {
	kill context.CancelCauseFunc // of its current run
	down time.Time               // since when, if it is
	back chan<- time.Duration    // receives how long it was down; nil if nobody waits for that
}

func newFaults() *faults { return &faults{parts: make(map[string]*faulty)} }

func (f *faults) instrument(c supervisor.Child) supervisor.Child {
	name, run := c.Name, c.Run
	switch {
	case c.Part != nil:
		switch c.Part.(type) { // what the part's own type would mean
		case *supervisor.Supervisor, *supervisor.Dynamic:
			c.StopTimeout = cmp.Or(c.StopTimeout, supervisor.Forever)
		}
		c.Part = faultyPart{Part: c.Part, name: name, faults: f}
	case c.RunReady != nil:
		ready := c.RunReady
		c.RunReady = func(ctx context.Context, isReady func()) error {
			return f.run(ctx, name, func(ctx context.Context) error { return ready(ctx, isReady) })
		}
	default:
		c.Run = func(ctx context.Context) error { return f.run(ctx, name, run) }
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
	p := f.parts[name]
	if p == nil {
		p = &faulty{}
		f.parts[name] = p
	}
	if p.back != nil {
		p.back <- time.Since(p.down)
		p.back = nil
	}
	p.kill = kill
	f.mu.Unlock()
	err := run(ctx)
	f.mu.Lock()
	p.down = time.Now()
	f.mu.Unlock()
	if errors.Is(context.Cause(ctx), errInjected) {
		return errInjected
	}
	return err
}

// kill ends the current run of a part, and waits until there is a next one. It returns how long the part was down.
func (f *faults) kill(t *testing.T, name string) time.Duration {
	t.Helper()
	f.mu.Lock()
	p, ok := f.parts[name]
	if !ok {
		f.mu.Unlock()
		t.Fatalf("part %q cannot be killed: it does not pass through instrument", name)
	}
	back := make(chan time.Duration, 1)
	p.back = back
	p.kill(errInjected)
	f.mu.Unlock()
	select {
	case down := <-back:
		return down
	case <-time.After(time.Minute):
		t.Fatalf("part %q is still down after a minute", name)
		return 0
	}
}
