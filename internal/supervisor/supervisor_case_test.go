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

func TestSupervisorCases(t *testing.T) {
	runCases(t, "supervisor.json", []caseTest{
		{"sup-matrix-", playMatrix},
		{"sup-intensity-max", playIntensity},
		{"sup-defaults", playDefaults},
		{"sup-intensity-shared", playCrashes},
		{"sup-window-boundary", playWindow},
		{"sup-one_for_all-counts-once", playGroupCountsOnce},
		{"sup-shutdown-order", playStartStop},
		{"sup-nested-order", playStartStop},
		{"sup-parent-exit", playParentExit},
		{"sup-shutdown-timeout-kill", playStopTimeout},
		{"sup-shutdown-brutal", playStopTimeout},
		{"sup-shutdown-infinity", playStopTimeout},
		{"sup-shutdown-no-trap", playNoTrap},
		{"dynsup-shutdown-concurrent", playDynamicStop},
		{"sup-start-child-ignore", playIgnore},
		{"sup-duplicate-ids", playDuplicates},
		{"sup-restart-init-failures", playCrashes},
		{"sup-restart-ignore", playCrashes},
		{"sup-siblings-mixed-", playCrashes},
		{"sup-rest_for_one-first-last", playFirstLast},
		{"sup-start_child-appended", playCrashes},
		{"sup-api", playAPI},
		{"sup-nested-escalate", playEscalation},
		{"sup-nested-transient-inner", playInnerGivesUp},
		{"sup-nested-temporary-inner", playInnerGivesUp},
		{"sup-auto-validation", playAutoValidation},
		{"sup-auto-", playAuto},
		{"sup-scraper-producer-crash", playScraper},
		{"sup-consumer-before-producer", playConsumerFirst},
		{"sup-units-max-seconds", playUnits},
	}, supervisorForms()...)
}

func supervisorForms() []caseForm {
	return []caseForm{
		{"for each reason start a fresh supervisor; .*", []string{"rows"}, playMatrix},
		{`crash a every time it is running`, []string{"starts", "sup_exit"}, playIntensity},
		{`(?:(?:crash|start_child) \w+(?:; |$))+`, []string{"events"}, playCrashes},
		{`crash a; wait g; crash a`, []string{"rows"}, playWindow},
		{`start; stop(?: supervisor)?`, []string{"start", "stop"}, playStartStop},
		{`stop(?: supervisor)?(?:, measure)?`, []string{"cleanup_completed"}, playStopTimeout},
		{`start; count`, []string{"events", "children", "counts"}, playIgnore},
		{`see outcome list: .*`, []string{"events", "outcome"}, playAuto},
		{`leaf always crashes; .*`, []string{"rows"}, playEscalation},
		{`leaf always crashes`, []string{"leaf_starts", "outer"}, playInnerGivesUp},
	}
}

// Cases with another id than ours are played, if we have their form.
func TestSupervisorCasesByForm(t *testing.T) {
	played := 0
	for _, c := range readCases(t, "supervisor.json") {
		if play := byForm(supervisorForms(), c); play != nil {
			played++
			name := c.ID
			c.ID = "unknown"
			t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { play(t, c) }) })
		}
	}
	if played < 20 {
		t.Errorf("%d cases have a form", played)
	}
}

// playMatrix ends child b for each reason, each time in a fresh supervisor.
func playMatrix(t *testing.T, c testCase) {
	expect := decode[struct {
		Rows []struct {
			Reason   string
			Events   []caseEvent
			Children map[string]string
		}
	}](t, c.Expect)
	for _, row := range expect.Rows {
		w := newWorld(t)
		sup, r := w.run(decode[setup](t, c.Setup))
		w.take()
		before := sup.Tree()
		w.end("b", row.Reason)
		if diff := cmp.Diff(row.Events, nonNil(w.take())); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", row.Reason, diff)
		}
		if diff := cmp.Diff(row.Children, fates(before, sup.Tree(), "a", "b", "c")); diff != "" {
			t.Errorf("%s: children (-want +got):\n%s", row.Reason, diff)
		}
		r.expectAlive()
		if err := r.end(); err != nil {
			t.Errorf("%s: Run = %v, want nil", row.Reason, err)
		}
	}
}

func nonNil(events []caseEvent) []caseEvent {
	if events == nil {
		return []caseEvent{}
	}
	return events
}

func playDefaults(t *testing.T, c testCase) {
	expect := decode[struct {
		MaxRestarts        int    `json:"max_restarts"`
		MaxSeconds         int    `json:"max_seconds"`
		WorkerShutdownMS   int    `json:"worker_shutdown_ms"`
		SupervisorShutdown string `json:"supervisor_shutdown"`
		Restart            string
	}](t, c.Expect)
	spec := Spec{}.withDefaults()
	if *spec.MaxRestarts != expect.MaxRestarts || spec.Within != time.Duration(expect.MaxSeconds)*time.Second {
		t.Errorf("intensity = %d in %v, want %d in %d s", *spec.MaxRestarts, spec.Within, expect.MaxRestarts, expect.MaxSeconds)
	}
	worker, nested := Child{}, Child{Part: &Supervisor{}}
	if got, want := worker.stopTimeout(), time.Duration(expect.WorkerShutdownMS)*time.Millisecond; got != want {
		t.Errorf("stop timeout = %v, want %v", got, want)
	}
	if got := nested.stopTimeout(); got != Forever || expect.SupervisorShutdown != "infinity" {
		t.Errorf("stop timeout of a supervisor = %v, want %s", got, expect.SupervisorShutdown)
	}
	if got := worker.Restart.String(); got != expect.Restart {
		t.Errorf("restart = %s, want %s", got, expect.Restart)
	}
	if got := spec.Strategy; got != OneForOne {
		t.Errorf("strategy = %v, want %v", got, OneForOne)
	}
}

