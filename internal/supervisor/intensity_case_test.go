package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// playIntensity crashes a until its supervisor gives up.
func playIntensity(t *testing.T, c testCase) {
	expect := decode[struct {
		Starts  int
		SupExit string `json:"sup_exit"`
	}](t, c.Expect)
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	for range 100 {
		if r.ended() {
			break
		}
		w.end("a", "boom")
	}
	if got := w.startsOf("a"); got != expect.Starts {
		t.Errorf("starts = %d, want %d", got, expect.Starts)
	}
	r.expectExit(expect.SupExit)
	if !errors.Is(r.err, ErrIntensity) || !errors.Is(r.err, errBoom) {
		t.Errorf("Run = %v, want an error that is %v and %v", r.err, ErrIntensity, errBoom)
	}
}

// playWindow crashes a twice, some time apart, with a budget of one.
func playWindow(t *testing.T, c testCase) {
	type row struct {
		GapMS      int `json:"gap_ms"`
		Supervisor string
	}
	rows := decode[struct{ Rows []row }](t, c.Expect).Rows
	// Go's clock is precise, so the boundary is: a restart as old as the window is long still
	// counts.
	rows = append(rows, row{1000, "gives_up"}, row{1001, "alive"})
	for _, row := range rows {
		w := newWorld(t)
		s := decode[setup](t, c.Setup)
		s.Children = []childSetup{{ID: "a"}}
		_, r := w.run(s)
		w.end("a", "boom")
		time.Sleep(time.Duration(row.GapMS) * time.Millisecond)
		synctest.Wait()
		w.end("a", "boom")
		got := "alive"
		if r.ended() {
			got = "gives_up"
		}
		if got != row.Supervisor {
			t.Errorf("gap %d ms: %s, want %s", row.GapMS, got, row.Supervisor)
		}
		_ = r.end()
	}
}

func playGroupCountsOnce(t *testing.T, c testCase) {
	expect := decode[struct {
		AfterFirst  bool   `json:"after_first"`
		AfterSecond string `json:"after_second"`
	}](t, c.Expect)
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.end("b", "boom")
	if got := !r.ended(); got != expect.AfterFirst {
		t.Fatalf("alive after the first = %t, want %t", got, expect.AfterFirst)
	}
	w.end("b", "boom")
	r.expectExit(expect.AfterSecond)
}

// playEscalation crashes a leaf whenever it runs, until the outermost supervisor gives up.
func playEscalation(t *testing.T, c testCase) {
	expect := decode[struct {
		Rows []struct {
			InnerMax   int `json:"inner_max"`
			OuterMax   int `json:"outer_max"`
			LeafStarts int `json:"leaf_starts"`
			Outer      string
		}
	}](t, c.Expect)
	for _, row := range expect.Rows {
		w := newWorld(t)
		outer := *decode[setup](t, c.Setup).Outer
		outer.MaxRestarts = &row.OuterMax
		for i := range outer.Children {
			outer.Children[i].MaxRestarts = &row.InnerMax
		}
		_, r := w.run(outer)
		for range 1000 {
			if r.ended() {
				break
			}
			w.end("leaf", "boom")
		}
		if got := w.startsOf("leaf"); got != row.LeafStarts {
			t.Errorf("%d, %d: starts = %d, want %d", row.InnerMax, row.OuterMax, got, row.LeafStarts)
		}
		r.expectExit(row.Outer)
	}
}

// playInnerGivesUp crashes a leaf until its supervisor gives up, which its parent does not mind.
func playInnerGivesUp(t *testing.T, c testCase) {
	expect := decode[struct {
		Children   [][2]string
		LeafStarts int `json:"leaf_starts"`
		Sibling    []caseEvent
	}](t, c.Expect)
	w := newWorld(t)
	sup, r := w.run(*decode[setup](t, c.Setup).Outer)
	for w.startsOf("leaf") < expect.LeafStarts {
		w.end("leaf", "boom")
	}
	w.end("leaf", "boom")
	r.expectAlive()
	got := make(map[string]string)
	for _, n := range sup.Tree().Children {
		got[n.Name] = "undefined"
		if n.State == StateRunning {
			got[n.Name] = "pid"
		}
	}
	want := make(map[string]string)
	for _, c := range expect.Children {
		want[c[0]] = c[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
	if got := w.startsOf("leaf"); got != expect.LeafStarts {
		t.Errorf("starts of the leaf = %d, want %d", got, expect.LeafStarts)
	}
	sibling := slices.DeleteFunc(w.take(), func(e caseEvent) bool { return !strings.Contains(string(e), `"sib"`) })
	if diff := cmp.Diff(expect.Sibling, sibling); diff != "" {
		t.Errorf("events of the sibling (-want +got):\n%s", diff)
	}
}

// playUnits: the window is a time.Duration, so 30 s are 30 s.
func playUnits(t *testing.T, _ testCase) {
	w := newWorld(t)
	spec := w.spec("sup", setup{Children: []childSetup{{ID: "a"}}})
	spec.MaxRestarts, spec.Within = new(1), 30*time.Second
	sup, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, sup)
	w.end("a", "boom")
	time.Sleep(31 * time.Second)
	synctest.Wait()
	w.end("a", "boom")
	r.expectAlive()
}
