package millhand_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// work starts a worker.
func (c *canceller) work(cfg millhand.WorkerConfig) {
	c.t.Helper()
	c.workOver(c.server.Connect(c.t), cfg)
}

func (c *canceller) workOver(nc *nats.Conn, cfg millhand.WorkerConfig) {
	c.t.Helper()
	cfg.Mux = millhand.NewMux()
	cfg.Mux.HandleFunc("work", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		c.mu.Lock()
		c.ran = append(c.ran, j.ID)
		c.mu.Unlock()
		return nil, c.handle(ctx, j)
	})
	_, c.stop = start(c.t, nc, cfg)
}

func (c *canceller) enqueue(id string, opts ...millhand.EnqueueOption) millhand.Ref {
	c.t.Helper()
	ref, err := c.Enqueue(c.t.Context(), millhand.Raw{Name: "work"}, append(opts, millhand.WithID(id))...)
	if err != nil {
		c.t.Fatal(err)
	}
	return ref
}

// cancel cancels a job, which must do.
func (c *canceller) cancel(ref millhand.Ref, opts ...millhand.CancelOption) millhand.Cancellation {
	c.t.Helper()
	done, err := c.Cancel(c.t.Context(), ref, opts...)
	if err != nil {
		c.t.Fatalf("cancel %s: %v", ref.ID, err)
	}
	return done
}

// wantCancelled checks how a job has ended.
func (c *canceller) wantCancelled(ref millhand.Ref, reason string) {
	c.t.Helper()
	info, err := c.Await(c.t.Context(), ref)
	if !errors.Is(err, millhand.ErrCancelled) || info.State != millhand.Cancelled || info.Reason != millhand.ReasonRequested {
		c.t.Errorf("%s: %+v, %v", ref.ID, info, err)
	}
	if info.LastError() != reason {
		c.t.Errorf("%s: reason %q, want %q", ref.ID, info.LastError(), reason)
	}
}

// runs returns how many jobs have started.
func (c *canceller) runs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ran)
}

func (c *canceller) didRun(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.ran, id)
}

func TestCancelOfAJobThatWaits(t *testing.T) {
	inCanceller(t, func(context.Context, *millhand.Job[millhand.Raw]) error { return nil }, func(t *testing.T, c *canceller) {
		ref := c.enqueue("a")
		done := c.cancel(ref, millhand.WithReason("the customer left"))
		if done.Ref != ref || done.Worker != "" || len(done.Unanswered) > 0 {
			t.Errorf("%+v", done)
		}
		c.wantCancelled(ref, "the customer left")
		if _, err := c.Cancel(t.Context(), ref); !errors.Is(err, millhand.ErrFinished) {
			t.Errorf("again: %v", err)
		} else if f, ok := errors.AsType[*millhand.FinishedError](err); !ok || f.State != millhand.Cancelled || f.Ref != ref {
			t.Errorf("again: %+v", f)
		}
		c.work(millhand.WorkerConfig{})
		again := c.enqueue("a") // the id is free, and its next life has nothing to do with the order
		if _, err := c.Await(t.Context(), again); err != nil {
			t.Errorf("the next job of the id: %v", err)
		}
		if _, err := c.Cancel(t.Context(), ref); !errors.Is(err, millhand.ErrFinished) {
			t.Errorf("the life before: %v", err)
		}
		_, err := c.Cancel(t.Context(), again)
		if f, ok := errors.AsType[*millhand.FinishedError](err); !ok || f.State != millhand.Succeeded {
			t.Errorf("of a job that succeeded: %v", err)
		}
	})
}

