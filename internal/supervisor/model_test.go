package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is a supervisor as a list on paper: it knows no goroutines and no clock, only the rules.
type model struct {
	strategy Strategy
	limit    int
	within   time.Duration
	children []modelChild
	restarts []time.Duration // since the beginning
	over     bool
	events   []caseEvent
}

type modelChild struct {
	name    string
	restart Restart
	running bool
}

func (m *model) event(parts ...any) { m.events = append(m.events, event(parts...)) }

// end is the end of child i at a time.
func (m *model) end(i int, reason string, at time.Duration) {
	c := &m.children[i]
	c.running = false
	if reason != "kill" {
		m.event("exit", c.name)
	}
	abnormal := reason == "kill" || reason == "boom"
	switch {
	case c.restart == Temporary:
		m.children = slices.Delete(m.children, i, i+1)
		return
	case c.restart == Transient && !abnormal:
		return
	}
	m.restarts = append(m.restarts, at)
	recent := 0
	for _, r := range m.restarts {
		if at-r <= m.within {
			recent++
		}
	}
	if recent > m.limit {
		m.stop(0)
		m.over = true
		return
	}
	switch m.strategy {
	case OneForOne:
		c.running = true
		m.event("start", c.name)
	case OneForAll:
		m.restartFrom(0, c.name)
	case RestForOne:
		m.restartFrom(i, c.name)
	}
}

// stop stops the children from the last one to child i.
func (m *model) stop(i int) {
	for n := len(m.children) - 1; n >= i; n-- {
		if m.children[n].running {
			m.event("terminated", m.children[n].name, "shutdown")
			m.children[n].running = false
		}
	}
}

func (m *model) restartFrom(i int, failed string) {
	m.stop(i)
	rest := slices.DeleteFunc(slices.Clone(m.children[i:]), func(c modelChild) bool { return c.restart == Temporary && c.name != failed })
	m.children = append(m.children[:i], rest...)
	for n := range m.children[i:] {
		m.children[i+n].running = true
		m.event("start", m.children[i+n].name)
	}
}

// A supervisor does what the model does, whatever children it has and however they end.
func TestSupervisorDoesWhatTheModelDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			m := &model{
				strategy: rapid.SampledFrom([]Strategy{OneForOne, OneForAll, RestForOne}).Draw(rt, "strategy"),
				limit:    rapid.IntRange(0, 4).Draw(rt, "limit"), within: time.Second,
			}
			w := newWorld(t)
			spec := Spec{Name: "sup", Strategy: m.strategy, MaxRestarts: new(m.limit), Within: m.within}
			for i := range rapid.IntRange(1, 5).Draw(rt, "children") {
				restart := rapid.SampledFrom([]Restart{Permanent, Transient, Temporary}).Draw(rt, "restart")
				name := fmt.Sprint("c", i)
				spec.Children = append(spec.Children, w.child(childSetup{ID: name, Restart: restart.String()}))
				m.children = append(m.children, modelChild{name, restart, true})
				m.event("start", name)
			}
			sup, err := New(spec)
			if err != nil {
				rt.Fatal(err)
			}
			r := launch(t, sup)
			defer func() { _ = r.end() }()
			begin := time.Now()
			for range rapid.IntRange(0, 12).Draw(rt, "ends") {
				var alive []int
				for i, c := range m.children {
					if c.running {
						alive = append(alive, i)
					}
				}
				if len(alive) == 0 || m.over {
					break
				}
				time.Sleep(time.Duration(rapid.IntRange(0, 800).Draw(rt, "gap")) * time.Millisecond)
				i := rapid.SampledFrom(alive).Draw(rt, "who")
				name := m.children[i].name
				reason := rapid.SampledFrom([]string{"normal", "shutdown", "shutdown_x", "boom", "kill"}).Draw(rt, "why")
				m.end(i, reason, time.Since(begin))
				w.end(name, reason)
			}
			if got := r.ended(); got != m.over {
				rt.Fatalf("ended = %t, want %t", got, m.over)
			}
			if err := r.end(); errors.Is(err, ErrIntensity) != m.over {
				rt.Fatalf("Run = %v, want it to give up: %t", err, m.over)
			}
			if !m.over {
				m.stop(0)
			}
			if diff := cmp.Diff(m.events, w.take()); diff != "" {
				rt.Fatalf("events (-want +got):\n%s", diff)
			}
		})
	})
}
