package millhand_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A broker that was killed forgets messages of a group's jobs, and ends that it had counted: each job is found, those that
// have ended are counted, and the others run.
func TestJobsOfAGroupAreRepaired(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		var ran [5]atomic.Int32
		var killed atomic.Bool
		millhand.HandleResult(sc.mux, func(ctx context.Context, j *millhand.Job[numbered]) (int, error) {
			ran[j.Args.N].Add(1)
			if j.Args.N < 2 && !killed.Load() {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return j.Args.N, nil
		})
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: -1})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		load := w.Group("load", numbers(5), millhand.KeepResults())
		w.Step("report", summary{}, millhand.After(load))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_ = stop() // two jobs are handed back
		killed.Store(true)
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		queue, err := js.Stream(t.Context(), "millhand-queue-default")
		if err != nil {
			t.Fatal(err)
		}
		check := func(want ...millhand.WorkflowFault) {
			t.Helper()
			if found, err := sc.CheckWorkflow(t.Context(), ref); err != nil || !slices.Equal(found, want) {
				t.Errorf("found %v, want %v: %v", found, want, err)
			}
			if found, err := sc.RepairWorkflow(t.Context(), ref); err != nil || !slices.Equal(found, want) {
				t.Errorf("repaired %v, want %v: %v", found, want, err)
			}
		}
		check()
		time.Sleep(5 * time.Minute) // as long as the broker takes a message for one that it has stored
		if err := queue.Purge(t.Context(), jetstream.WithPurgeSubject("millhand.default.ready.numbered.w--load--1")); err != nil {
			t.Fatal(err)
		}
		run, _, _ := strings.Cut(ref.Life, "-")
		if _, err := js.Publish(t.Context(), "millhand.workflow.tally."+run+".load.0", []byte(`{"gen":1,"bits":""}`)); err != nil {
			t.Fatal(err)
		}
		check(millhand.WorkflowFault{Step: "load", Fault: "not_released", Jobs: 1}, millhand.WorkflowFault{Step: "load", Fault: "not_counted", Jobs: 3})
		check()
		sc.start(t, s)
		if state := sc.ended(t, ref); state != millhand.Succeeded || sc.sum != 0+1+2+3+4 {
			t.Errorf("it is %s, the sum %d", state, sc.sum)
		}
		for n := range ran {
			if got := ran[n].Load(); n >= 2 && got != 1 {
				t.Errorf("job %d, which had ended, ran %d times", n, got)
			}
		}
	})
}

// A queue is emptied right after a workflow has begun, when the broker still takes what is published again for what it
// has stored before.
func TestRepairWaitsForTheBrokerToForget(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		var emptied atomic.Bool
		millhand.HandleResult(sc.mux, func(ctx context.Context, j *millhand.Job[numbered]) (int, error) {
			if !emptied.Load() {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return j.Args.N, nil
		})
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: -1})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		load := w.Group("load", numbers(5), millhand.KeepResults())
		alone := w.Step("alone", numbered{N: 9})
		w.Step("report", summary{}, millhand.After(load, alone))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		_ = stop() // what runs is handed back
		emptied.Store(true)
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		queue, err := js.Stream(t.Context(), "millhand-queue-default")
		if err != nil {
			t.Fatal(err)
		}
		if err := queue.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []millhand.WorkflowFault{{Fault: "no_job"}, {Step: "load", Fault: "not_released", Jobs: 5}, {Step: "alone", Fault: "not_released"}}
		if found, err := sc.RepairWorkflow(t.Context(), ref); err != nil || !slices.Equal(found, want) {
			t.Errorf("repaired %v, want %v: %v", found, want, err)
		}
		if found, err := sc.CheckWorkflow(t.Context(), ref); err != nil || len(found) > 0 {
			t.Errorf("after the repair there is still %v: %v", found, err)
		}
		sc.start(t, s)
		if state := sc.ended(t, ref); state != millhand.Succeeded || sc.sum != 0+1+2+3+4 {
			t.Errorf("it is %s, the sum %d", state, sc.sum)
		}
	})
}
