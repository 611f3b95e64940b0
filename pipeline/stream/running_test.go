package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

// A running is a pipeline that a test has started.
type running[T any] struct {
	*pipeline.Pipeline[T]
	cancel context.CancelFunc
	ended  chan error
}

// start runs a pipeline.
func start[T any](t *testing.T, c pipeline.Config[T]) *running[T] {
	t.Helper()
	c.Logger = natstest.Logger(natstest.Output(t))
	p, err := pipeline.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running[T]{Pipeline: p, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = r.wait(t)
	})
	return r
}

// wait returns what it ends with.
func (r *running[T]) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(time.Hour):
		t.Error("the pipeline does not end")
		return nil
	}
}

// drain ends it, and fails the test unless that takes less than d.
func (r *running[T]) drain(t *testing.T, d time.Duration) {
	t.Helper()
	begin := time.Now()
	r.cancel()
	err := r.wait(t)
	if took := time.Since(begin); err != nil || took > d {
		t.Errorf("drained in %v: %v", took, err)
	}
}
