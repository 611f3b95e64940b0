package supervisor

import (
	"context"
	"testing"
	"testing/synctest"
)

// A dynamic child that asks to be ignored is forgotten, at its start and at a restart, and costs no
// restart.
func TestDynamicForgetsWhoIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		w := newWorld(t)
		d, r := startDynamic(t, DynamicSpec{MaxRestarts: new(1), OnEvent: log.add})
		for _, c := range []childSetup{{ID: "at once", Init: "ignore"}, {ID: "later", Init: "ok, then ignore"}, {ID: "stays"}} {
			if err := d.Start(w.child(c)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		w.end("later", "boom")
		if got := d.Tree().Children; len(got) != 1 || got[0].Name != "stays" {
			t.Errorf("children = %+v, want stays", got)
		}
		if got := log.of(ChildIgnored); len(got) != 2 {
			t.Errorf("ignored = %+v, want two", got)
		}
		r.expectAlive()
		// Once it is ready it is too late for that: then it is an end like any other.
		err := d.Start(Child{Name: "too late", Run: func(context.Context) error { return ErrIgnore }})
		if err != nil {
			t.Fatal(err)
		}
		r.expectExit("shutdown")
	})
}