func TestCancelOfNoJob(t *testing.T) {
	inCanceller(t, nil, func(t *testing.T, c *canceller) {
		c.enqueue("other")
		if _, err := c.Cancel(t.Context(), millhand.Ref{ID: "a", Type: "work"}); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
		if _, err := c.Cancel(t.Context(), millhand.Ref{ID: "other", Type: "work", Life: "another"}); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("another life: %v", err)
		}
		for _, opt := range []millhand.CancelOption{
			millhand.WithGrace(-1), millhand.WithGrace(2 * time.Hour), millhand.WithReason(string(make([]byte, 1025))), nil,
		} {
			if _, err := c.Cancel(t.Context(), millhand.Ref{ID: "other", Type: "work"}, opt); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("a bad option: %v", err)
			}
		}
	})
}

func TestCancelOfARunningJob(t *testing.T) {
	var causes chan error // of the bubble, whose clock another one would stop
	inCanceller(t, func(ctx context.Context, j *millhand.Job[millhand.Raw]) error {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		switch j.ID {
		case "obeys":
			return ctx.Err()
		case "finishes":
			return nil
		case "permanent":
			return millhand.Permanent(ctx.Err())
		}
		time.Sleep(time.Minute) // it is deaf
		return nil
	}, func(t *testing.T, c *canceller) {
		causes = make(chan error, 10)
		c.work(millhand.WorkerConfig{Name: "w"})
		for id, state := range map[string]millhand.State{
			"obeys": millhand.Cancelled, "permanent": millhand.Cancelled, "deaf": millhand.Cancelled, "finishes": millhand.Succeeded,
		} {
			ref := c.enqueue(id)
			time.Sleep(time.Second)
			began := time.Now()
			done := c.cancel(ref, millhand.WithGrace(3*time.Second))
			if done.Worker == "" {
				t.Errorf("%s: %+v", id, done)
			}
			info, _ := c.Await(t.Context(), ref)
			took := time.Since(began)
			if info.State != state {
				t.Errorf("%s: %+v", id, info)
			}
			if deaf := took >= 3*time.Second; deaf != (id == "deaf") || took > 4*time.Second {
				t.Errorf("%s: took %v", id, took)
			}
			if cause := <-causes; !errors.Is(cause, millhand.ErrCancelled) {
				t.Errorf("%s: its context ended with %v", id, cause)
			}
		}
		time.Sleep(2 * time.Minute) // for the deaf one
	})
}

// Without a grace a handler is given up at once, and does not count as stuck before it had the time
// of others.
func TestCancelWithoutGrace(t *testing.T) {
	inCanceller(t, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) error {
		<-ctx.Done()
		time.Sleep(5 * time.Second)
		return nil
	}, func(t *testing.T, c *canceller) {
		c.work(millhand.WorkerConfig{Concurrency: 1, MaxAbandoned: -1})
		for _, id := range []string{"a", "b", "c"} {
			ref := c.enqueue(id)
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			c.cancel(ref, millhand.WithGrace(0))
			c.wantCancelled(ref, "")
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("%s: took %v", id, took)
			}
		}
		time.Sleep(time.Minute)
		if err := c.stop(); err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
}

func TestCancelOfARetryingJob(t *testing.T) {
	inCanceller(t, func(context.Context, *millhand.Job[millhand.Raw]) error {
		return millhand.RetryAfter(5*time.Minute, errors.New("boom"))
	}, func(t *testing.T, c *canceller) {
		c.work(millhand.WorkerConfig{})
		ref := c.enqueue("a")
		time.Sleep(time.Second)
		c.cancel(ref)
		info, err := c.Get(t.Context(), ref)
		if err != nil || info.State != millhand.Cancelled || info.Attempt != 1 {
			t.Errorf("%+v, %v", info, err)
		}
		time.Sleep(10 * time.Minute)
		if n := c.runs(); n != 1 {
			t.Errorf("it ran %d times", n)
		}
	})
}

