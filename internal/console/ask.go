package console

import (
	"strings"
	"unicode/utf8"
)

// A typing is a line that is typed.
type typing struct {
	prompt string
	text   string
	done   func(text string) []effect
	err    string
}

func newTyping(prompt, text string, done func(string) []effect) *typing {
	return &typing{prompt: prompt, text: text, done: done}
}

// typed is a key while a line is typed.
func (m *model) typed(k keyMsg) []effect {
	t := m.typing
	switch k.name {
	case "esc":
		m.typing = nil
	case "enter":
		m.typing = nil
		return t.done(strings.TrimSpace(t.text))
	default:
		t.text = edited(t.text, k)
	}
	return nil
}

// edited is a text after a key.
func edited(text string, k keyMsg) string {
	switch k.name {
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(text)
		return text[:len(text)-size]
	case "ctrl+u":
		return ""
	case "ctrl+w":
		return text[:strings.LastIndexByte(strings.TrimRight(text, " "), ' ')+1]
	}
	return text + k.text
}

// filtered is what a filter does that was typed.
func (m *model) filtered(text string) []effect {
	s := m.top()
	screen := s.screen
	screen.Filter, screen.Pages = text, 0
	if err := m.source.Check(screen); err != nil {
		m.typing = newTyping("filter: ", text, m.filtered)
		m.typing.err = err.Error()
		return nil
	}
	s.screen, s.row, s.top, s.marks, s.all, m.notice = screen, 0, 0, nil, false, nil
	return m.refresh(true)
}

// An asking is a plan that is asked about. Nothing is chosen at first but to leave it.
type asking struct {
	operation Operation
	plan      *Plan
	yes       bool
	typed     string
}

// planned asks about what an operation would do, or for what it lacks.
func (m *model) planned(msg plannedMsg) {
	m.notice = nil
	switch {
	case msg.err != nil:
		m.say(msg.err.Error(), Red)
	case msg.plan.Prompt != "":
		m.typing = newTyping(msg.plan.Prompt+" ", msg.plan.Value, func(text string) []effect {
			o := msg.operation
			o.Value = &text
			return []effect{planEffect{o}}
		})
	default:
		m.asking = &asking{operation: msg.operation, plan: msg.plan}
	}
}

// answer is a key while something is asked.
func (m *model) answer(k keyMsg) []effect {
	a := m.asking
	switch k.name {
	case "esc":
		return m.declined()
	case "left", "right", "tab", "shift+tab":
		if a.plan.Type == "" {
			a.yes = !a.yes
		}
	case "enter":
		if a.plan.Type != "" {
			a.yes = a.typed == a.plan.Type
		}
		if !a.yes {
			return m.declined()
		}
		return m.confirmed()
	default:
		switch {
		case a.plan.Type != "":
			a.typed = edited(a.typed, k)
		case k.name == "y":
			return m.confirmed()
		case k.name == "n", k.name == "q":
			return m.declined()
		}
	}
	return nil
}

func (m *model) declined() []effect {
	m.asking = nil
	m.say("nothing was done", Normal)
	return nil
}

func (m *model) confirmed() []effect {
	p := m.asking.plan
	m.asking, m.acts = nil, true
	m.top().marks, m.top().all = nil, false
	m.say("…", Faint)
	return []effect{actEffect{p}}
}
