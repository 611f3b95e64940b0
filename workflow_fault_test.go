package millhand_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A faultCase is a part of a workflow's life in which a worker dies, or stands still for longer than its leases,
// behind each of its writes. All of it comes later than the first look of the workflow's own job, which would
// hide that something was forgotten.
type faultCase struct {
	build func(w *millhand.Workflow)
	cfg   millhand.WorkflowConfig
	early func(sc *faultScene, ref millhand.Ref)              // while a worker runs that lives; may be nil
	begin func(sc *faultScene, ref millhand.Ref) millhand.Ref // what the worker under test then does
	lasts time.Duration                                       // of what it does; 0: a second
	least int                                                 // writes

	state  millhand.State
	ran    []string // in this order, unless some may run beside each other; each perhaps again
	beside bool
	may    []string // these, too
	states map[string]millhand.StepState
}

// faultLease is short, since all that is left lying waits for its end.
const faultLease = 5 * time.Second

var faultStride = flag.Int("fault-stride", 0, "every so many-th write of a workflow's worker is the last; 0: some of them")

// strideOf is how many of the writes lie between two behind which somebody is hit: in a plain run plain, twice that in a short one.
func strideOf(plain int) int {
	if testing.Short() {
		plain *= 2
	}
	return cmp.Or(*faultStride, plain)
}

// A faultScene is a workflow of a faultCase.
type faultScene struct {
	*workflowScene
	t    *testing.T
	ends *lifeEnds
}

func newFaultScene(t *testing.T, s *natstest.Server) *faultScene {
	t.Helper()
	sc := &faultScene{workflowScene: idleWorkflowScene(t, s), t: t}
	note := func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.ran = append(sc.ran, string(j.Args.Payload))
		return nil, nil
	}
	sc.mux.HandleFunc("silent", note, millhand.TypeConfig{SilentSuccess: true})
	sc.mux.HandleFunc("grow", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
			parts := w.Group("parts", tasks("part", 3), millhand.After(self, w.Find("first")))
			w.Step("sum", task("sum"), millhand.After(parts))
		})
	})
	sc.ends = watchEnds(t, sc.Client)
	return sc
}

func tasks(name string, n int) func(yield func(millhand.Args) bool) {
	return func(yield func(millhand.Args) bool) {
		for i := range n {
			if !yield(task(fmt.Sprint(name, i))) {
				return
			}
		}
	}
}

func silentTask(name string) millhand.Raw {
	return millhand.Raw{Name: "silent", Payload: fmt.Appendf(nil, "%q", name)}
}

func (sc *faultScene) work(nc *natstest.Link, s *natstest.Server) (stop func() error) {
	sc.t.Helper()
	conn := s.Connect
	if nc != nil {
		conn = nc.Connect
	}
	_, stop = start(sc.t, conn(sc.t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, AckWait: faultLease, DrainTimeout: time.Millisecond})
	return stop
}

func (sc *faultScene) signal(ref millhand.Ref) millhand.Ref {
	sc.t.Helper()
	if err := sc.Signal(sc.t.Context(), ref, "go", nil); err != nil {
		sc.t.Fatal(err)
	}
	return ref
}

func (sc *faultScene) cancel(ref millhand.Ref) millhand.Ref {
	sc.t.Helper()
	if _, err := sc.Cancel(sc.t.Context(), ref); err != nil {
		sc.t.Fatal(err)
	}
	return ref
}

// retry retries the workflow, of which all steps succeed from now on.
func (sc *faultScene) retry(ref millhand.Ref) millhand.Ref {
	sc.t.Helper()
	sc.mu.Lock()
	clear(sc.fails)
	sc.ran = nil
	sc.mu.Unlock()
	ref, err := sc.RetryWorkflow(sc.t.Context(), ref)
	if err != nil {
		sc.t.Fatal(err)
	}
	return ref
}

