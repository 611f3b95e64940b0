package console

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// start is when the clock of these tests begins.
var start = time.Date(2026, 11, 29, 14, 2, 9, 0, time.UTC)

// rows are a list of jobs, of which the second cannot be retried.
func rows() *Page {
	into := func(name string) *Screen { return &Screen{Kind: Job, Of: name} }
	return &Page{
		Where: "prod @ nats-1", Columns: []Column{{Title: "JOB"}, {Title: "ATTEMPT", Right: true}}, Command: "millhand list", Empty: "no job matches", More: true,
		Rows: []Row{
			{Name: "q/t/a", Cells: []Cell{{Text: "a"}, {Text: "10"}}, Into: into("q/t/a"), Why: "q/t/a", Can: []Op{Retry, Delete}},
			{Name: "q/t/b", Cells: []Cell{{Text: "b"}, {Text: "9"}}, Into: into("q/t/b"), Why: "q/t/b", Can: []Op{Cancel}},
			{Name: "q/t/c", Cells: []Cell{{Text: "c"}, {Text: "1,000"}}, Into: into("q/t/c"), Can: []Op{Retry, Delete}},
		},
	}
}

// words refuse every filter with "bad" in it. It is no source: nothing is loaded in a test of the state.
type words struct{ Source }

func (words) Check(s Screen) error {
	if strings.Contains(s.Filter, "bad") {
		return errors.New("unknown key bad")
	}
	return nil
}

// at is a console that shows a page, as of start.
func at(t *testing.T, p *Page) *model {
	t.Helper()
	m := newModel(words{}, false, start)
	effects := m.step(sizeMsg{80, 24})
	if len(effects) != 1 {
		t.Fatalf("a console that can be seen loads %v", effects)
	}
	m.step(loadedMsg{seq: m.seq, page: p})
	return m
}

// press returns what the last of the keys wants done.
func press(m *model, keys ...string) (effects []effect) {
	for _, k := range keys {
		msg := keyMsg{name: k}
		if len([]rune(k)) == 1 {
			msg.text = k
		}
		effects = m.step(msg)
	}
	return effects
}

func TestKeys(t *testing.T) {
	t.Parallel()
	load := func(s Screen) string { return fmt.Sprintf("load %d %q %q %d", s.Kind, s.Of, s.Filter, s.Pages) }
	for _, tt := range []struct {
		keys []string
		want string // what the last key wants done
	}{
		{[]string{"q"}, "quit"},
		{[]string{"ctrl+c"}, "quit"},
		{[]string{"?", "q"}, ""}, // any key only leaves the help
		{[]string{"4"}, load(Screen{Kind: Jobs})},
		{[]string{"8"}, load(Screen{Kind: Events})},
		{[]string{"tab"}, load(Screen{Kind: Queues})},
		{[]string{"shift+tab"}, load(Screen{Kind: Events})},
		{[]string{"enter"}, load(Screen{Kind: Job, Of: "q/t/a"})},
		{[]string{"j", "l"}, load(Screen{Kind: Job, Of: "q/t/b"})},
		{[]string{"G", "enter"}, load(Screen{Kind: Job, Of: "q/t/c"})},
		{[]string{"G", "up", "up", "up", "enter"}, load(Screen{Kind: Job, Of: "q/t/a"})},
		{[]string{"enter", "esc"}, load(Screen{})},
		{[]string{"esc"}, ""},
		{[]string{"w"}, load(Screen{Kind: Why, Of: "q/t/a"})},
		{[]string{"G", "w"}, ""},
		{[]string{"e"}, load(Screen{Kind: Events, Filter: "queue:q type:t id:a"})},
		{[]string{"G", "e"}, ""},
		{[]string{"pgdown"}, ""},
		{[]string{"pgdown", "pgdown"}, load(Screen{Pages: 2})},
		{[]string{"r"}, load(Screen{})},
		{[]string{"p"}, ""},
		{[]string{"p", "p"}, load(Screen{})},
		{[]string{"/", "a", "b", "backspace", "enter"}, load(Screen{Filter: "a"})},
		{[]string{"/", "a", "esc"}, ""},
		{[]string{"/", "b", "a", "d", "enter"}, ""},
		{[]string{"/", "b", "a", "d", "enter", "ctrl+u", "c", "enter"}, load(Screen{Filter: "c"})},
		{[]string{"/", "a", "enter", "esc"}, load(Screen{})},
		{[]string{"y"}, "copy q/t/a"},
		{[]string{"o"}, ""},
		{[]string{"R"}, "plan R q/t/a"},
		{[]string{"C"}, ""}, // the first row cannot be cancelled
		{[]string{"down", "C"}, "plan C q/t/b"},
		{[]string{"a", "R"}, "plan R q/t/a q/t/c"}, // the second row is none that can be retried
		{[]string{"a", "a", "R"}, "plan R q/t/a"},
		{[]string{"G", "x", "g", "D"}, "plan D q/t/c"},
		{[]string{"x", "esc", "G", "D"}, "plan D q/t/c"},
		{[]string{"P"}, ""},
		{[]string{"Z"}, ""},
		{[]string{"s", "s", "enter"}, load(Screen{Kind: Job, Of: "q/t/a"})}, // sorted, and still at the same row
		{[]string{"s", "s", "S", "g", "enter"}, load(Screen{Kind: Job, Of: "q/t/c"})},
	} {
		m := at(t, rows())
		if got := told(press(m, tt.keys...)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.keys, got, tt.want)
		}
	}
}

