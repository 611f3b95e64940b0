package console

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// view is what is to be seen: as many lines as the terminal has.
func (m *model) view() []Line {
	if m.width < leastWidth || m.height < leastHeight {
		return []Line{Text("too small").fit(max(m.width, 1))}
	}
	lines := m.frame()
	if m.help {
		lines = append(lines, m.helpText()...)
	} else {
		lines = append(lines, m.above()...)
		lines = append(lines, m.body(m.room())...)
	}
	foot := m.foot()
	lines = lines[:min(len(lines), m.height-len(foot))]
	for len(lines) < m.height-len(foot) {
		lines = append(lines, nil)
	}
	lines = append(lines, foot...)
	for i := range lines {
		lines[i] = lines[i].fit(m.width)
	}
	return lines
}

// drawn is the view as a terminal takes it.
func (m *model) drawn() string {
	var b strings.Builder
	for i, l := range m.view() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l.draw(m.colors))
	}
	return b.String()
}

// Draw returns a page as it is seen on a terminal of a size.
func Draw(s Screen, p *Page, width, height int, colors bool) string {
	m := newModel(nil, colors, p.At)
	m.width, m.height = width, height
	m.stack = []*shown{{screen: s, page: p}}
	if s.Kind >= tabs {
		m.stack = append([]*shown{{}}, m.stack...)
	}
	m.where = p.Where
	return m.drawn()
}

// frame is what is at the head of all screens.
func (m *model) frame() []Line {
	state := m.state()
	where := Line{{" Millhand  ", Bold}, {Text: m.where}}.fit(m.width - state.width() - 2)
	top := append(where.padded(m.width-state.width()-1), state...)
	tab := int(m.stack[0].screen.Kind)
	var names Line
	for i, name := range tabNames() {
		label := fmt.Sprintf("%d %s", i+1, name)
		if i != tab && m.width < wideTabs {
			label = strconv.Itoa(i + 1)
		}
		if i == tab {
			names = append(names, Cell{"[" + label + "]", Bold})
		} else {
			names = append(names, Cell{" " + label + " ", Normal})
		}
	}
	return []Line{top, names, m.rule()}
}

// wideTabs is the width on which all tabs have room with their names.
const wideTabs = 78

func tabNames() []string {
	return []string{"Overview", "Queues", "Types", "Jobs", "Dead", "Workers", "Limits", "Events"}
}

func (m *model) rule() Line { return Line{{strings.Repeat("─", m.width), Faint}} }

// state is whether what is seen is of now, and if not since when.
func (m *model) state() Line {
	s := m.top()
	clock := m.now.Format(time.TimeOnly)
	switch {
	case s.lost() && s.page == nil:
		return Line{{"○ no answer", Red}}
	case s.lost():
		return Line{{fmt.Sprintf("○ no answer for %s, data of %s", m.now.Sub(s.at).Truncate(time.Second), s.at.Format(time.TimeOnly)), Red}}
	case m.held && !s.at.IsZero():
		return Line{{"‖ held, data of " + s.at.Format(time.TimeOnly), Yellow}}
	case s.page == nil:
		return Line{{clock + " …", Normal}}
	}
	return Line{{clock + " ", Normal}, {"●", Green}, {" live", Normal}}
}

// leastBelow is how many lines a terminal has for all but what stands above a table, so that rows have room on
// one that is low.
const leastBelow = 12

// above is what stands above a table: what it is of, and what is wrong.
func (m *model) above() (lines []Line) {
	s := m.top()
	if title := m.title(); title != nil {
		lines = append(lines, title)
	}
	if s.err != nil && !s.lost() {
		lines = append(lines, Line{{" ! " + s.err.Error(), Red}})
	}
	if s.page == nil {
		return lines
	}
	head := s.page.Head
	if len(s.page.Rows) > 0 { // which are what keys are about
		head = head[:min(len(head), max(m.height-leastBelow, 0))]
	}
	for _, l := range head {
		if s.err != nil {
			l = l.in(Faint)
		}
		lines = append(lines, l)
	}
	return lines
}

// title is what a screen is about: its name, the filter, and what of it is seen.
func (m *model) title() Line {
	s := m.top()
	var parts Line
	if s.page != nil && s.page.Title != "" {
		parts = append(parts, Cell{" " + s.page.Title, Bold})
	}
	if s.screen.Filter != "" {
		parts = append(parts, Cell{" filter: ", Faint}, Cell{s.screen.Filter, Bold})
	}
	note := ""
	if s.page != nil {
		note = s.page.Note
	}
	if len(parts) == 0 && note == "" {
		return nil
	}
	n := Line{{note, Faint}}
	if parts.width()+n.width()+3 > m.width { // what is meant matters more
		return append(parts.fit(max(m.width-n.width()-3, m.width/2)), Cell{"  " + note, Faint})
	}
	return append(parts.padded(m.width-n.width()-1), n...)
}

// room is how many rows of a table, or lines of a text, have room.
func (m *model) room() int {
	n := m.height - len(m.frame()) - len(m.above()) - len(m.foot())
	if p := m.top().page; p != nil && len(p.Columns) > 0 && len(p.Lines) == 0 {
		n-- // the titles
	}
	return max(n, 1)
}

