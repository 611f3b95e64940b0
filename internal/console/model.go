package console

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// The bounds and the default of how often a screen is brought up to date.
const (
	leastEvery   = time.Second
	defaultEvery = 2 * time.Second
	mostEvery    = 30 * time.Second
)

// The smallest terminal on which anything can be seen.
const (
	leastWidth  = 40
	leastHeight = 10
)

// A model is the state of the console. step is all that changes it.
type model struct {
	source Source // of which only Check is called
	colors bool
	width  int
	height int
	now    time.Time

	stack []*shown // what is seen is the last; the first is a tab
	every time.Duration
	held  bool // nothing is brought up to date
	help  bool

	typing *typing // what is typed, if anything is
	asking *asking // what is asked, if anything is

	notice Line
	seq    int       // of the load that is under way, or of the last
	loads  bool      // one is under way
	loaded time.Time // when the last one ended
	acts   bool      // an operation is under way
	where  string
}

// shown is a screen with what is known of it.
type shown struct {
	screen  Screen
	page    *Page
	err     error
	at      time.Time // when page came
	row     int
	moved   bool // the row was chosen: it stays the same when others come and go
	top     int
	marks   map[string]bool
	all     bool // what is done is done to all that the filter means
	sort    int  // the column that rows are sorted by, from 1; 0: as they came
	reverse bool
}

// What a step wants done.
type (
	loadEffect struct {
		seq    int
		screen Screen
	}
	planEffect struct{ operation Operation }
	actEffect  struct{ plan *Plan }
	copyEffect struct{ text string }
	stopEffect struct{} // the operation that is under way
	quitEffect struct{}
)

type effect any

// What comes of effects.
type (
	loadedMsg struct {
		seq  int
		page *Page
		err  error
	}
	plannedMsg struct {
		operation Operation
		plan      *Plan
		err       error
	}
	actedMsg struct {
		text string
		err  error
	}
	toldMsg struct{ text string } // how far an operation has come
	tickMsg struct{ at time.Time }
)

type sizeMsg struct{ width, height int }

// A clickMsg is a press of the mouse, from the upper left corner.
type clickMsg struct{ x, y int }

// A keyMsg is a key as Bubble Tea names it: "enter", "R", "ctrl+c".
type keyMsg struct {
	name string
	text string // that it types
}

func newModel(s Source, colors bool, now time.Time) *model {
	return &model{source: s, colors: colors, now: now, every: defaultEvery, stack: []*shown{{}}}
}

func (m *model) top() *shown { return m.stack[len(m.stack)-1] }

// step changes the state as a message has it, and returns what is to be done.
func (m *model) step(msg any) []effect {
	switch msg := msg.(type) {
	case sizeMsg:
		m.width, m.height = msg.width, msg.height
		return m.refresh(false)
	case tickMsg:
		m.now = msg.at
		return m.refresh(false)
	case loadedMsg:
		return m.took(msg)
	case plannedMsg:
		m.planned(msg)
	case toldMsg:
		if m.acts {
			m.say(msg.text+"; esc stops it", Yellow)
		}
	case actedMsg:
		m.acts = false
		m.say(msg.text, Green)
		if msg.err != nil {
			m.say(msg.err.Error(), Red)
		}
		return m.refresh(true)
	case keyMsg:
		return m.key(msg)
	case clickMsg:
		return m.click(msg)
	}
	return nil
}

// seen reports whether anything of a screen can be seen.
func (m *model) seen() bool {
	return m.width >= leastWidth && m.height >= leastHeight && !m.help
}

// refresh has the screen loaded if that is due, or at once.
func (m *model) refresh(atOnce bool) []effect {
	every := m.every
	if m.top().screen.Kind == Events {
		every = leastEvery
	}
	due := m.now.Sub(m.loaded) >= every && !m.loads && !m.held && m.seen()
	if !due && !atOnce {
		return nil
	}
	m.seq++
	m.loads = true
	return []effect{loadEffect{m.seq, m.top().screen}}
}

// took takes over what was loaded, unless it is of a screen that is seen no more.
func (m *model) took(msg loadedMsg) []effect {
	if msg.seq != m.seq {
		return nil
	}
	m.loads, m.loaded = false, m.now
	s := m.top()
	if s.err = msg.err; s.err != nil {
		return nil
	}
	name := s.name()
	s.page, s.at = msg.page, m.now
	m.where = msg.page.Where
	s.order()
	if i := slices.IndexFunc(s.page.Rows, func(r Row) bool { return r.Name == name }); i >= 0 && s.moved {
		s.row = i
	}
	for name := range s.marks {
		if !slices.ContainsFunc(s.page.Rows, func(r Row) bool { return r.Name == name }) {
			delete(s.marks, name) // it is not to be acted on unseen
		}
	}
	s.row = max(0, min(s.row, len(s.page.Rows)-1))
	return nil
}

// current is the row that is pointed at; nil: there is none.
func (s *shown) current() *Row {
	if s.page == nil || s.row >= len(s.page.Rows) {
		return nil
	}
	return &s.page.Rows[s.row]
}

func (s *shown) name() string {
	if r := s.current(); r != nil {
		return r.Name
	}
	return ""
}

// lost reports whether nobody answers.
func (s *shown) lost() bool { return errors.Is(s.err, ErrNoBroker) }

// open shows a screen on top of the others, or instead of all.
func (m *model) open(s Screen, instead bool) []effect {
	if instead {
		m.stack = nil
	}
	m.stack = append(m.stack, &shown{screen: s})
	m.notice = nil
	return m.refresh(true)
}

// back shows what was seen before.
func (m *model) back() []effect {
	if len(m.stack) == 1 {
		return nil
	}
	m.stack = m.stack[:len(m.stack)-1]
	m.notice = nil
	return m.refresh(true)
}

func (m *model) say(text string, s Style) { m.notice = Line{{strings.TrimSpace(text), s}} }

// meant are the names of the rows that an operation is about: those that are marked, or else the one that is
// pointed at. Those that it cannot be done to are left out.
func (s *shown) meant(o Op) (names []string) {
	if s.page == nil {
		return nil
	}
	if len(s.page.Rows) == 0 && slices.Contains(s.page.Can, o) {
		return []string{s.page.Name}
	}
	for i := range s.page.Rows {
		r := &s.page.Rows[i]
		if s.marks[r.Name] && slices.Contains(r.Can, o) {
			names = append(names, r.Name)
		}
	}
	if len(s.marks) > 0 {
		return names
	}
	if r := s.current(); r != nil && slices.Contains(r.Can, o) {
		names = append(names, r.Name)
	}
	return names
}
