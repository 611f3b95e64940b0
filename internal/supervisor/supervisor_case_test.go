package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What was observed of OTP, and the cases of ours. All are read: their setup, each of their steps, and each
// of what they expect. What is not understood fails.
func TestSupervisorCases(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "supervisor*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of cases, %v", len(files), err)
	}
	for _, file := range files {
		for _, c := range readCases(t, filepath.Base(file)) {
			t.Run(c.ID, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { playSupervisor(t, c) })
			})
		}
	}
}

// A play is one case while it is played.
type play struct {
	*world
	c      testCase
	setup  setup
	row    map[string]json.RawMessage // of a case with rows: the one that is played
	expect map[string]json.RawMessage

	sup     *Supervisor // or
	dynamic *Dynamic
	run     *running // nil before the start
	refused error    // what New has against the setup
	before  Node     // after the start
	initial []caseEvent
	events  []caseEvent // since the start

	deeds   []deed // what the steps came to
	calls   []call
	counted []map[string]int
	outcome []string // of the ends of children
	crashed string   // who ended last
	owned   bool     // it ended with its owner
	took    time.Duration
}

// deed is a step, what happened in it, and whether the supervisor was alive after it.
type deed struct {
	step   string
	events []caseEvent
	alive  bool
}

func playSupervisor(t *testing.T, c testCase) {
	t.Helper()
	t.Cleanup(func() { time.Sleep(time.Minute) }) // for goroutines that a failed case abandoned
	expect := decode[map[string]json.RawMessage](t, c.Expect)
	if expect["go_expect"] != nil {
		expect = decode[map[string]json.RawMessage](t, expect["go_expect"])
	}
	rows := []map[string]json.RawMessage{nil}
	if expect["rows"] != nil {
		rows = decode[[]map[string]json.RawMessage](t, expect["rows"])
		delete(expect, "rows")
	}
	for _, row := range rows {
		p := &play{world: newWorld(t), c: c, row: row, expect: make(map[string]json.RawMessage)}
		for _, part := range []map[string]json.RawMessage{expect, row} {
			maps.Copy(p.expect, part)
		}
		p.describe()
		for _, step := range c.Steps {
			p.do(step)
		}
		p.compare()
		p.leave()
		if t.Failed() {
			t.Fatalf("row %s", row)
		}
	}
}

// describe reads the setup and what the row says of it.
func (p *play) describe() {
	p.t.Helper()
	if err := strictly(p.c.Setup, &p.setup); err != nil {
		p.t.Fatalf("setup %s: %v", p.c.Setup, err)
	}
	if p.setup.Outer != nil {
		p.setup = *p.setup.Outer
	}
	if p.setup.GivenSeconds > 0 {
		p.setup.MaxSeconds = p.setup.GivenSeconds
	}
	if p.setup.Owner != "" && p.setup.Owner != "test process" {
		p.t.Fatalf("unknown owner %q", p.setup.Owner)
	}
	if len(p.setup.Children) == 0 { // those that the steps tell of
		for _, step := range p.c.Steps {
			for _, m := range regexp.MustCompile(`\b(?:crash|kill|end) (\w+)`).FindAllStringSubmatch(step, -1) {
				if !slices.ContainsFunc(p.setup.Children, func(c childSetup) bool { return c.ID == m[1] }) {
					p.setup.Children = append(p.setup.Children, childSetup{ID: m[1]})
				}
			}
		}
	}
	for key := range p.row {
		if set := variables[key]; set != nil {
			set(p, p.row[key])
			delete(p.expect, key)
		}
	}
}

