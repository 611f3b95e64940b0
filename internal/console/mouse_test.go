package console

import (
	"slices"
	"strings"
	"testing"
)

func TestClicks(t *testing.T) {
	t.Parallel()
	m := at(t, rows())
	line := func(text string) int {
		for y, l := range m.view() {
			if strings.Contains(l.draw(false), text) {
				return y
			}
		}
		t.Fatalf("no line has %q", text)
		return 0
	}
	if m.step(clickMsg{5, line("1,000")}); m.top().name() != "q/t/c" {
		t.Errorf("a click on the third row points at %s", m.top().name())
	}
	effects := m.step(clickMsg{5, line("1,000")})
	if load, ok := effects[0].(loadEffect); !ok || load.screen.Kind != Job || load.screen.Of != "q/t/c" {
		t.Errorf("another click there does %+v, want that it opens the job", effects)
	}
	m.back()
	dead := strings.Index(m.view()[tabLine].draw(false), "5 Dead")
	if m.step(clickMsg{dead, tabLine}); m.top().screen.Kind != Dead {
		t.Errorf("a click on the tab of dead jobs leads to %v", m.top().screen)
	}
	for _, c := range []clickMsg{{0, 0}, {79, tabLine}, {5, 23}, {5, 400}} {
		if effects := m.step(c); effects != nil {
			t.Errorf("a click at %v, where there is nothing, does %v", c, effects)
		}
	}
}

// Capital letters are about rows, or about all that the filter means once that was said.
func TestAllThatMatch(t *testing.T) {
	t.Parallel()
	p := rows()
	p.All = []Op{Retry, Cancel}
	m := at(t, p)
	m.top().screen.Filter = "state:dead"
	press(m, "A")
	if view := m.drawn(); !strings.Contains(view, "all that match") || !strings.Contains(view, "R retry  C cancel") {
		t.Errorf("it is not said what operations are about:\n%s", view)
	}
	effects := press(m, "R")
	if plan, ok := effects[0].(planEffect); !ok || !plan.operation.All || plan.operation.Names != nil || plan.operation.Screen.Filter != "state:dead" {
		t.Errorf("R asks for %+v", effects)
	}
	if effects := press(m, "D"); effects != nil {
		t.Errorf("what cannot be done to all asks for %v", effects)
	}
	press(m, "esc")
	if effects := press(m, "R"); effects[0].(planEffect).operation.All || !slices.Equal(effects[0].(planEffect).operation.Names, []string{"q/t/a"}) {
		t.Errorf("after Esc, R asks for %+v", effects)
	}
	if m = at(t, rows()); press(m, "A") != nil || m.top().all {
		t.Error("where operations are about rows alone, A has them be about all")
	}
}

func TestSortByVersion(t *testing.T) {
	t.Parallel()
	m := at(t, &Page{Columns: []Column{{Title: "WORKER"}, {Title: "VERSION"}}, Rows: []Row{
		{Name: "a", Cells: []Cell{{Text: "a"}, {Text: "v1.3.0"}}}, {Name: "b", Cells: []Cell{{Text: "b"}, {Text: "v1.2.0"}}}, {Name: "c", Cells: []Cell{{Text: "c"}, {Text: "v1.3.0"}}},
	}})
	press(m, "v")
	if got := m.top().page.Rows; got[0].Name != "b" || got[1].Name != "a" {
		t.Errorf("by version: %v", got)
	}
	if m = at(t, rows()); press(m, "v") != nil || m.top().sort != 0 {
		t.Error("a page without versions is sorted by them")
	}
}

// On a wide terminal two texts are beside each other, on a narrow one below.
func TestTwoColumns(t *testing.T) {
	t.Parallel()
	p := &Page{Lines: []Line{Text("left 1"), Text("left 2")}, Side: []Line{Text("right 1"), Text(strings.Repeat("w ", 60)), Text("right 3")}}
	wide := p.columns(120)
	for i, want := range []string{"left 1", "left 2"} {
		if text := wide[i].draw(false); !strings.HasPrefix(text, want) || strings.Index(text, "│") < 50 || wide[i].width() > 120 {
			t.Errorf("line %d: %q", i, text)
		}
	}
	if text := wide[0].draw(false); !strings.HasSuffix(text, "│ right 1") {
		t.Errorf("the first line is %q", text)
	}
	narrow := p.columns(80)
	if narrow[0].draw(false) != "left 1" || narrow[3].draw(false) != "right 1" {
		t.Errorf("on a narrow terminal: %v", narrow)
	}
}
