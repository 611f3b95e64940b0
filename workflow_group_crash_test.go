package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// fanOut is a group of which one job fails, and what sums up the others.
func fanOut(id string) *millhand.Workflow {
	w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: id})
	load := w.Group("load", rows(4, func(r *row) { r.Fail = r.N == 1 }), millhand.Tolerate(1), millhand.KeepResults())
	w.Step("report", summary{}, millhand.After(load))
	return w
}

// Whoever starts a group dies after any write: either nothing of it runs, or it ends as if nobody had.
func TestGroupCreatorDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		if _, err := sc.Start(t.Context(), fanOut("first")); err != nil {
			t.Fatal(err)
		}
		ended := make(map[millhand.State]int)
		for n := 0; ; n++ {
			id := fmt.Sprint("w", n)
			link := s.Link()
			nc := link.Connect(t)
			writes := crashAfter(link, n)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := client(t, nc).Start(ctx, fanOut(id))
			cancel()
			nc.Close()
			if err == nil && writes.Load() <= int64(n) {
				break
			}
			time.Sleep(20 * time.Second)
			info, err := sc.Get(t.Context(), millhand.Ref{ID: id, Type: "_workflow", Queue: "default"})
			ran := sc.ran[id+"--load--3"]
			switch {
			case errors.Is(err, millhand.ErrNotFound) && ran == 0:
				ended[""]++ // it is not there
			case err != nil:
				t.Errorf("after write %d: %v", n, err)
			case info.State == millhand.Dead && ran == 0, info.State == millhand.Succeeded && ran == 1:
				ended[info.State]++
			default:
				t.Errorf("after write %d: %s, the last job ran %d times", n, info.State, ran)
			}
		}
		if ended[""] == 0 || ended[millhand.Dead] != 3 || ended[millhand.Succeeded] != 2 {
			t.Errorf("ended as %v, want nothing, three that were barred and two that went on", ended)
		}
	})
}

// A worker dies after any write with which it publishes, runs and ends a group: whoever is handed its jobs goes
// on, and what comes after the group has all of its results.
func TestGroupWorkerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		for n := 0; ; n += strideOf(4) {
			id := fmt.Sprint("w", n)
			ref, err := sc.Start(t.Context(), fanOut(id))
			if err != nil {
				t.Fatal(err)
			}
			sc.sum, sc.missing = 0, nil
			link := s.Link()
			writes := crashAfter(link, n)
			_, stop := start(t, link.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Millisecond})
			time.Sleep(time.Second)
			crashed := writes.Load() > int64(n)
			_ = stop() // it cannot say what it has not written
			_, stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			if info.State != millhand.Succeeded {
				t.Errorf("after write %d: %s, %v", n, info.State, err)
			}
			if sc.sum != 0+2+3 || !slices.Equal(sc.missing, []int{1}) {
				t.Errorf("after write %d: the sum is %d, missing %v", n, sc.sum, sc.missing)
			}
			for i := range 4 {
				if ran := sc.ran[fmt.Sprintf("%s--load--%d", id, i)]; ran < 1 || ran > 2 {
					t.Errorf("after write %d: job %d ran %d times", n, i, ran)
				}
			}
			time.Sleep(time.Minute) // whatever is left
			sc.left(t)
			if err := stop(); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
				t.Errorf("after write %d: %v", n, err)
			}
			if !crashed {
				if n < 15 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}

// The answers to writes of a group's bits are lost for a while, and so are some of the writes: the jobs stay in hand
// until they are counted, run once, and end once.
func TestGroupIsCountedOnceTheBrokerAnswers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		link := s.Link()
		lost := 0
		link.Watch(func(subject string) natstest.Fate {
			if !strings.HasPrefix(subject, "millhand.workflow.tally.") || !strings.HasSuffix(subject, ".load.0") {
				return natstest.Pass
			}
			switch lost++; {
			case lost > 6:
				return natstest.Pass
			case lost%2 == 0:
				return natstest.CutAfter
			}
			return natstest.Lost
		})
		start(t, link.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Second})
		ref, err := sc.Start(t.Context(), fanOut("w"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		// How many bits are in a write is by chance: once all are written, nothing is left to be lost.
		if info, err := sc.Await(ctx, ref); info.State != millhand.Succeeded || lost < 2 {
			t.Errorf("%s after %d writes: %v", info.State, lost, err)
		}
		for i := range 4 {
			if ran := sc.ran[fmt.Sprintf("w--load--%d", i)]; ran != 1 {
				t.Errorf("job %d ran %d times", i, ran)
			}
		}
		time.Sleep(time.Minute)
		sc.left(t)
	})
}
