package console

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// key does what a key does.
func (m *model) key(k keyMsg) []effect {
	switch {
	case k.name == "ctrl+c":
		return []effect{quitEffect{}}
	case m.acts && k.name == "esc":
		return []effect{stopEffect{}}
	case m.acts && k.name == "q":
		m.say("an operation is under way; esc stops it", Yellow)
		return nil
	case m.help:
		m.help = false
		return m.refresh(false)
	case m.asking != nil:
		return m.answer(k)
	case m.typing != nil:
		return m.typed(k)
	}
	if effects, ok := m.move(k.name); ok {
		return effects
	}
	if effects, ok := m.navigate(k.name); ok {
		return effects
	}
	return m.command(k.name)
}

// move points at another row.
func (m *model) move(key string) ([]effect, bool) {
	s, page := m.top(), m.room()
	last := s.last()
	switch key {
	case "up", "k":
		s.row--
	case "down", "j":
		s.row++
	case "pgup", "ctrl+b":
		s.row -= page
	case "pgdown", "ctrl+f", "space":
		if s.row == last && s.page != nil && s.page.More {
			s.screen.Pages = max(s.screen.Pages, 1) + 1
			return m.refresh(true), true
		}
		s.row += page
	case "home", "g":
		s.row = 0
	case "end", "G":
		s.row = last
	default:
		return nil, false
	}
	s.row = max(0, min(s.row, last))
	s.moved = key != "home" && key != "g"
	return nil, true
}

// last is the last row, or the last line of a text that can be at the top.
func (s *shown) last() int {
	switch {
	case s.page == nil:
		return 0
	case len(s.page.Lines) > 0:
		return len(s.page.Lines) - 1
	}
	return max(len(s.page.Rows)-1, 0)
}

// navigate goes to another screen.
func (m *model) navigate(key string) ([]effect, bool) {
	s := m.top()
	tab := int(m.stack[0].screen.Kind)
	switch key {
	case "1", "2", "3", "4", "5", "6", "7", "8":
		return m.open(Screen{Kind: Kind(key[0] - '1')}, true), true
	case "tab":
		return m.open(Screen{Kind: Kind((tab + 1) % tabs)}, true), true
	case "shift+tab":
		return m.open(Screen{Kind: Kind((tab + tabs - 1) % tabs)}, true), true
	case "enter", "l", "right":
		if r := s.current(); r != nil && r.Into != nil {
			return m.open(*r.Into, false), true
		}
		return nil, true
	case "esc", "h", "left", "backspace":
		switch {
		case len(s.marks) > 0 || s.all:
			s.marks, s.all = nil, false
		case s.screen.Filter != "" && len(m.stack) == 1:
			s.screen.Filter, s.screen.Pages = "", 0
			return m.refresh(true), true
		default:
			return m.back(), true
		}
		return nil, true
	case "w":
		if s.page == nil {
			return nil, true
		}
		of := s.page.Why
		if r := s.current(); r != nil {
			of = r.Why
		}
		if of == "" {
			m.say("nothing waits here", Yellow)
			return nil, true
		}
		return m.open(Screen{Kind: Why, Of: of}, false), true
	case "e":
		if s.page == nil {
			return nil, true
		}
		if of, ok := s.page.ends(s.current()); ok {
			return m.open(of, false), true
		}
		return nil, true
	}
	return nil, false
}

// ends is where it is told how what is pointed at ended: of a job its events, of a queue or a type the errors
// that its jobs died of. It is false where there is no such thing.
func (p *Page) ends(r *Row) (s Screen, ok bool) {
	of := p.Why
	if r != nil {
		of = r.Why
	}
	queue, rest, ok := strings.Cut(of, "/")
	if !ok {
		return s, false
	}
	s = Screen{Kind: Dead, Filter: "queue:" + queue}
	typ, id, _ := strings.Cut(rest, "/")
	if typ != "" {
		s.Filter += " type:" + typ
	}
	if id != "" {
		s.Kind, s.Filter = Events, s.Filter+" id:"+id
	}
	return s, true
}

// command is what the rest of the keys do.
func (m *model) command(key string) []effect {
	s := m.top()
	switch key {
	case "q":
		return []effect{quitEffect{}}
	case "?":
		m.help = true
	case "r":
		return m.refresh(true)
	case "p":
		if m.held = !m.held; m.held {
			m.say("updates are held; p goes on", Yellow)
			return nil
		}
		m.notice = nil
		return m.refresh(true)
	case "+":
		m.pace(m.every + time.Second)
	case "-":
		m.pace(m.every - time.Second)
	case "/":
		m.typing = newTyping("filter: ", s.screen.Filter, m.filtered)
	case "x", "a":
		s.mark(key == "a")
	case "A":
		return m.markAll()
	case "v":
		s.sortBy("VERSION")
	case "s":
		s.sortNext()
	case "S":
		s.reverse = !s.reverse
		s.order()
	case "y":
		if name := cmp.Or(s.name(), s.pageName()); name != "" {
			m.say("copied "+name, Normal)
			return []effect{copyEffect{name}}
		}
	case "o":
		if s.page != nil {
			m.say(s.page.Command, Normal)
		}
	default:
		return m.operate(Op(key))
	}
	return nil
}

func (s *shown) pageName() string {
	if s.page == nil {
		return ""
	}
	return s.page.Name
}

// pace sets how often screens are brought up to date.
func (m *model) pace(every time.Duration) {
	m.every = max(leastEvery, min(every, mostEvery))
	m.say(fmt.Sprintf("every %s", m.every), Normal)
}

// mark marks the row, or all, or none if all are.
func (s *shown) mark(all bool) {
	if s.page == nil {
		return
	}
	if s.marks == nil {
		s.marks = make(map[string]bool)
	}
	if !all {
		if r := s.current(); r != nil && len(r.Can) > 0 {
			if s.marks[r.Name] {
				delete(s.marks, r.Name)
			} else {
				s.marks[r.Name] = true
			}
			s.row = min(s.row+1, len(s.page.Rows)-1)
		}
		return
	}
	markable := slices.DeleteFunc(slices.Clone(s.page.Rows), func(r Row) bool { return len(r.Can) == 0 })
	if len(s.marks) == len(markable) {
		s.marks = nil
		return
	}
	for _, r := range markable {
		s.marks[r.Name] = true
	}
}

// markAll has the next operation be about all that the filter means, shown or not.
func (m *model) markAll() []effect {
	s := m.top()
	switch {
	case s.page == nil || len(s.page.All) == 0:
		m.say("here, operations are about rows: x and a mark them", Yellow)
	case s.all:
		s.all = false
	default:
		s.all, s.marks = true, nil
		m.say("operations are about all that match the filter now, shown or not; A or Esc ends that", Yellow)
	}
	return nil
}

// operate asks what an operation would do.
func (m *model) operate(o Op) []effect {
	s := m.top()
	if o.word() == "" || m.acts {
		return nil
	}
	names := s.meant(o)
	if s.all {
		names = nil
	}
	if s.all && !slices.Contains(s.page.All, o) || !s.all && len(names) == 0 {
		m.say(o.word()+": nothing here can be meant", Yellow)
		return nil
	}
	if s.err != nil {
		m.say(o.word()+": not while it is not known how things are", Yellow)
		return nil
	}
	m.say("…", Faint)
	return []effect{planEffect{Operation{Op: o, Screen: s.screen, Names: names, All: s.all}}}
}