// told is an effect in words.
func told(effects []effect) string {
	var out []string
	for _, e := range effects {
		switch e := e.(type) {
		case loadEffect:
			out = append(out, fmt.Sprintf("load %d %q %q %d", e.screen.Kind, e.screen.Of, e.screen.Filter, e.screen.Pages))
		case planEffect:
			text := "plan " + string(e.operation.Op) + " " + strings.Join(e.operation.Names, " ")
			if e.operation.Value != nil {
				text += " = " + *e.operation.Value
			}
			out = append(out, text)
		case actEffect:
			out = append(out, "act "+e.plan.Title)
		case copyEffect:
			out = append(out, "copy "+e.text)
		case stopEffect:
			out = append(out, "stop")
		case quitEffect:
			out = append(out, "quit")
		}
	}
	return strings.Join(out, ", ")
}

// Nothing is done that was not chosen: the first choice is No, and above a number that is typed.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typ  string // that has to be typed
		keys []string
		want string
	}{
		{"", []string{"enter"}, ""},
		{"", []string{"y"}, "act it"},
		{"", []string{"n"}, ""},
		{"", []string{"esc"}, ""},
		{"", []string{"right", "enter"}, "act it"},
		{"", []string{"right", "left", "enter"}, ""},
		{"", []string{"R"}, ""},
		{"101", []string{"y"}, ""},
		{"101", []string{"enter"}, ""},
		{"101", []string{"right", "enter"}, ""},
		{"101", []string{"1", "0", "enter"}, ""},
		{"101", []string{"1", "0", "1", "enter"}, "act it"},
		{"101", []string{"1", "0", "1", "1", "backspace", "enter"}, "act it"},
		{"101", []string{"1", "0", "1", "esc"}, ""},
	} {
		m := at(t, rows())
		press(m, "R")
		m.step(plannedMsg{plan: &Plan{Title: "it", Do: "retry", Type: tt.typ}})
		if got := told(press(m, tt.keys...)); got != tt.want {
			t.Errorf("%q, %v: %q, want %q", tt.typ, tt.keys, got, tt.want)
		}
	}
}

// A plan may need a value first, and is made anew with it. While an operation is under way there is no other.
func TestOperation(t *testing.T) {
	t.Parallel()
	m := at(t, rows())
	press(m, "x", "R")
	m.step(plannedMsg{operation: Operation{Op: Retry, Names: []string{"q/t/a"}}, plan: &Plan{Prompt: "how many?", Value: "5"}})
	if got := told(press(m, "backspace", "7", "enter")); got != "plan R q/t/a = 7" {
		t.Errorf("with a value: %q", got)
	}
	m.step(plannedMsg{plan: &Plan{Title: "it", Do: "retry"}})
	press(m, "y")
	if len(m.top().marks) > 0 {
		t.Error("the marks are there still")
	}
	m.step(toldMsg{"retry: 2 of 3"})
	if text := m.drawn(); !strings.Contains(text, "retry: 2 of 3; esc stops it") {
		t.Errorf("how far it has come is not said:\n%s", text)
	}
	for key, want := range map[string]string{"R": "", "q": "", "esc": "stop", "ctrl+c": "quit"} {
		if got := told(press(m, key)); got != want {
			t.Errorf("%s meanwhile: %q, want %q", key, got, want)
		}
	}
	if got := told(m.step(actedMsg{text: "retried"})); !strings.HasPrefix(got, "load") {
		t.Errorf("once it is done: %q, want it seen", got)
	}
	if text := m.drawn(); !strings.Contains(text, "retried") {
		t.Errorf("what was done is not said:\n%s", text)
	}
	m.step(plannedMsg{err: errors.New("the user may not publish")})
	if text := m.drawn(); !strings.Contains(text, "the user may not publish") {
		t.Errorf("why not is not said:\n%s", text)
	}
}

