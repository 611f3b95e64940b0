package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// eachWrite has somebody do something whose process dies behind each of its writes, and then somebody else do it
// again. f is given the client and whether it is the second one.
func eachWrite(t *testing.T, s *natstest.Server, least int, begin func(n int), f func(c *millhand.Client, again bool) error, check func(n int)) {
	t.Helper()
	for n := 0; ; n += strideOf(1) {
		begin(n)
		link := s.Link()
		nc := link.Connect(t)
		writes := hitAfter(link, n, false)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		done := make(chan error, 1)
		c := client(t, nc)
		go func() { done <- f(c, false) }()
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		cancel()
		nc.Close()
		hit := writes.Load() > int64(n)
		if err != nil && !hit {
			t.Fatalf("before write %d: %v", n, err)
		}
		if err != nil {
			if err := f(client(t, s.Connect(t)), true); err != nil {
				t.Errorf("behind write %d, again: %v", n, err)
			}
		}
		check(n)
		if t.Failed() {
			t.Fatalf("whoever did it died behind write %d", n)
		}
		if !hit {
			if n < least {
				t.Errorf("only %d writes", n)
			}
			return
		}
	}
}

// Whoever repairs a workflow dies behind any write. Repaired again, it ends once.
func TestWorkflowRepairerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		queue := func() jetstream.Stream {
			st, err := js.Stream(t.Context(), "millhand-queue-default")
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		var ref millhand.Ref
		eachWrite(t, s, 4, func(n int) {
			sc.mu.Lock()
			sc.ran = nil
			sc.mu.Unlock()
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", n)})
			a := w.Step("a", task("a"), millhand.After(w.Signal("go")))
			other := w.Step("other", millhand.Raw{Name: "other"}, millhand.AfterEnd(w.Find("go")))
			w.Step("b", task("b"), millhand.After(a, other))
			var err error
			if ref, err = sc.Start(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			sc.signal(ref)
			stop := sc.work(nil, s)
			time.Sleep(15 * time.Second)
			sc.halt(t, stop)
			time.Sleep(5 * time.Minute) // as long as the broker takes a message for one that it has stored
			run, _, _ := strings.Cut(ref.Life, "-")
			forgotten := fmt.Sprintf(`{"id":%q,"gen":1,"n":4,"bits":"AQ==","cancelled":false,"abandoned":false}`, ref.ID) // all but that go has succeeded
			if _, err := js.Publish(t.Context(), "millhand.workflow.tally."+run, []byte(forgotten)); err != nil {
				t.Fatal(err)
			}
			for _, subject := range []string{"ready.other." + ref.ID + "--other", "later._workflow." + ref.ID} {
				if err := queue().Purge(t.Context(), jetstream.WithPurgeSubject("millhand.default."+subject)); err != nil {
					t.Fatal(err)
				}
			}
		}, func(c *millhand.Client, _ bool) error {
			_, err := c.RepairWorkflow(t.Context(), ref)
			return err
		}, func(int) {
			mux := millhand.NewMux()
			mux.HandleFunc("other", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
			_, stopOther := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true})
			stop := sc.work(nil, s)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if info, err := sc.Await(ctx, ref); err != nil || !slices.Equal(firstRuns(sc.order()), []string{"a", "b"}) {
				t.Errorf("ended as %s, ran %v: %v", info.State, sc.order(), err)
			}
			time.Sleep(time.Second)
			if twice := sc.ends.twice(); len(twice) > 0 {
				t.Errorf("these have not ended once: %v", twice)
			}
			sc.halt(t, stop)
			sc.halt(t, stopOther)
		})
	})
}