// lifeEnds are the final events of all lives.
type lifeEnds struct {
	mu sync.Mutex
	of map[millhand.Ref][]string
}

func watchEnds(t *testing.T, c *millhand.Client) *lifeEnds {
	t.Helper()
	all := &lifeEnds{of: make(map[millhand.Ref][]string)}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		for e, err := range c.Events(ctx, time.Unix(0, 1)) {
			if err != nil {
				return // the test ends
			}
			all.mu.Lock()
			if had := all.of[e.Ref]; e.State.Final() || len(had) > 0 { // what follows an end is wrong, too
				all.of[e.Ref] = append(had, string(e.Kind))
			}
			all.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); watching.Wait() })
	return all
}

func (l *lifeEnds) ofLife(ref millhand.Ref) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.of[ref])
}

// twice returns the lives that have not ended once.
func (l *lifeEnds) twice() (bad []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, kinds := range l.of {
		if len(kinds) != 1 {
			bad = append(bad, fmt.Sprintf("%s %v", ref.ID, kinds))
		}
	}
	return bad
}

// at runs the case once: the worker is hit behind write n. It reports false if it had done all by then.
func (c *faultCase) at(t *testing.T, sc *faultScene, s *natstest.Server, n int, freeze bool) (hit bool) {
	t.Helper()
	cfg := c.cfg
	cfg.ID = fmt.Sprint("w", n)
	sc.mu.Lock()
	sc.ran = nil
	sc.fails[`"bad"`], sc.fails[`"worse"`] = true, true // until a retry
	sc.mu.Unlock()
	w := millhand.NewWorkflow("", cfg)
	c.build(w)
	ref, err := sc.Start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	stop := sc.work(nil, s)
	time.Sleep(11 * time.Second)
	if c.early != nil {
		c.early(sc, ref)
	}
	sc.halt(t, stop)
	ref = c.begin(sc, ref)
	link := s.Link()
	writes := hitAfter(link, n, freeze)
	stopHit := sc.work(link, s)
	time.Sleep(max(c.lasts, time.Second))
	hit = writes.Load() > int64(n)
	if !hit || !freeze {
		_ = stopHit() // it cannot say what it has not written
	}
	stop = sc.work(nil, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	info, err := sc.Await(ctx, ref)
	cancel()
	if info.State != c.state {
		t.Errorf("it is %s: %v", info.State, err)
		faults, err := sc.CheckWorkflow(t.Context(), ref)
		t.Logf("faults: %v, %v", faults, err)
	}
	if hit && freeze {
		link.Release()
		time.Sleep(2 * faultLease) // what it does when it goes on
		_ = stopHit()              // as above
	}
	time.Sleep(2 * faultLease) // whatever is left
	sc.halt(t, stop)
	c.check(t, sc, ref)
	return hit
}

func (sc *faultScene) halt(t *testing.T, stop func() error) {
	t.Helper()
	if err := stop(); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
		t.Error(err)
	}
}

