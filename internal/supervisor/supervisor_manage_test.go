package supervisor

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestStartChildThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, r := w.run(setup{Children: []childSetup{{ID: "a"}}})
		err := s.StartChild(t.Context(), w.child(childSetup{ID: "b", Init: "fails"}))
		if failed, ok := errors.AsType[*StartError](err); !ok || failed.Child != "b" || !errors.Is(err, errBoom) {
			t.Errorf("StartChild = %v, want %v of b", err, errBoom)
		}
		if err := s.StartChild(t.Context(), Child{Name: "c"}); !errors.Is(err, ErrSpec) {
			t.Errorf("StartChild = %v, want %v", err, ErrSpec)
		}
		if err := s.StartChild(t.Context(), w.child(childSetup{ID: "d", Init: "ignore"})); err != nil {
			t.Errorf("StartChild = %v, want nil", err)
		}
		var names []string
		for _, n := range s.Tree().Children {
			names = append(names, n.Name)
		}
		if diff := cmp.Diff([]string{"a", "d"}, names); diff != "" {
			t.Errorf("children (-want +got):\n%s", diff)
		}
		r.expectAlive()
	})
}

func TestStopChildForgetsATemporaryOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, _ := w.run(setup{Children: []childSetup{{ID: "a", Restart: "temporary"}, {ID: "b", Restart: "transient"}}})
		for _, name := range []string{"a", "b"} {
			if err := s.StopChild(t.Context(), name); err != nil {
				t.Errorf("StopChild(%s) = %v, want nil", name, err)
			}
		}
		if got := s.Tree().Children; len(got) != 1 || got[0].Name != "b" {
			t.Errorf("children = %+v, want b", got)
		}
	})
}
