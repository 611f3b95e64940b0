package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A row is a job of a group.
type row struct {
	N    int
	Fail bool
	Hang bool
}

func (row) Type() string { return "row" }

type summary struct{}

func (summary) Type() string { return "report" }

func rows(n int, change func(*row)) iter.Seq[millhand.Args] {
	return func(yield func(millhand.Args) bool) {
		for i := range n {
			r := row{N: i}
			if change != nil {
				change(&r)
			}
			if !yield(r) {
				return
			}
		}
	}
}

// A groupScene runs rows, and what comes after them.
type groupScene struct {
	*millhand.Client
	mux *millhand.Mux

	mu      sync.Mutex
	ran     map[string]int // by id
	sum     int
	missing []int
	gone    int
}

func newGroupScene(t *testing.T, s *natstest.Server) *groupScene {
	t.Helper()
	sc := &groupScene{Client: client(t, s.Connect(t)), ran: make(map[string]int), mux: millhand.NewMux()}
	millhand.HandleResult(sc.mux, func(ctx context.Context, j *millhand.Job[row]) (int, error) {
		sc.mu.Lock()
		sc.ran[j.ID]++
		sc.mu.Unlock()
		switch {
		case j.Args.Hang:
			<-ctx.Done()
			return 0, context.Cause(ctx)
		case j.Args.Fail:
			return 0, millhand.Permanent(errors.New("no"))
		}
		return j.Args.N, nil
	})
	millhand.Handle(sc.mux, func(ctx context.Context, j *millhand.Job[summary]) error {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.sum, sc.missing, sc.gone = 0, nil, 0
		for n, err := range millhand.GroupResults[int](ctx, j, "load") {
			none, missing := errors.AsType[*millhand.NoResultError](err)
			switch {
			case missing:
				sc.missing = append(sc.missing, none.Job)
			case errors.Is(err, millhand.ErrResultGone):
				sc.gone++
			case err != nil:
				return err
			}
			sc.sum += n
		}
		return nil
	})
	return sc
}

func (sc *groupScene) start(t *testing.T, s *natstest.Server) (stop func() error) {
	t.Helper()
	_, stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Second})
	return stop
}

func (sc *groupScene) step(t *testing.T, ref millhand.Ref, name string) millhand.StepInfo {
	t.Helper()
	info, err := sc.GetWorkflow(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(info.Steps, func(s millhand.StepInfo) bool { return s.Name == name })
	return info.Steps[i]
}

// left fails the test for each job that is there though all have ended.
func (sc *groupScene) left(t *testing.T) {
	t.Helper()
	for j, err := range sc.Jobs(t.Context(), millhand.JobFilter{}) {
		if err != nil || !strings.Contains(j.ID, "_clean-") {
			t.Errorf("there is left: %s, %v", j.ID, err)
		}
	}
}

func TestGroup(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		opts := []millhand.StepOption{millhand.Tolerate(2), millhand.KeepResults()}
		for i, name := range []string{"events", "kept"} {
			jobs, opts := []int{200, 4_200}[i], opts[:i+1] // more than a shard has
			w := millhand.NewWorkflow(name, millhand.WorkflowConfig{ID: name})
			load := w.Group("load", rows(jobs, func(r *row) { r.Fail = r.N == 7 || r.N == jobs-1 }), opts...)
			w.Step("report", summary{}, millhand.After(load))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sc.Await(t.Context(), ref); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if want := jobs*(jobs-1)/2 - 7 - (jobs - 1); sc.sum != want || !slices.Equal(sc.missing, []int{7, jobs - 1}) || sc.gone != 0 {
				t.Errorf("%s: the sum is %d, want %d; missing %v, gone %d", name, sc.sum, want, sc.missing, sc.gone)
			}
			got := sc.step(t, ref, "load")
			if got.State != millhand.StepSucceeded || got.Total != jobs || got.Done != jobs || got.Failed != 2 || got.Kind != "group" {
				t.Errorf("%s: %+v", name, got)
			}
			for id, n := range sc.ran {
				if n != 1 {
					t.Errorf("%s: %s ran %d times", name, id, n)
				}
			}
		}
		if len(sc.ran) != 4_400 {
			t.Errorf("%d jobs ran", len(sc.ran))
		}
		sc.left(t)
	})
}