// check looks at what is left of a workflow that has ended.
func (c *faultCase) check(t *testing.T, sc *faultScene, ref millhand.Ref) {
	t.Helper()
	if ran := slices.DeleteFunc(firstRuns(sc.order()), func(name string) bool { return slices.Contains(c.may, name) }); !c.beside && !slices.Equal(ran, c.ran) || c.beside && !slices.Equal(slices.Sorted(slices.Values(ran)), c.ran) {
		t.Errorf("ran %v, want %v", sc.order(), c.ran)
	}
	info, err := sc.GetWorkflow(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range info.Steps {
		if want, ok := c.states[step.Name]; ok && step.State != want {
			t.Errorf("step %s is %s, want %s", step.Name, step.State, want)
		}
		if ends := sc.ends.ofLife(step.Ref); step.State == millhand.StepSkipped && step.Kind == "job" && len(ends) > 0 {
			t.Errorf("step %s was skipped, and has ended: %v", step.Name, ends)
		}
	}
	if ends := sc.ends.ofLife(ref); !slices.Equal(ends, []string{string(c.state)}) {
		t.Errorf("the workflow has ended as %v", ends)
	}
	if twice := sc.ends.twice(); len(twice) > 0 {
		t.Errorf("these have not ended once: %v", twice)
	}
	if faults, err := sc.CheckWorkflow(t.Context(), ref); err != nil || len(faults) > 0 {
		t.Errorf("faults: %v, %v", faults, err)
	}
	for j, err := range sc.Jobs(t.Context(), millhand.JobFilter{}) {
		waits := j.Type == "_workflow" && j.State == millhand.Scheduled // until it is cleaned up, and for nothing
		if err != nil || !waits || j.ID == ref.ID {
			t.Errorf("there is left: %s of type %s, %s, %v", j.ID, j.Type, j.State, err)
		}
	}
}

// firstRuns are the names of what ran, by when it did first: who dies between the run of a step and its event has it
// run again.
func firstRuns(ran []string) (names []string) {
	for _, quoted := range ran {
		if name := strings.Trim(quoted, `"`); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// hitAfter has a link end, or be held, behind the n-th write of what workflows are made of, from 0. It tells how many
// there were.
func hitAfter(l *natstest.Link, n int, freeze bool) (writes *atomic.Int64) {
	writes = new(atomic.Int64)
	l.Watch(func(subject string) natstest.Fate {
		if !workflowWrite(subject) || writes.Add(1) != int64(n)+1 {
			return natstest.Pass
		}
		if freeze {
			l.Hold()
			return natstest.Pass
		}
		l.Down()
		return natstest.CutAfter
	})
	return writes
}

// workflowWrite reports whether workflows write there: jobs, events, documents, acks, removals, orders to cancel.
func workflowWrite(subject string) bool {
	return strings.HasPrefix(subject, "$JS.ACK.") || strings.HasPrefix(subject, "$JS.API.STREAM.MSG.DELETE.") ||
		strings.HasPrefix(subject, "$KV.millhand-registry.cancel.") ||
		strings.HasPrefix(subject, "millhand.") && !strings.HasPrefix(subject, "millhand.control.")
}

func TestWorkflowFaults(t *testing.T) {
	signalled := func(sc *faultScene, ref millhand.Ref) millhand.Ref { return sc.signal(ref) }
	cancelled := func(sc *faultScene, ref millhand.Ref) millhand.Ref { return sc.cancel(ref) }
	for name, c := range map[string]faultCase{
		"steps that end in silence": {
			build: func(w *millhand.Workflow) {
				a := w.Step("a", silentTask("a"), millhand.After(w.Signal("go")))
				w.Step("c", task("c"), millhand.After(w.Step("b", silentTask("b"), millhand.After(a))))
			},
			begin: signalled, least: 10,
			state: millhand.Succeeded, ran: []string{"a", "b", "c"},
		},
		"a group that ends in silence": {
			build: func(w *millhand.Workflow) {
				group := w.Group("group", func(yield func(millhand.Args) bool) { _ = yield(silentTask("1")) && yield(silentTask("2")) }, millhand.After(w.Signal("go")))
				w.Step("sum", task("sum"), millhand.After(group))
			},
			begin: signalled, least: 12,
			state: millhand.Succeeded, beside: true, ran: []string{"1", "2", "sum"},
		},
		"many steps that one opens": {
			build: func(w *millhand.Workflow) {
				a := w.Step("a", task("a"), millhand.After(w.Signal("go")))
				b, c := w.Step("b", task("b"), millhand.After(a)), w.Step("c", task("c"), millhand.AfterEnd(a))
				d := w.Step("d", task("d"), millhand.AfterFailure(a))
				w.Step("e", task("e"), millhand.After(b, c), millhand.AfterEnd(d))
			},
			begin: signalled, least: 18,
			state: millhand.Succeeded, beside: true, ran: []string{"a", "b", "c", "e"},
			states: map[string]millhand.StepState{"d": millhand.StepSkipped},
		},
		"what is undone": {
			build: func(w *millhand.Workflow) {
				a := w.Step("a", task("a"), millhand.After(w.Signal("go")), millhand.Undo(task("undo a")))
				b := w.Step("b", task("b"), millhand.After(a), millhand.Undo(task("undo b")))
				w.Step("bad", task("bad"), millhand.After(b))
			},
			begin: signalled, least: 20,
			state: millhand.Dead, ran: []string{"a", "b", "bad", "undo b", "undo a"},
		},
		"a failure that stops the others": {
			cfg: millhand.WorkflowConfig{FailFast: true},
			build: func(w *millhand.Workflow) {
				start, never := w.Signal("go"), w.Signal("never")
				w.Step("clean", task("clean"), millhand.AfterEnd(w.Step("long", task("long"), millhand.After(start))))
				w.Step("bad", task("bad"), millhand.After(start))
				w.Step("tidy", task("tidy"), millhand.AfterEnd(never))
			},
			begin: signalled, lasts: 5 * time.Second, least: 15,
			state: millhand.Dead, beside: true, ran: []string{"bad", "clean", "tidy"}, may: []string{"long", "good"},
			states: map[string]millhand.StepState{"never": millhand.StepSkipped, "long": millhand.StepFailed},
		},
		"a failure that leaves what cleans up": {
			cfg: millhand.WorkflowConfig{FailFast: true},
			build: func(w *millhand.Workflow) {
				w.Step("bad", task("bad"), millhand.After(w.Signal("go")))
				w.Step("clean", task("clean"), millhand.AfterEnd(w.Signal("never")))
			},
			begin: signalled, least: 8,
			state: millhand.Dead, ran: []string{"bad", "clean"},
		},
		"a group that fails early": {
			build: func(w *millhand.Workflow) {
				group := w.Group("group", func(yield func(millhand.Args) bool) {
					_ = yield(task("long")) && yield(task("bad")) && yield(task("worse"))
				}, millhand.After(w.Signal("go")), millhand.Tolerate(1))
				w.Step("alarm", task("alarm"), millhand.AfterFailure(group), millhand.Optional())
			},
			begin: signalled, lasts: 5 * time.Second, least: 15,
			state: millhand.Dead, beside: true, ran: []string{"alarm", "bad", "worse"}, may: []string{"long", "good"},
		},
		"a cancellation": {
			build: func(w *millhand.Workflow) {
				a := w.Step("a", task("a"), millhand.Undo(task("undo a")))
				long := w.Step("long", task("long"), millhand.After(a, w.Signal("go")))
				day := w.Sleep("day", 24*time.Hour)
				w.Step("clean", task("clean"), millhand.AfterEnd(long, day))
			},
			early: func(sc *faultScene, ref millhand.Ref) { sc.signal(ref); time.Sleep(time.Second) },
			begin: cancelled, lasts: 5 * time.Second, least: 12,
			state: millhand.Cancelled, ran: []string{"a", "long", "clean", "undo a"},
			states: map[string]millhand.StepState{"long": millhand.StepFailed, "day": millhand.StepSkipped},
		},
		"the cancellation of a group": {
			build: func(w *millhand.Workflow) {
				group := w.Group("group", func(yield func(millhand.Args) bool) {
					_ = yield(task("long")) && yield(task("good"))
				}, millhand.After(w.Signal("go")))
				w.Step("clean", task("clean"), millhand.AfterEnd(group))
			},
			begin: func(sc *faultScene, ref millhand.Ref) millhand.Ref { return sc.cancel(sc.signal(ref)) }, lasts: 5 * time.Second, least: 8,
			state: millhand.Cancelled, ran: []string{"clean"}, may: []string{"long", "good"},
		},
		"a deadline": {
			cfg: millhand.WorkflowConfig{Deadline: 20 * time.Second},
			build: func(w *millhand.Workflow) {
				never := w.Step("never", task("never"), millhand.After(w.Signal("go")))
				w.Step("clean", task("clean"), millhand.AfterEnd(never))
			},
			begin: func(_ *faultScene, ref millhand.Ref) millhand.Ref { return ref }, lasts: 10 * time.Second, least: 7,
			state: millhand.Cancelled, ran: []string{"clean"},
		},
		"a retry": {
			build: func(w *millhand.Workflow) {
				a := w.Step("a", task("a"))
				bad := w.Step("bad", task("bad"), millhand.After(a, w.Signal("go")))
				w.Step("b", task("b"), millhand.After(bad))
			},
			early: func(sc *faultScene, ref millhand.Ref) { sc.signal(ref); time.Sleep(time.Second) },
			begin: func(sc *faultScene, ref millhand.Ref) millhand.Ref { return sc.retry(ref) }, least: 12,
			state: millhand.Succeeded, ran: []string{"bad", "b"},
		},
		"the retry of a group": {
			build: func(w *millhand.Workflow) {
				group := w.Group("group", func(yield func(millhand.Args) bool) {
					_ = yield(task("good")) && yield(task("bad")) && yield(task("worse"))
				}, millhand.After(w.Signal("go")))
				w.Step("b", task("b"), millhand.After(group))
			},
			early: func(sc *faultScene, ref millhand.Ref) { sc.signal(ref); time.Sleep(time.Second) },
			begin: func(sc *faultScene, ref millhand.Ref) millhand.Ref { return sc.retry(ref) }, least: 18,
			state: millhand.Succeeded, beside: true, ran: []string{"b", "bad", "worse"},
		},
		"a group that is grown": {
			build: func(w *millhand.Workflow) {
				first := w.Group("first", tasks("first", 2), millhand.After(w.Signal("go")))
				w.Step("grow", millhand.Raw{Name: "grow"}, millhand.AfterEnd(first))
			},
			begin: signalled, least: 24,
			state: millhand.Succeeded, beside: true, ran: []string{"first0", "first1", "part0", "part1", "part2", "sum"},
		},
		"a workflow that is a step": {
			build: func(w *millhand.Workflow) {
				inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
				x := inner.Step("x", task("x"), millhand.Undo(task("undo x")))
				inner.Step("bad", task("bad"), millhand.After(x))
				a := w.Step("a", task("a"), millhand.After(w.Signal("go")), millhand.Undo(task("undo a")))
				w.Workflow("sub", inner, millhand.After(a))
			},
			begin: signalled, least: 24,
			state: millhand.Dead, ran: []string{"a", "x", "bad", "undo x", "undo a"},
		},
		"the retry of a workflow that is a step": {
			build: func(w *millhand.Workflow) {
				inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
				inner.Step("bad", task("bad"), millhand.After(inner.Step("x", task("x"))))
				w.Step("b", task("b"), millhand.After(w.Workflow("sub", inner, millhand.After(w.Signal("go")))))
			},
			early: func(sc *faultScene, ref millhand.Ref) { sc.signal(ref); time.Sleep(time.Second) },
			begin: func(sc *faultScene, ref millhand.Ref) millhand.Ref { return sc.retry(ref) }, least: 16,
			state: millhand.Succeeded, ran: []string{"bad", "b"},
		},
	} {
		for _, freeze := range []bool{false, true} {
			t.Run(fmt.Sprint(name, map[bool]string{false: ", and a worker dies", true: ", and a worker stands still"}[freeze]), func(t *testing.T) {
				natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
					stride := strideOf(23)
					sc, n := newFaultScene(t, s), len(name)%stride // not the same ones of each case
					for ; c.at(t, sc, s, n, freeze); n += stride {
						if t.Failed() {
							t.Fatalf("the worker was hit behind write %d", n)
						}
					}
					if n < c.least {
						t.Errorf("only %d writes", n)
					}
				})
			})
		}
	}
}
