package supervisor

import (
	"context"
	"errors"
	"fmt"
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
		{"sup-start_child-appended", playAppended},
		{"sup-api", playAPI},
		{"sup-nested-escalate", playEscalation},
		{"sup-nested-transient-inner", playInnerGivesUp},
		{"sup-nested-temporary-inner", playInnerGivesUp},
		{"sup-auto-validation", playAutoValidation},
		{"sup-auto-", playAuto},
		{"sup-scraper-producer-crash", playScraper},
		{"sup-consumer-before-producer", playConsumerFirst},
		{"sup-units-max-seconds", playUnits},
	})
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

func playDefaults(t *testing.T, c testCase) {
	expect := decode[struct {
		MaxRestarts        int    `json:"max_restarts"`
		MaxSeconds         int    `json:"max_seconds"`
		WorkerShutdownMS   int    `json:"worker_shutdown_ms"`
		SupervisorShutdown string `json:"supervisor_shutdown"`
		Restart            string
	}](t, c.Expect)
	spec := Spec{}.withDefaults()
	if spec.MaxRestarts != expect.MaxRestarts || spec.Within != time.Duration(expect.MaxSeconds)*time.Second {
		t.Errorf("intensity = %d in %v, want %d in %d s", spec.MaxRestarts, spec.Within, expect.MaxRestarts, expect.MaxSeconds)
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

// playCrashes starts a tree and crashes the children that the steps name, in that order. What it expects is in
// several forms; each is checked if the case has it.
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
		name, ok := strings.CutPrefix(step, "crash ")
		if !ok {
			t.Fatalf("unknown step %q", step)
		}
		w.end(name, "boom")
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

// playWindow crashes a twice, some time apart, with a budget of one.
func playWindow(t *testing.T, c testCase) {
	type row struct {
		GapMS      int `json:"gap_ms"`
		Supervisor string
	}
	rows := decode[struct{ Rows []row }](t, c.Expect).Rows
	// Go's clock is precise, so the boundary is: a restart as old as the window is long still counts.
	rows = append(rows, row{1000, "gives_up"}, row{1001, "alive"})
	for _, row := range rows {
		w := newWorld(t)
		s := decode[setup](t, c.Setup)
		s.Children = []childSetup{{ID: "a"}}
		_, r := w.run(s)
		w.end("a", "boom")
		time.Sleep(time.Duration(row.GapMS) * time.Millisecond)
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

func playStartStop(t *testing.T, c testCase) {
	expect := decode[struct{ Start, Stop []caseEvent }](t, c.Expect)
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.expectEvents(expect.Start)
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	w.expectEvents(expect.Stop)
}

// playParentExit cancels the parent's context with a cause of its own: an ordered stop, whatever the cause.
func playParentExit(t *testing.T, c testCase) {
	expect := decode[struct{ Events []caseEvent }](t, c.Expect)
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.take()
	r.stop(errBoom)
	<-r.done
	w.expectEvents(expect.Events)
	if r.err != nil {
		t.Errorf("Run = %v, want nil", r.err)
	}
}

// playStopTimeout stops a supervisor and measures. A goroutine cannot be killed: a child that takes too long is
// abandoned, reported, and not waited for.
func playStopTimeout(t *testing.T, c testCase) {
	expect := decode[struct {
		Cleaned []string `json:"cleanup_completed"`
		Between [2]int   `json:"total_ms_between"`
		Below   int      `json:"total_ms_below"`
		AtLeast int      `json:"total_ms_at_least"`
	}](t, c.Expect)
	w := newWorld(t)
	sup, r := w.run(decode[setup](t, c.Setup))
	begin := time.Now()
	err := r.end()
	total := int(time.Since(begin).Milliseconds())
	if diff := cmp.Diff(expect.Cleaned, w.cleanedSoFar()); diff != "" {
		t.Errorf("cleaned up (-want +got):\n%s", diff)
	}
	switch {
	case expect.Between[1] > 0 && (total < expect.Between[0] || total > expect.Between[1]):
		t.Errorf("total = %d ms, want it in %v", total, expect.Between)
	case expect.Below > 0 && total >= expect.Below:
		t.Errorf("total = %d ms, want less than %d", total, expect.Below)
	case total < expect.AtLeast:
		t.Errorf("total = %d ms, want at least %d", total, expect.AtLeast)
	}
	left := len(decode[setup](t, c.Setup).Children) - len(expect.Cleaned)
	if got := sup.Tree().Abandoned; got != left {
		t.Errorf("abandoned = %d, want %d", got, left)
	}
	abandoned := expect.Between[1] > 0
	if got := errors.Is(err, ErrStopTimeout); got != abandoned {
		t.Errorf("Run = %v, want it to be %v: %t", err, ErrStopTimeout, abandoned)
	}
	time.Sleep(time.Minute) // for what was left behind
	if got := sup.Tree().Abandoned; got != 0 {
		t.Errorf("abandoned = %d in the end, want 0", got)
	}
}

// playNoTrap: there is no process flag that one can forget. A child's clean-up runs whenever it is stopped.
func playNoTrap(t *testing.T, c testCase) {
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.take()
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	w.expectEvents([]caseEvent{event("terminated", "a", "shutdown")})
}

func playDynamicStop(t *testing.T, c testCase) {
	expect := decode[struct {
		Between [2]int `json:"total_ms_between"`
		Cleaned []any
	}](t, c.Expect)
	w := newWorld(t)
	d, err := NewDynamic(DynamicSpec{Name: "dynamic"})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, d)
	for _, s := range decode[setup](t, c.Setup).Children {
		if err := d.Start(w.child(s)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	begin := time.Now()
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	total := int(time.Since(begin).Milliseconds())
	if total < expect.Between[0] || total > expect.Between[1] {
		t.Errorf("total = %d ms, want it in %v", total, expect.Between)
	}
	if got := len(w.cleanedSoFar()); got != len(expect.Cleaned) {
		t.Errorf("cleaned up = %d, want %d", got, len(expect.Cleaned))
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

func playAppended(t *testing.T, c testCase) {
	w := newWorld(t)
	sup, _ := w.run(decode[setup](t, c.Setup))
	if err := sup.StartChild(t.Context(), w.child(childSetup{ID: "z"})); err != nil {
		t.Fatal(err)
	}
	w.take()
	w.end("a", "boom")
	w.expectEvents(decode[struct{ Events []caseEvent }](t, c.Expect).Events)
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

// playAuto ends children one after the other as the expected events tell: an end that is followed by a start was a
// crash. Who ends is significant, unless nothing is; who is only stopped is not.
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

// playScraper crashes a producer whose consumers crash with it. It shows why the tree of a pipeline is rest_for_one.
func playScraper(t *testing.T, c testCase) {
	expect := decode[struct {
		Rows []struct {
			Strategy  string
			Consumers int
			Alive     bool `json:"supervisor_alive"`
		}
	}](t, c.Expect)
	for _, row := range expect.Rows {
		w := newWorld(t)
		s := decode[setup](t, []byte(`{"max_restarts":3,"max_seconds":5}`))
		s.Strategy = row.Strategy
		spec := w.spec("scraper", s)
		var producer chan struct{} // closed when the producer is gone
		crash := make(chan struct{})
		spec.Children = []Child{{Name: "producer", RunReady: func(ctx context.Context, ready func()) error {
			gone := make(chan struct{})
			producer = gone
			defer close(gone)
			ready()
			select {
			case <-crash:
				return errBoom
			case <-ctx.Done():
				return nil
			}
		}}}
		for i := range row.Consumers {
			spec.Children = append(spec.Children, Child{Name: fmt.Sprint("consumer ", i), RunReady: func(ctx context.Context, ready func()) error {
				subscription := producer
				ready()
				select {
				case <-subscription:
					time.Sleep(time.Millisecond) // the news travels to the supervisor first
					return errors.New("producer is gone")
				case <-ctx.Done():
					return nil
				}
			}})
		}
		sup, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		r := start(t, sup)
		crash <- struct{}{}
		time.Sleep(time.Second)
		if got := !r.ended(); got != row.Alive {
			t.Errorf("%s, %d consumers: alive = %t, want %t", row.Strategy, row.Consumers, got, row.Alive)
		}
		_ = r.end()
	}
}

func playConsumerFirst(t *testing.T, c testCase) {
	expect := decode[struct {
		StartError struct {
			Child string `json:"failed_child"`
		} `json:"start_error"`
	}](t, c.Expect)
	errNoProc := errors.New("noproc")
	produces := false
	sup, err := New(Spec{Name: "sup", Children: []Child{
		{Name: expect.StartError.Child, RunReady: func(_ context.Context, ready func()) error {
			if !produces {
				return errNoProc
			}
			ready()
			return nil
		}},
		{Name: "p", Run: func(context.Context) error {
			produces = true
			return nil
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = sup.Run(t.Context())
	failed, ok := errors.AsType[*StartError](err)
	if !ok || failed.Child != expect.StartError.Child || !errors.Is(err, errNoProc) {
		t.Errorf("Run = %v, want %v from %s", err, errNoProc, expect.StartError.Child)
	}
	if produces {
		t.Error("the producer was started after the consumer failed")
	}
}

// playUnits: the window is a time.Duration, so 30 s are 30 s.
func playUnits(t *testing.T, _ testCase) {
	w := newWorld(t)
	spec := w.spec("sup", setup{Children: []childSetup{{ID: "a"}}})
	spec.MaxRestarts, spec.Within = 1, 30*time.Second
	sup, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, sup)
	w.end("a", "boom")
	time.Sleep(31 * time.Second)
	w.end("a", "boom")
	r.expectAlive()
}