// body is the table or the text.
func (m *model) body(room int) (lines []Line) {
	s := m.top()
	p := s.page
	switch {
	case p == nil && s.err != nil:
		return []Line{Text("   what there is, is not known yet")}
	case p == nil:
		return []Line{Text("   …")}
	case len(p.Lines) > 0:
		lines := p.columns(m.width)
		s.row = max(0, min(s.row, len(lines)-room))
		return lines[s.row:min(s.row+room, len(lines))]
	case len(p.Rows) == 0:
		return []Line{Text("   " + p.Empty)}
	}
	s.scroll(room)
	l := p.layOut(m.width)
	lines = append(lines, s.heading(l))
	for i := s.top; i < min(s.top+room, len(p.Rows)); i++ {
		line := s.line(i, l)
		switch {
		case s.err != nil:
			line = line.in(Faint)
		case i == s.row:
			line = line.padded(m.width).in(Chosen)
		}
		lines = append(lines, line)
	}
	return lines
}

// scroll has the row that is pointed at among those that are seen.
func (s *shown) scroll(room int) {
	s.top = max(0, min(s.top, len(s.page.Rows)-room))
	s.top = max(min(s.top, s.row), s.row-room+1)
}

// foot is what is said or asked, and the keys.
func (m *model) foot() []Line {
	switch {
	case m.help:
		return []Line{m.rule(), {{" any key goes back", Faint}}}
	case m.asking != nil:
		return m.asking.lines(m.width)
	case m.typing != nil:
		t := m.typing
		lines := []Line{m.rule()}
		if t.err != "" {
			lines = append(lines, Line{{" " + t.err, Red}})
		}
		return append(lines, Line{{" " + t.prompt, Bold}, {Text: t.text}, {"_", Chosen}}, Line{{" ⏎ go on  esc leave it", Faint}})
	}
	lines := []Line{m.rule()}
	switch s := m.top(); {
	case m.notice != nil:
		lines = append(lines, append(Line{{Text: " "}}, m.notice...))
	case s.page != nil && s.page.detailed(): // there is room for it, so that the table does not jump
		lines = append(lines, Text(" "+s.detail()))
	}
	return append(lines, m.keys())
}

// detail is what else is to be known of the row that is pointed at.
func (s *shown) detail() string {
	if r := s.current(); r != nil {
		return r.Detail
	}
	return ""
}

// detailed reports whether there is more to be known of any row.
func (p *Page) detailed() bool {
	return slices.ContainsFunc(p.Rows, func(r Row) bool { return r.Detail != "" })
}

// lines are a plan that is asked about.
func (a *asking) lines(width int) []Line {
	title := "── " + a.plan.Title + " "
	lines := []Line{append(Line{{title, Bold}}, Cell{strings.Repeat("─", max(width-len([]rune(title)), 0)), Faint})}
	for _, text := range a.plan.Lines {
		lines = append(lines, wrapped([]Line{Text("   " + text)}, width)...)
	}
	if a.plan.Type != "" {
		return append(lines, Line{{"   type " + a.plan.Type + " to go on: ", Bold}, {Text: a.typed}, {"_", Chosen}}, Line{{"   ⏎ go on  esc leave it", Faint}})
	}
	no, yes := Cell{"[No]", Chosen}, Cell{" " + a.plan.Do + " ", Normal}
	if a.yes {
		no, yes = Cell{" No ", Normal}, Cell{"[" + a.plan.Do + "]", Chosen}
	}
	return append(lines, Line{{Text: "   "}, no, {Text: "  "}, yes}, Line{{"   ←→ choose  ⏎ go on  y yes  esc leave it", Faint}})
}

// keys are those that do something here, as many as have room.
func (m *model) keys() Line {
	s := m.top()
	var keys []string
	if s.all {
		keys = append(keys, "all that match")
	}
	if n := len(s.marks); n > 0 {
		keys = append(keys, fmt.Sprintf("%d marked", n))
	}
	var can []Op
	if p := s.page; p != nil {
		why, into := p.Why != "", false
		can = p.Can
		if r := s.current(); r != nil {
			why, into, can = r.Why != "", r.Into != nil, r.Can
		}
		if s.all {
			can = p.All
		}
		if into {
			keys = append(keys, "⏎ open")
		}
		if why {
			keys = append(keys, "w why")
		}
		if len(p.Rows) > 0 && len(can) > 0 {
			keys = append(keys, "x mark")
		}
		for _, o := range can {
			keys = append(keys, string(o)+" "+o.word())
		}
		if p.More {
			keys = append(keys, "PgDn more")
		}
	}
	keys = append(keys, "/ filter")
	last := "? help  q quit"
	if len(m.stack) > 1 {
		last = "esc back  " + last
	}
	text := " "
	for _, k := range keys {
		if len([]rune(text+k+last))+2 > m.width {
			break
		}
		text += k + "  "
	}
	return Line{{text + last, Faint}}
}

func (m *model) helpText() (lines []Line) {
	for _, l := range []string{
		"", " 1-8, Tab        tabs                   /    filter; Esc clears it",
		" ↑↓ j k          rows                   s S  sort by next column; reverse",
		" PgUp PgDn g G   pages, first, last     x a  mark the row, all rows",
		" Enter l, Esc h  into, back             w    what it waits for",
		" r p             load now, hold         e    events, or errors",
		" v               workers by version     A    all that match, shown or not",
		" + -             less often, more       o    the command that does it",
		" q               quit                   y    copy the name",
		"", " Capital letters change something, and ask before they do:", "",
		" R  retry dead jobs                     P  pause or resume, a queue or type",
		" N  start jobs now that wait            L  change a limit",
		" C  cancel jobs                         Q  drain a worker, or end that",
		" D  delete dead jobs",
		"", " It is about the marked rows, or else about the one that is pointed at.", " No is chosen first; above 100 jobs their number has to be typed.",
		"", fmt.Sprintf(" Screens are loaded every %s, and not while nothing of them is seen.", m.every),
	} {
		lines = append(lines, Text(l))
	}
	return slices.Clip(lines)
}