// A retry that is about to be due is let become ready, and does not start.
func TestCancelOfAJobThatIsAboutToBeDue(t *testing.T) {
	for _, early := range []time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond, 900 * time.Millisecond, 1100 * time.Millisecond} {
		inCanceller(t, func(context.Context, *millhand.Job[millhand.Raw]) error {
			return millhand.RetryAfter(10*time.Second, errors.New("boom"))
		}, func(t *testing.T, c *canceller) {
			c.work(millhand.WorkerConfig{})
			ref := c.enqueue("a")
			time.Sleep(time.Second)
			info, err := c.Get(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(info.RunAt) - early)
			c.cancel(ref)
			ran := c.runs()
			time.Sleep(time.Minute)
			c.wantCancelled(ref, "")
			if c.runs() != ran || early > 0 && ran != 1 {
				t.Errorf("%v before: it ran %d times, and %d by then", early, c.runs(), ran)
			}
		})
	}
}

// Whoever gives an order and dies then has it carried out by a worker.
func TestCancelOutlivesItsCaller(t *testing.T) {
	inCanceller(t, nil, func(t *testing.T, c *canceller) {
		c.work(millhand.WorkerConfig{})
		ref := c.enqueue("a", millhand.WithDelay(time.Hour))
		time.Sleep(time.Second) // the registry is there by then: who gives the first order may not live to make it
		link := c.server.Link()
		dying := client(t, link.Connect(t))
		link.Watch(func(subject string) natstest.Fate {
			if !strings.HasPrefix(subject, "$KV.millhand-registry.cancel.") {
				return natstest.Pass
			}
			link.Down()
			return natstest.CutAfter
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if done, err := dying.Cancel(ctx, ref); err == nil {
			t.Errorf("the caller did not die: %+v", done)
		}
		if info, err := c.Get(t.Context(), ref); err != nil || info.State != millhand.Scheduled {
			t.Errorf("%+v, %v", info, err)
		}
		time.Sleep(time.Minute)
		c.wantCancelled(ref, "")
	})
}

// A worker that is cut off is named. It finds the order when it is back, and tells its handler.
func TestCancelWhileAWorkerIsCutOff(t *testing.T) {
	var told chan error // of the bubble, whose clock another one would stop
	inCanceller(t, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) error {
		<-ctx.Done()
		told <- context.Cause(ctx)
		return ctx.Err()
	}, func(t *testing.T, c *canceller) {
		told = make(chan error, 1)
		link := c.server.Link()
		c.workOver(link.Connect(t), millhand.WorkerConfig{})
		ref := c.enqueue("a")
		time.Sleep(time.Second)
		link.Down()
		link.Cut()
		done := c.cancel(ref)
		if done.Worker != "" || len(done.Unanswered) != 1 {
			t.Errorf("%+v", done)
		}
		link.Up()
		began := time.Now()
		if cause := <-told; !errors.Is(cause, millhand.ErrCancelled) || time.Since(began) > 5*time.Second {
			t.Errorf("told %v after %v", cause, time.Since(began))
		}
		time.Sleep(2 * time.Minute)
		c.wantCancelled(ref, "")
		if c.runs() != 1 {
			t.Errorf("it ran %d times", c.runs())
		}
	})
}

// An id that is kept for a period stays taken when a job that had started is cancelled, and is free when
// it had not.
func TestCancelKeepsAnIDOfWorkThatWasBegun(t *testing.T) {
	inCanceller(t, func(context.Context, *millhand.Job[millhand.Raw]) error {
		return millhand.RetryAfter(time.Hour, errors.New("boom"))
	}, func(t *testing.T, c *canceller) {
		c.cancel(c.enqueue("a", millhand.WithUniqueFor(2*time.Hour)))
		ref := c.enqueue("a", millhand.WithUniqueFor(2*time.Hour))
		c.work(millhand.WorkerConfig{})
		time.Sleep(time.Second)
		c.cancel(ref)
		_, err := c.Enqueue(t.Context(), millhand.Raw{Name: "work"}, millhand.WithID("a"))
		if d, ok := errors.AsType[*millhand.DuplicateError](err); !ok || d.Until.IsZero() {
			t.Errorf("after a run: %v", err)
		}
	})
}