// playCrashes starts a tree and crashes the children that the steps name, in that order. What it
// expects is in several forms; each is checked if the case has it.
func playCrashes(t *testing.T, c testCase) {
	expect := decode[map[string]any](t, c.Expect)
	want := decode[struct {
		Events []caseEvent
		A      string
		Alive  *bool
		Alive2 *bool  `json:"supervisor_alive"`
		Exit   string `json:"sup_exit"`
		Sup    string
	}](t, c.Expect)
	w := newWorld(t)
	sup, r := w.run(decode[setup](t, c.Setup))
	if want.Events[0] != event("start", "a") { // the events begin with the crash
		w.take()
	}
	for _, step := range c.Steps {
		switch what, name, _ := strings.Cut(step, " "); what {
		case "crash":
			w.end(name, "boom")
		case "start_child":
			if err := sup.StartChild(t.Context(), w.child(childSetup{ID: name})); err != nil {
				t.Fatal(err)
			}
			w.take()
		default:
			t.Fatalf("unknown step %q", step)
		}
	}
	w.expectEvents(want.Events)
	if names, ok := expect["children"].([]any); ok { // OTP lists the last one first
		var got []any
		for _, n := range slices.Backward(sup.Tree().Children) {
			got = append(got, n.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("children (-want +got):\n%s", diff)
		}
	}
	if want.A == "undefined" {
		if got := childNamed(sup.Tree(), "a").State; got != StateStopped {
			t.Errorf("a is %s, want it stopped", got)
		}
	}
	if exit := want.Exit + want.Sup; exit != "" {
		r.expectExit(exit)
	} else {
		r.expectAlive()
	}
}

func playIgnore(t *testing.T, c testCase) {
	expect := decode[struct {
		Events   []caseEvent
		Children map[string]string
		Counts   struct{ Specs, Active int }
	}](t, c.Expect)
	w := newWorld(t)
	sup, _ := w.run(decode[setup](t, c.Setup))
	w.expectEvents(expect.Events)
	tree, active := sup.Tree(), 0
	for name, want := range expect.Children {
		got := "undefined"
		if childNamed(tree, name).State == StateRunning {
			got = "running"
			active++
		}
		if got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if len(tree.Children) != expect.Counts.Specs || active != expect.Counts.Active {
		t.Errorf("children = %d, %d of them active, want %+v", len(tree.Children), active, expect.Counts)
	}
}

func playDuplicates(t *testing.T, c testCase) {
	w := newWorld(t)
	_, err := New(w.spec("sup", decode[setup](t, c.Setup)))
	if !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), "duplicate child name a") {
		t.Errorf("New = %v, want a duplicate child name a", err)
	}
	w.expectEvents(nil)
}

func playFirstLast(t *testing.T, c testCase) {
	for name, want := range decode[map[string][]caseEvent](t, c.Expect) {
		w := newWorld(t)
		_, r := w.run(decode[setup](t, c.Setup))
		w.take()
		w.end(strings.TrimPrefix(name, "crash_"), "boom")
		w.expectEvents(want)
		_ = r.end()
	}
}

func playAPI(t *testing.T, c testCase) {
	expect := decode[struct {
		Events []caseEvent
		Left   []string
	}](t, c.Expect)
	w := newWorld(t)
	sup, _ := w.run(decode[setup](t, c.Setup))
	w.take()
	ctx, a := t.Context(), w.child(childSetup{ID: "a"})
	check := func(call string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s = %v, want %v", call, got, want)
		}
	}
	check("stop a", sup.StopChild(ctx, "a"), nil)
	if got := childNamed(sup.Tree(), "a").State; got != StateStopped {
		t.Errorf("a is %s, want it stopped", got)
	}
	check("start a, stopped", sup.StartChild(ctx, a), ErrAlreadyPresent)
	check("restart a", sup.RestartChild(ctx, "a"), nil)
	check("start a, running", sup.StartChild(ctx, a), ErrAlreadyStarted)
	check("restart a, running", sup.RestartChild(ctx, "a"), ErrRunning)
	check("delete a, running", sup.DeleteChild(ctx, "a"), ErrRunning)
	check("stop a", sup.StopChild(ctx, "a"), nil)
	check("delete a", sup.DeleteChild(ctx, "a"), nil)
	check("stop nope", sup.StopChild(ctx, "nope"), ErrNotFound)
	w.expectEvents(expect.Events)
	var left []string
	for _, n := range sup.Tree().Children {
		left = append(left, n.Name)
	}
	if diff := cmp.Diff(expect.Left, left); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
}