// Whoever signals dies behind the write, or before it, and signals again: the step ends once.
func TestWorkflowSignallerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		stop := sc.work(nil, s)
		var ref millhand.Ref
		eachWrite(t, s, 1, func(n int) {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", n)})
			w.Step("a", task("a"), millhand.After(w.Signal("go")))
			var err error
			if ref, err = sc.Start(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Second)
		}, func(c *millhand.Client, _ bool) error {
			err := c.Signal(t.Context(), ref, "go", "now")
			if _, ended := errors.AsType[*millhand.FinishedError](err); ended {
				return nil // the first one has reached it
			}
			return err
		}, func(int) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if info, err := sc.Await(ctx, ref); err != nil {
				t.Errorf("it is %s: %v", info.State, err)
			}
			time.Sleep(time.Second)
			if twice := sc.ends.twice(); len(twice) > 0 {
				t.Errorf("these have not ended once: %v", twice)
			}
		})
		sc.halt(t, stop)
	})
}

// The job that removes what is known of a run dies behind any write: the next one does the rest.
func TestWorkflowCleanerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		left := func() uint64 {
			st, err := js.Stream(t.Context(), "millhand-workflows")
			if err != nil {
				t.Fatal(err)
			}
			return st.CachedInfo().State.Msgs
		}
		for n := 0; ; n++ {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", n)})
			w.Group("group", tasks("part", 2), millhand.KeepResults())
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			stop := sc.work(nil, s)
			if _, err := sc.Await(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			sc.halt(t, stop)
			clean := millhand.Ref{ID: ref.ID + "--_clean-" + ref.Life, Type: "_workflow", Queue: "default"}
			if err := sc.RunNow(t.Context(), clean); err != nil {
				t.Fatal(err)
			}
			link := s.Link()
			link.Watch(func() func(string) natstest.Fate {
				writes := 0
				return func(subject string) natstest.Fate {
					if !workflowWrite(subject) && !strings.HasPrefix(subject, "$JS.API.STREAM.PURGE.") {
						return natstest.Pass
					}
					if writes++; writes <= n {
						return natstest.Pass
					}
					link.Down()
					return natstest.CutAfter
				}
			}())
			stop = sc.work(link, s)
			time.Sleep(time.Second)
			_ = stop() // it cannot say what it has not written
			done := left() == 0
			stop = sc.work(nil, s)
			time.Sleep(2 * time.Minute)
			if n := left(); n > 0 {
				t.Errorf("%d documents are left", n)
			}
			for j, err := range sc.Jobs(t.Context(), millhand.JobFilter{}) {
				t.Errorf("there is left: %s, %v", j.ID, err)
			}
			sc.halt(t, stop)
			if t.Failed() {
				t.Fatalf("it died behind write %d", n)
			}
			if done && n > 6 {
				return
			}
		}
	})
}

// The workflow's own job is run by a worker that stands still, while another one ends the workflow: what the first
// writes when it goes on changes nothing.
func TestWorkflowEndsWhileItsDriverRuns(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		idle := millhand.NewMux()
		idle.HandleFunc("idle", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		for n := range 4 {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", n)})
			w.Step("a", task("a"))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			link := s.Link()
			writes := hitAfter(link, n, true)
			_, stopHit := start(t, link.Connect(t), millhand.WorkerConfig{Mux: idle, NoStats: true, DrainTimeout: time.Millisecond})
			time.Sleep(12 * time.Second)
			if writes.Load() <= int64(n) && n < 3 {
				t.Errorf("only %d writes", writes.Load())
			}
			stop := sc.work(nil, s)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			if err != nil {
				t.Errorf("it is %s: %v", info.State, err)
			}
			link.Release()
			time.Sleep(2 * time.Minute)
			_ = stopHit() // it may have lost what it had
			if ends := sc.ends.ofLife(ref); !slices.Equal(ends, []string{"succeeded"}) {
				t.Errorf("behind write %d: it has ended as %v", n, ends)
			}
			for j, err := range sc.Jobs(t.Context(), millhand.JobFilter{}) {
				if err != nil || !strings.Contains(j.ID, "--_clean-") {
					t.Errorf("behind write %d there is left: %s, %v", n, j.ID, err)
				}
			}
			sc.halt(t, stop)
		}
	})
}