func TestGroupWithoutJobs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
		w.Step("report", summary{}, millhand.After(w.Group("load", rows(0, nil))))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := sc.Await(t.Context(), ref); err != nil || info.State != millhand.Succeeded {
			t.Errorf("%s: %v", info.State, err)
		}
	})
}

// A group runs all of its jobs and fails then, or fails with the first failure too many, and the rest is
// cancelled.
func TestGroupFails(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		// They come in no order: those that fail must not wait for slots behind those that hang.
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Second, Concurrency: 64})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "all"})
		load := w.Group("load", rows(50, func(r *row) { r.Fail = r.N%10 == 0 }))
		w.Step("report", summary{}, millhand.After(load))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := sc.Await(t.Context(), ref); info.State != millhand.Dead || info.Reason != millhand.ReasonStep || len(sc.ran) != 50 {
			t.Errorf("%s, %s: %d jobs ran", info.State, info.Reason, len(sc.ran))
		}
		if got := sc.step(t, ref, "load"); got.State != millhand.StepFailed || got.Failed != 5 || got.Done != 50 {
			t.Errorf("%+v", got)
		}
		w = millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "early"})
		load = w.Group("load", rows(50, func(r *row) { r.Fail, r.Hang = r.N < 3, r.N >= 3 }), millhand.Tolerate(2))
		w.Step("report", summary{}, millhand.AfterFailure(load))
		if ref, err = sc.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if info, err := sc.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		time.Sleep(time.Minute)
		info, err := sc.Get(t.Context(), millhand.Ref{ID: "early--load--3", Type: "row", Queue: "default"})
		if err != nil || info.State != millhand.Cancelled {
			t.Errorf("what ran of it is %s: %v", info.State, err)
		}
		sc.left(t)
	})
}

// Cancelled while its jobs are published and run, a group ends once those that run have.
func TestGroupIsCancelled(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		for i, c := range []struct {
			wait time.Duration
			jobs int
		}{{0, 5_000}, {time.Millisecond, 300}, {time.Minute, 300}} {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", i)})
			load := w.Group("load", rows(c.jobs, func(r *row) { r.Hang = true }), millhand.Undo(summary{}))
			w.Step("after", summary{}, millhand.After(load))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.wait)
			if _, err := sc.Cancel(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			if info.State != millhand.Cancelled || info.Reason != millhand.ReasonRequested {
				t.Fatalf("after %v: %s, %v", c.wait, info.State, err)
			}
			if got := sc.step(t, ref, "load"); got.State != millhand.StepSkipped && (got.State != millhand.StepFailed || got.Done != c.jobs) {
				t.Errorf("after %v: %+v", c.wait, got)
			}
			time.Sleep(time.Minute)
			sc.left(t)
		}
	})
}

func TestGroupIsRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		long := strings.Repeat("x", 600<<10)
		for name, w := range map[string]func(*millhand.Workflow){
			"no sequence": func(w *millhand.Workflow) { w.Group("g", nil) },
			"two types":   func(w *millhand.Workflow) { w.Group("g", slices.Values([]millhand.Args{row{}, summary{}})) },
			"nil":         func(w *millhand.Workflow) { w.Group("g", slices.Values([]millhand.Args{nil})) },
			"no JSON": func(w *millhand.Workflow) {
				w.Group("g", slices.Values([]millhand.Args{millhand.Raw{Name: "row", Payload: []byte("{")}}))
			},
			"at most 524288": func(w *millhand.Workflow) {
				w.Group("g", slices.Values([]millhand.Args{millhand.Raw{Name: "row", Payload: fmt.Appendf(nil, "%q", long)}}))
			},
			"0 or more":        func(w *millhand.Workflow) { w.Group("g", rows(1, nil), millhand.Tolerate(-1)) },
			"is no group":      func(w *millhand.Workflow) { w.Step("s", summary{}, millhand.KeepResults()) },
			"at most 1000000 ": func(w *millhand.Workflow) { w.Group("g", rows(millhand.MaxGroup+1, nil)) },
		} {
			flow := millhand.NewWorkflow("", millhand.WorkflowConfig{})
			w(flow)
			if _, err := c.Start(t.Context(), flow); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A retry runs those jobs of a group again that failed, and all of them if the group was undone.
func TestGroupIsRetried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		fails := true
		millhand.Handle(sc.mux, func(context.Context, *millhand.Job[receipt]) error {
			if fails {
				return millhand.Permanent(errors.New("no"))
			}
			return nil
		})
		sc.start(t, s)
		for _, undo := range []bool{false, true} {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w-", undo)})
			opts := []millhand.StepOption{millhand.Tolerate(1), millhand.KeepResults()}
			if undo {
				opts = append(opts, millhand.Undo(row{}))
			}
			load := w.Group("load", rows(20, func(r *row) { r.Fail = r.N == 3 || r.N == 4 && !undo }), opts...)
			bad := w.Step("bad", receipt{}, millhand.After(load))
			w.Step("report", summary{}, millhand.After(bad))
			fails, sc.ran = true, make(map[string]int)
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := sc.Await(t.Context(), ref); info.State != millhand.Dead {
				t.Fatalf("%s: %v", info.State, err)
			}
			time.Sleep(time.Minute)
			fails = false
			next, err := sc.RetryWorkflow(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"1": 1, "3": 2}
			switch info, err := sc.Await(t.Context(), next); {
			case undo:
				want["1"] = 2
				if info.State != millhand.Succeeded || sc.sum != 20*19/2-3 {
					t.Errorf("%s, the sum is %d: %v", info.State, sc.sum, err)
				}
			case info.State != millhand.Dead:
				t.Errorf("%s: %v", info.State, err)
			}
			for n, want := range want {
				if got := sc.ran[ref.ID+"--load--"+n]; got != want {
					t.Errorf("undone %v: job %s ran %d times, want %d", undo, n, got, want)
				}
			}
			sc.left(t)
		}
	})
}

// A step adds a group whose jobs only it knows, and does so again when it runs again.
func TestGroupIsGrown(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		runs := 0
		millhand.Handle(sc.mux, func(ctx context.Context, j *millhand.Job[receipt]) error {
			runs++
			err := millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
				load := w.Group("load", rows(3, nil), millhand.After(self), millhand.KeepResults())
				w.Step("report", summary{}, millhand.After(load))
			})
			if err == nil && runs == 1 {
				return errors.New("once more")
			}
			return err
		})
		sc.start(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
		w.Step("look", receipt{})
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := sc.Await(t.Context(), ref); info.State != millhand.Succeeded || sc.sum != 3 || runs != 2 {
			t.Errorf("%s, the sum is %d, %d runs: %v", info.State, sc.sum, runs, err)
		}
	})
}

// Nobody publishes a group, since the job that does was removed: the workflow is stuck, and can be repaired.
func TestGroupIsRepaired(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", rows(3, nil))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if faults, err := sc.RepairWorkflow(t.Context(), ref); err != nil || len(faults) > 0 {
			t.Errorf("before: %v, %v", faults, err)
		}
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		queue, err := js.Stream(t.Context(), "millhand-queue-default")
		if err != nil {
			t.Fatal(err)
		}
		if err := queue.Purge(t.Context(), jetstream.WithPurgeSubject("millhand.default.ready._workflow.w--_fill-"+ref.Life+"-0")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if faults, err := sc.RepairWorkflow(t.Context(), ref); err != nil || !slices.Equal(faults, []millhand.WorkflowFault{{Step: "load", Fault: "not_released"}}) {
			t.Errorf("%v, %v", faults, err)
		}
		sc.start(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if info, err := sc.Await(ctx, ref); info.State != millhand.Succeeded {
			t.Errorf("%s: %v", info.State, err)
		}
	})
}
