package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// What ends a supervisor with significant children, and what does not (supervisor(3), "Automatic
// Shutdown").
func TestSignificantChildren(t *testing.T) {
	s1 := childSetup{ID: "s1", Restart: "transient", Significant: true}
	s2 := childSetup{ID: "s2", Restart: "temporary", Significant: true}
	plain := childSetup{ID: "plain", Restart: "transient"}
	tests := []struct {
		name     string
		setup    setup
		do       []string // child reason, or stop child
		shutdown bool
	}{
		{"any: a temporary one crashes", setup{AutoShutdown: "any_significant"}, []string{"s2 boom"}, true},
		{"any: a temporary one is killed", setup{AutoShutdown: "any_significant"}, []string{"s2 kill"}, true},
		{"any: a transient one is shut down", setup{AutoShutdown: "any_significant"}, []string{"s1 shutdown_x"}, true},
		{"any: a transient one crashes", setup{AutoShutdown: "any_significant"}, []string{"s1 boom"}, false},
		{"any: an insignificant one ends", setup{AutoShutdown: "any_significant"}, []string{"plain normal"}, false},
		{"any: both are stopped by hand", setup{AutoShutdown: "any_significant"}, []string{"stop s1", "stop s2"}, false},
		{"all: one ends", setup{AutoShutdown: "all_significant"}, []string{"s1 normal"}, false},
		{"all: one ends, the other crashes for good", setup{AutoShutdown: "all_significant"}, []string{"s1 normal", "s2 boom"}, true},
		{"all: one crashes for good, the other comes back", setup{AutoShutdown: "all_significant"}, []string{"s2 boom", "s1 boom"}, false},
		{"all: it came back, and then ends", setup{AutoShutdown: "all_significant"}, []string{"s2 boom", "s1 boom", "s1 normal"}, true},
		{"all: one is stopped by hand, the other ends", setup{AutoShutdown: "all_significant"}, []string{"stop s1", "s2 normal"}, true},
		{"all: one ends, the other is stopped by hand", setup{AutoShutdown: "all_significant"}, []string{"s1 normal", "stop s2"}, false},
		// s2 is stopped and forgotten for the sake of plain: that is not its own end.
		{"any: a sibling's restart takes it along", setup{AutoShutdown: "any_significant", Strategy: "one_for_all"}, []string{"plain boom"}, false},
		{"all: after a sibling's restart the other one ends", setup{AutoShutdown: "all_significant", Strategy: "one_for_all"}, []string{"plain boom", "s1 normal"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				test.setup.Children = []childSetup{{ID: "first"}, s1, s2, plain}
				sup, r := w.run(test.setup)
				w.take()
				for i, do := range test.do {
					r.expectAlive()
					if name, ok := strings.CutPrefix(do, "stop "); ok {
						if err := sup.StopChild(t.Context(), name); err != nil {
							t.Fatalf("step %d: %v", i, err)
						}
						continue
					}
					name, reason, _ := strings.Cut(do, " ")
					w.end(name, reason)
				}
				if !test.shutdown {
					r.expectAlive()
					return
				}
				r.expectExit("shutdown")
				if errors.Is(r.err, ErrIntensity) {
					t.Errorf("Run = %v, want an automatic shutdown", r.err)
				}
				if got := w.take(); !slices.Contains(got, event("terminated", "first", "shutdown")) {
					t.Errorf("events = %v, want the others stopped", got)
				}
			})
		})
	}
}
