package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// playAuto ends children one after the other as the expected events tell: an end that is followed
// by a start was a crash. Who ends is significant, unless nothing is; who is only stopped is not.
func playAuto(t *testing.T, c testCase) {
	expect := decode[struct {
		Events  []caseEvent
		Outcome []any
	}](t, c.Expect)
	s := decode[setup](t, c.Setup)
	type end struct{ name, reason string }
	var ends []end
	for i, e := range expect.Events {
		parts := decode[[]string](t, []byte(e))
		known := slices.ContainsFunc(s.Children, func(c childSetup) bool { return c.ID == parts[1] })
		if !known {
			exits := parts[0] == "exit"
			s.Children = append(s.Children, childSetup{
				ID: parts[1], Restart: map[bool]string{true: "transient", false: "permanent"}[exits],
				Significant: exits && s.AutoShutdown != "never",
			})
		}
		if parts[0] != "exit" {
			continue
		}
		reason := "normal"
		if i+1 < len(expect.Events) && expect.Events[i+1] == event("start", parts[1]) {
			reason = "boom"
		}
		ends = append(ends, end{parts[1], reason})
	}
	w := newWorld(t)
	_, r := w.run(s)
	w.take()
	for i, e := range ends {
		w.end(e.name, e.reason)
		if expect.Outcome[i] == "sup_alive" {
			r.expectAlive()
			continue
		}
		r.expectExit(fmt.Sprint(expect.Outcome[i].([]any)[1]))
		if errors.Is(r.err, ErrIntensity) {
			t.Errorf("Run = %v, want an automatic shutdown", r.err)
		}
	}
	w.expectEvents(expect.Events)
}

func playAutoValidation(t *testing.T, _ testCase) {
	w := newWorld(t)
	for _, s := range []setup{
		{AutoShutdown: "any_significant", Children: []childSetup{{ID: "a", Restart: "permanent", Significant: true}}},
		{AutoShutdown: "never", Children: []childSetup{{ID: "a", Restart: "transient", Significant: true}}},
	} {
		if _, err := New(w.spec("sup", s)); !errors.Is(err, ErrSpec) {
			t.Errorf("New(%+v) = %v, want %v", s, err, ErrSpec)
		}
	}
	sup, r := w.run(setup{
		AutoShutdown: "any_significant", Children: []childSetup{{ID: "a", Restart: "transient", Significant: true}},
	})
	if err := sup.StopChild(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	r.expectAlive()
}
