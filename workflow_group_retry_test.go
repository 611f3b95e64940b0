package millhand_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// shardJobs is of how many jobs the ends are in one document of the broker.
const shardJobs = 4_096

// ended waits until a workflow has ended, at most an hour.
func (sc *groupScene) ended(t *testing.T, ref millhand.Ref) millhand.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	info, err := sc.Await(ctx, ref)
	if info.State == "" {
		t.Fatal(err)
	}
	return info.State
}

// retry retries a workflow whose last messages have left, and returns how it ends.
func (sc *groupScene) retry(t *testing.T, ref millhand.Ref) millhand.State {
	t.Helper()
	time.Sleep(time.Minute)
	ref, err := sc.RetryWorkflow(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return sc.ended(t, ref)
}

// In a retry no job runs of the first documents, which are full of those that succeeded: the group ends all the same.
func TestGroupOfManyShardsIsRetried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", rows(shardJobs+1, func(r *row) { r.Fail = r.N == shardJobs }))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		states := []millhand.State{sc.ended(t, ref), sc.retry(t, ref)}
		if states[0] != millhand.Dead || states[1] != millhand.Dead {
			t.Errorf("ended as %v", states)
		}
		if first, last := sc.ran["w--load--0"], sc.ran["w--load--4096"]; first != 1 || last != 2 {
			t.Errorf("the first job ran %d times, the last %d", first, last)
		}
	})
}

// A job that still runs when its group fails is followed in the retry by one of its own, whose end is the one that
// counts, also if no other job of its document had ended before.
func TestGroupThatFailedEarlyIsRetried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		var retried atomic.Bool
		millhand.Handle(sc.mux, func(_ context.Context, j *millhand.Job[numbered]) error {
			switch {
			case retried.Load():
			case j.Args.N == 0:
				time.Sleep(10 * time.Second)
				return millhand.Permanent(errors.New("no"))
			case j.Args.N == shardJobs:
				time.Sleep(17 * time.Second) // past the retry
				return errors.New("slow")
			}
			return nil
		})
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Minute})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", func(yield func(millhand.Args) bool) {
			for i := range shardJobs + 1 {
				if !yield(numbered{i}) {
					return
				}
			}
		}, millhand.Tolerate(0))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, ref); state != millhand.Dead {
			t.Fatalf("it is %s", state)
		}
		retried.Store(true)
		if ref, err = sc.RetryWorkflow(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, ref); state != millhand.Succeeded {
			t.Errorf("the retry is %s, of which all jobs succeed", state)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

type numbered struct{ N int }

func (numbered) Type() string { return "numbered" }

// A group that is not run again in a retry has the numbers with which it succeeded.
func TestGroupThatKeepsItsSuccess(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		load := w.Group("load", rows(20, func(r *row) { r.Fail = r.N == 1 }), millhand.Tolerate(1))
		w.Step("b", row{Fail: true}, millhand.After(load))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		states := []millhand.State{sc.ended(t, ref), sc.retry(t, ref)}
		step := sc.step(t, ref, "load")
		if step.State != millhand.StepSucceeded || step.Total != 20 || step.Done != 20 || step.Failed != 1 {
			t.Errorf("after %v it is %s, %d of %d, %d failed", states, step.State, step.Done, step.Total, step.Failed)
		}
	})
}

// The dead records of a group's jobs leave with its retry, and those of other jobs of the type stay.
func TestDeadOfRetriedGroupAreRemoved(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		var mended atomic.Bool
		millhand.Handle(sc.mux, func(context.Context, *millhand.Job[numbered]) error {
			if mended.Load() {
				return nil
			}
			return millhand.Permanent(errors.New("no"))
		})
		sc.start(t, s)
		other, err := sc.Enqueue(t.Context(), numbered{})
		if err != nil {
			t.Fatal(err)
		}
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", func(yield func(millhand.Args) bool) { _ = yield(numbered{0}) && yield(numbered{1}) })
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		dead := func() (ids []string) {
			for d, err := range sc.Dead(t.Context(), millhand.DeadFilter{Type: "numbered"}) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, d.ID)
			}
			return ids
		}
		sc.ended(t, ref)
		time.Sleep(time.Minute)
		before := dead()
		mended.Store(true)
		if state, after := sc.retry(t, ref), dead(); len(before) != 3 || len(after) != 1 || after[0] != other.ID || state != millhand.Succeeded {
			t.Errorf("dead were %v; after the retry, which is %s, %v", before, state, after)
		}
	})
}
