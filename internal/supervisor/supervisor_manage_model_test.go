package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// manage is what the model says of a request, and does (supervisor(3), start_child and its kin).
func (m *model) manage(request, name string, added Restart) error {
	i := slices.IndexFunc(m.children, func(c modelChild) bool { return c.name == name })
	known := i >= 0
	running := known && m.children[i].running
	switch request {
	case "start":
		switch {
		case running:
			return ErrAlreadyStarted
		case known:
			return ErrAlreadyPresent
		}
		m.children = append(m.children, modelChild{name, added, true})
		m.event("start", name)
		return nil
	case "stop":
		if !known {
			return ErrNotFound
		}
		if running {
			m.event("terminated", name, "shutdown")
			m.children[i].running = false
		}
		if m.children[i].restart == Temporary {
			m.children = slices.Delete(m.children, i, i+1)
		}
		return nil
	}
	switch {
	case !known:
		return ErrNotFound
	case running:
		return ErrRunning
	case request == "delete":
		m.children = slices.Delete(m.children, i, i+1)
	default:
		m.children[i].running = true
		m.event("start", name)
	}
	return nil
}

// What people ask of a supervisor, in any order and between any ends, has the outcome that the
// rules give it.
func TestManagingDoesWhatTheModelDoes(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	restarts := []Restart{Permanent, Transient, Temporary}
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			m := &model{
				strategy: rapid.SampledFrom([]Strategy{OneForOne, OneForAll, RestForOne}).Draw(rt, "strategy"),
				limit:    3, within: time.Second,
			}
			w := newWorld(t)
			sup, err := New(Spec{Name: "sup", Strategy: m.strategy, MaxRestarts: new(m.limit), Within: m.within})
			if err != nil {
				rt.Fatal(err)
			}
			r := launch(t, sup)
			defer func() { _ = r.end() }()
			begin, ctx := time.Now(), context.Background()
			for step := range rapid.IntRange(0, 25).Draw(rt, "steps") {
				if m.over {
					break
				}
				time.Sleep(time.Duration(rapid.IntRange(0, 400).Draw(rt, "gap")) * time.Millisecond)
				request := rapid.SampledFrom([]string{"start", "start", "stop", "restart", "delete", "end", "end"}).Draw(rt, "request")
				name := rapid.SampledFrom(names).Draw(rt, "name")
				if request == "end" {
					i := slices.IndexFunc(m.children, func(c modelChild) bool { return c.name == name && c.running })
					if i < 0 {
						continue
					}
					reason := rapid.SampledFrom([]string{"normal", "shutdown_x", "boom", "kill"}).Draw(rt, "why")
					m.end(i, reason, time.Since(begin))
					w.end(name, reason)
					continue
				}
				restart := rapid.SampledFrom(restarts).Draw(rt, "restart")
				want := m.manage(request, name, restart)
				var got error
				switch request {
				case "start":
					got = sup.StartChild(ctx, w.child(childSetup{ID: name, Restart: restart.String()}))
				case "stop":
					got = sup.StopChild(ctx, name)
				case "restart":
					got = sup.RestartChild(ctx, name)
				case "delete":
					got = sup.DeleteChild(ctx, name)
				}
				if !errors.Is(got, want) {
					rt.Fatalf("step %d, %s %s = %v, want %v", step, request, name, got, want)
				}
			}
			if got := r.ended(); got != m.over {
				rt.Fatalf("ended = %t, want %t", got, m.over)
			}
			var want, got []string
			for _, c := range m.children {
				want = append(want, fmt.Sprint(c.name, c.running))
			}
			for _, n := range sup.Tree().Children {
				got = append(got, fmt.Sprint(n.Name, n.State == StateRunning))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("children (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(m.events, w.take()); diff != "" {
				rt.Fatalf("events (-want +got):\n%s", diff)
			}
		})
	})
}