// A screen is loaded when it is due, one load at a time, and not while nothing of it can be seen.
func TestRefresh(t *testing.T) {
	t.Parallel()
	tick := func(m *model, seconds int) string {
		return told(m.step(tickMsg{m.now.Add(time.Duration(seconds) * time.Second)}))
	}
	m := at(t, rows())
	if got := tick(m, 1); got != "" {
		t.Errorf("after 1 s: %q", got)
	}
	if got := tick(m, 1); got == "" {
		t.Error("after 2 s nothing is loaded")
	}
	if got := tick(m, 9); got != "" {
		t.Errorf("while one is under way: %q", got)
	}
	m.step(loadedMsg{seq: m.seq, page: rows()})
	press(m, "?")
	if got := tick(m, 9); got != "" {
		t.Errorf("behind the help: %q", got)
	}
	if got := told(press(m, "?")); got == "" {
		t.Error("what was not seen is not loaded at once")
	}
	m.step(loadedMsg{seq: m.seq, page: rows()})
	m.step(sizeMsg{10, 3})
	if got := tick(m, 9); got != "" {
		t.Errorf("on a terminal of 10 by 3: %q", got)
	}
	if got := told(m.step(sizeMsg{80, 24})); got == "" {
		t.Error("after it has grown nothing is loaded")
	}
	m.step(loadedMsg{seq: m.seq - 1, page: &Page{Where: "of another screen"}})
	if m.where != "prod @ nats-1" {
		t.Error("an answer to an earlier question was taken over")
	}
}

// What is pointed at and marked stays so when rows come and go.
func TestRowsMove(t *testing.T) {
	t.Parallel()
	m := at(t, rows())
	press(m, "down", "x")
	more := rows()
	more.Rows = slices.Insert(more.Rows, 0, Row{Name: "q/t/0", Cells: []Cell{{Text: "0"}, {Text: "1"}}})
	refresh := func(p *Page) {
		press(m, "r")
		m.step(loadedMsg{seq: m.seq, page: p})
	}
	refresh(more)
	if got := m.top().name(); got != "q/t/c" || !m.top().marks["q/t/b"] {
		t.Errorf("at %s, marks %v", got, m.top().marks)
	}
	gone := rows()
	gone.Rows = gone.Rows[:1]
	refresh(gone)
	if got := m.top().name(); got != "q/t/a" || len(m.top().marks) > 0 {
		t.Errorf("at %s, marks %v: what is gone cannot be acted on", got, m.top().marks)
	}
}

// While nobody answers what was seen stays, and is said to be old; nothing is done on the strength of it.
func TestBrokerIsGone(t *testing.T) {
	t.Parallel()
	m := at(t, rows())
	m.step(tickMsg{start.Add(12 * time.Second)})
	m.step(loadedMsg{seq: m.seq, err: fmt.Errorf("%w: timeout", ErrNoBroker)})
	if text := m.drawn(); !strings.Contains(text, "○ no answer for 12s, data of 14:02:09") || !strings.Contains(text, "1,000") {
		t.Errorf("it is not said since when there is no answer:\n%s", text)
	}
	if got := told(press(m, "R")); got != "" {
		t.Errorf("an operation on what is old: %q", got)
	}
	m.step(tickMsg{start.Add(15 * time.Second)})
	m.step(loadedMsg{seq: m.seq, page: rows()})
	if text := m.drawn(); !strings.Contains(text, "14:02:24 ● live") {
		t.Errorf("it is not live again:\n%s", text)
	}
	m.step(tickMsg{start.Add(18 * time.Second)})
	m.step(loadedMsg{seq: m.seq, err: errors.New("the user may not subscribe to x")})
	if text := m.drawn(); !strings.Contains(text, " ! the user may not subscribe to x") || !strings.Contains(text, "1,000") {
		t.Errorf("an error is not said above what there was:\n%s", text)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	sorted := []string{"", "-", "a", "b", "9ms", "2.6 %", "≈10", "16/128", "20s", "1m 5s", "1,204", "3d 2h", "10d"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got, want := compare(a, b), i-j; got*want < 0 || (got == 0) != (want == 0) {
				t.Errorf("compare(%q, %q) = %d", a, b, got)
			}
		}
	}
}
