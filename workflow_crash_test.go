package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// crashAfter has a link end behind the n-th write of what workflows are made of, from 0. It tells how many
// there were.
func crashAfter(l *natstest.Link, n int) (writes *atomic.Int64) {
	writes = new(atomic.Int64)
	l.Watch(func(subject string) natstest.Fate {
		counts := strings.HasPrefix(subject, "$JS.ACK.") || strings.HasPrefix(subject, "$JS.API.STREAM.MSG.DELETE.") ||
			strings.HasPrefix(subject, "millhand.") && !strings.HasPrefix(subject, "millhand.control.")
		if !counts {
			return natstest.Pass
		}
		if writes.Add(1) <= int64(n) {
			return natstest.Pass
		}
		l.Down()
		return natstest.CutAfter
	})
	return writes
}

func chain(id string) *millhand.Workflow {
	w := millhand.NewWorkflow("chain", millhand.WorkflowConfig{ID: id})
	a := w.Step("a", task(id+" a"))
	w.Step("b", task(id+" b"), millhand.After(a))
	return w
}

// Whoever starts a workflow dies after any write: either nothing of it runs, or it ends as if nobody had.
func TestWorkflowCreatorDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if _, err := sc.Start(t.Context(), chain("first")); err != nil {
			t.Fatal(err)
		}
		ended := make(map[millhand.State]int)
		for n := 0; ; n++ {
			id := fmt.Sprint("w", n)
			link := s.Link()
			nc := link.Connect(t)
			creator := client(t, nc)
			writes := crashAfter(link, n)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := creator.Start(ctx, chain(id))
			cancel()
			nc.Close()
			if err == nil && writes.Load() <= int64(n) {
				break
			}
			time.Sleep(20 * time.Second)
			info, err := sc.Get(t.Context(), millhand.Ref{ID: id, Type: "_workflow", Queue: "default"})
			ran := strings.Count(strings.Join(sc.order(), ","), id+" ")
			switch {
			case errors.Is(err, millhand.ErrNotFound) && ran == 0:
				ended[""]++ // it is not there
			case err != nil:
				t.Errorf("after write %d: %v", n, err)
			case info.State == millhand.Dead && ran == 0, info.State == millhand.Succeeded && ran == 2:
				ended[info.State]++
			default:
				t.Errorf("after write %d: %s, %d steps ran", n, info.State, ran)
			}
			if ran == 0 {
				if _, err := sc.Start(t.Context(), chain(id)); err != nil {
					t.Errorf("after write %d it is started again: %v", n, err)
				}
			}
		}
		if ended[""] == 0 || ended[millhand.Dead] != 2 || ended[millhand.Succeeded] != 2 {
			t.Errorf("ended as %v, want nothing, two that were barred and two that went on", ended)
		}
	})
}

// Whoever starts a workflow is cut off after any write, and calls again when that may have ended: it has run once.
func TestWorkflowIsStartedAgain(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if _, err := sc.Start(t.Context(), chain("first")); err != nil {
			t.Fatal(err)
		}
		for _, later := range []time.Duration{time.Second, 40 * time.Second} {
			for n := 0; ; n++ {
				id := fmt.Sprint("w", later.Seconds(), "-", n)
				w := chain(id)
				w.Group("group", tasks(id+" ", 2), millhand.After(w.Find("b")))
				link := s.Link()
				nc := link.Connect(t)
				creator := client(t, nc)
				writes := crashAfter(link, n)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, err := creator.Start(ctx, w)
				cancel()
				nc.Close()
				if err == nil && writes.Load() <= int64(n) {
					break
				}
				time.Sleep(later)
				ref, err := sc.Start(t.Context(), w)
				for errors.Is(err, millhand.ErrWorkflowAbandoned) {
					ref, err = sc.Start(t.Context(), w)
				}
				if err != nil {
					t.Fatalf("after write %d, started again: %v", n, err)
				}
				if _, err := sc.Await(t.Context(), ref); err != nil {
					t.Errorf("after write %d: %v", n, err)
				}
				time.Sleep(5 * time.Second)
				if ran := strings.Count(strings.Join(sc.order(), ","), id+" "); ran != 4 {
					t.Errorf("after write %d, started again %v later: %d jobs ran, want 4", n, later, ran)
				}
				if _, err := sc.Start(t.Context(), w); err != nil {
					t.Errorf("after write %d: once it has been started it cannot be again: %v", n, err)
				}
			}
		}
	})
}

// A worker dies after any write with which it ends steps: whoever is handed the job again goes on.
func TestWorkflowWorkerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if _, err := sc.Start(t.Context(), chain("first")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			id := fmt.Sprint("w", n)
			ref, err := sc.Start(t.Context(), chain(id))
			if err != nil {
				t.Fatal(err)
			}
			link := s.Link()
			writes := crashAfter(link, n)
			_, stop := start(t, link.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Millisecond})
			time.Sleep(time.Second)
			crashed := writes.Load() > int64(n)
			_ = stop() // it cannot say what it has not written
			_, stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			_, err = sc.Await(ctx, ref)
			cancel()
			ran := strings.Count(strings.Join(sc.order(), ","), id+" ")
			// Who dies between the run of a step and its event has it run again, as of any job.
			if err != nil || ran < 2 || ran > 3 {
				t.Errorf("after write %d: %v, steps ran %d times", n, err, ran)
			}
			time.Sleep(time.Minute) // whatever is left
			for j, err := range sc.Jobs(t.Context(), millhand.JobFilter{}) {
				if err != nil || j.Type == "task" {
					t.Errorf("after write %d there is left: %s, %v", n, j.ID, err)
				}
			}
			if err := stop(); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
				t.Errorf("after write %d: %v", n, err)
			}
			if !crashed {
				if n < 9 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}