// variables are what a row may say of its setup, or of the steps. All else that it says is expected.
var variables = map[string]func(p *play, value json.RawMessage){
	"reason":       func(*play, json.RawMessage) {}, // of the end that the steps tell of
	"gap_ms":       func(*play, json.RawMessage) {}, // to wait
	"strategy":     func(p *play, v json.RawMessage) { p.setup.Strategy = decode[string](p.t, v) },
	"max_restarts": func(p *play, v json.RawMessage) { p.setup.MaxRestarts = decode[*int](p.t, v) },
	"outer_max":    func(p *play, v json.RawMessage) { p.setup.MaxRestarts = decode[*int](p.t, v) },
	"max_seconds":  func(p *play, v json.RawMessage) { p.setup.MaxSeconds = decode[float64](p.t, v) },
	"inner_max": func(p *play, v json.RawMessage) {
		for i := range p.setup.Children {
			if p.setup.Children[i].Type == "supervisor" {
				p.setup.Children[i].MaxRestarts = decode[*int](p.t, v)
			}
		}
	},
	"consumers": func(p *play, v json.RawMessage) {
		i := slices.IndexFunc(p.setup.Children, func(c childSetup) bool { return c.ID == "consumer 1..N" })
		if i < 0 {
			p.t.Fatalf("there are no consumers in %s", p.c.Setup)
		}
		p.setup.Children = p.setup.Children[:i]
		for n := range decode[int](p.t, v) {
			p.setup.Children = append(p.setup.Children, childSetup{ID: fmt.Sprint("consumer ", n+1)})
		}
	},
}

// begin starts the tree, unless that is done.
func (p *play) begin() {
	p.t.Helper()
	if p.run != nil || p.refused != nil {
		return
	}
	switch p.setup.Kind {
	case "":
		if p.sup, p.refused = New(p.spec("sup", p.setup)); p.refused != nil {
			return
		}
		p.run = start(p.t, p.sup)
	case "dynamic":
		spec := p.spec("sup", p.setup)
		p.dynamic, p.refused = NewDynamic(DynamicSpec{
			Name: spec.Name, MaxRestarts: spec.MaxRestarts, Within: spec.Within, MaxChildren: p.setup.MaxChildren,
		})
		if p.refused != nil {
			return
		}
		p.run = start(p.t, p.dynamic)
		for _, c := range spec.Children {
			if err := p.dynamic.StartReady(p.t.Context(), c); err != nil {
				p.t.Fatal(err)
			}
		}
	default:
		p.t.Fatalf("unknown kind %q", p.setup.Kind)
	}
	p.initial = p.take()
	p.before = p.tree()
}

// tree is what there is now.
func (p *play) tree() Node {
	switch {
	case p.dynamic != nil:
		return p.dynamic.Tree()
	case p.sup != nil:
		return p.sup.Tree()
	}
	return Node{}
}

// leave ends the tree and what was left behind.
func (p *play) leave() {
	p.t.Helper()
	if p.run == nil {
		return
	}
	alive := !p.run.ended()
	if err := p.run.end(); err != nil && alive && !errors.Is(err, ErrStopTimeout) {
		p.t.Errorf("Run = %v, want nil", err)
	}
	time.Sleep(time.Minute) // for goroutines that were abandoned
	synctest.Wait()
	if n := p.tree().Abandoned; n != 0 {
		p.t.Errorf("%d goroutines are still abandoned", n)
	}
	p.run, p.sup, p.dynamic = nil, nil, nil
}

// alive reports whether the tree has been started and has not ended.
func (p *play) alive() bool { return p.run != nil && !p.run.ended() }

// state is how the supervisor is: alive, or the reason of its end in OTP's words.
func (p *play) state() string {
	switch {
	case p.run == nil:
		return "not started"
	case !p.run.ended():
		return "alive"
	case p.run.err == nil:
		return "normal"
	case errors.Is(p.run.err, ErrShutdown):
		return "shutdown"
	}
	return p.run.err.Error()
}

// child returns the state of a child: running, undefined, which is known but does not run, or removed.
func (p *play) child(name string) string {
	switch c := childNamed(p.tree(), name); {
	case c == nil:
		return "removed"
	case c.State == StateRunning:
		return "running"
	case c.State == StateRestarting:
		return "restarting"
	}
	return "undefined"
}

// words are those of a result, as one text: ["error", ["already_started", true]] is "error already_started".
func words(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var all []string
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, each := range v {
				add(each)
			}
		case bool: // whether there is a pid
		case nil:
			all = append(all, "nil")
		default:
			all = append(all, fmt.Sprint(v))
		}
	}
	add(decode[any](t, raw))
	return strings.Join(all, " ")
}