// A broker is killed behind each write of a worker, and forgets what it had not written down of acknowledgements:
// jobs come again, and find their event and their bit.
func TestWorkflowBrokerIsKilled(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		c := faultCase{
			build: func(w *millhand.Workflow) {
				a := w.Step("a", task("a"), millhand.After(w.Signal("go")))
				group := w.Group("group", tasks("part", 2), millhand.After(a))
				w.Step("b", task("b"), millhand.After(group))
			},
			state: millhand.Succeeded, beside: true, ran: []string{"a", "b", "part0", "part1"},
		}
		for n := 0; ; n += strideOf(5) {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", n)})
			c.build(w)
			sc.mu.Lock()
			sc.ran = nil
			sc.mu.Unlock()
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			stop := sc.work(nil, s)
			time.Sleep(15 * time.Second)
			sc.halt(t, stop)
			sc.signal(ref)
			link := s.Link()
			reached := make(chan struct{}, 1)
			writes := 0
			link.Watch(func(subject string) natstest.Fate {
				if workflowWrite(subject) {
					if writes++; writes == n+1 {
						reached <- struct{}{}
					}
				}
				return natstest.Pass
			})
			stop = sc.work(link, s)
			timeout := time.NewTimer(time.Minute)
			hit := false
			select {
			case <-reached:
				s.Kill(t)
				time.Sleep(time.Second)
				s.Start(t)
				hit = true
			case <-timeout.C:
			}
			timeout.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			if err != nil {
				t.Errorf("it is %s: %v", info.State, err)
			}
			time.Sleep(time.Minute)
			sc.halt(t, stop)
			c.check(t, sc, ref)
			if t.Failed() {
				t.Fatalf("the broker was killed behind write %d", n)
			}
			if !hit {
				if n < 20 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}

// The workflow's own job is put back between the event of the workflow's end and the removal of its message: neither is
// left, else the id would be taken until that is due.
func TestWorkflowEndsWhileItsDriverIsPutBack(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		const moment = 100 * time.Millisecond // shorter than anybody waits for an answer
		ends := watchEnds(t, c)
		drives, works := millhand.NewMux(), millhand.NewMux()
		drives.HandleFunc("idle", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		works.HandleFunc("task", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			time.Sleep(10*time.Second + moment) // past the first look
			return nil, nil
		})
		begin := func() (millhand.Ref, error) {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
			w.Step("a", task("a"), millhand.Enqueue(millhand.WithQueue("other")))
			return c.Start(t.Context(), w)
		}
		driver, worker := s.Link(), s.Link()
		start(t, driver.Connect(t), millhand.WorkerConfig{Mux: drives, NoStats: true})
		start(t, worker.Connect(t), millhand.WorkerConfig{Mux: works, NoStats: true, Queues: []millhand.Queue{{Name: "other"}}})
		time.Sleep(time.Second)
		ref, err := begin()
		if err != nil {
			t.Fatal(err)
		}
		const event = "millhand.event.default._workflow.w"
		putsBack := holdBehind(driver, event, "millhand.default.later._workflow.w")
		removes := holdBehind(worker, event, "$JS.API.STREAM.MSG.DELETE.millhand-queue-default")
		time.Sleep(10*time.Second + 2*moment)
		if !putsBack.Load() || !removes.Load() {
			t.Fatalf("put back: %v, removed: %v", putsBack.Load(), removes.Load())
		}
		driver.Release()
		time.Sleep(moment)
		worker.Release()
		time.Sleep(moment)
		if state := ends.ofLife(ref); !slices.Equal(state, []string{"succeeded"}) {
			t.Errorf("it has ended as %v", state)
		}
		if _, err := begin(); err != nil {
			t.Errorf("started again: %v", err)
		}
	})
}

// holdBehind has a link be held before it publishes to the one subject, behind the other one.
func holdBehind(l *natstest.Link, first, then string) (held *atomic.Bool) {
	held = new(atomic.Bool)
	seen := false
	l.Watch(func(subject string) natstest.Fate {
		if seen = seen || subject == first; seen && subject == then && held.CompareAndSwap(false, true) {
			l.Hold()
		}
		return natstest.Pass
	})
	return held
}
