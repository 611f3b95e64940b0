package console

import (
	"strings"

	"github.com/rivo/uniseg"

	"github.com/millhand/millhand/internal/cli"
)

// A Style is how a text looks, as ECMA-48 numbers it. It never carries a meaning by itself.
type Style string

// The styles.
const (
	Normal Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Chosen Style = "7"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// A Cell is a text of one line, and how it looks.
type Cell struct {
	Text  string
	Style Style
}

// A Line is texts beside each other.
type Line []Cell

// Text is a line that looks as all do.
func Text(s string) Line { return Line{{Text: s}} }

func (l Line) width() (n int) {
	for _, c := range l {
		n += uniseg.StringWidth(c.Text)
	}
	return n
}

// fit cuts a line to a width.
func (l Line) fit(width int) Line {
	if l.width() <= width {
		return l
	}
	var out Line
	for i, c := range l {
		w := uniseg.StringWidth(c.Text)
		rest := l[i+1:].width()
		if w+rest <= width || w < width {
			out = append(out, c)
			width -= w
			continue
		}
		return append(out, Cell{cli.Shorten(c.Text, max(width, 1)), c.Style})
	}
	return out
}

// in is the line in one style.
func (l Line) in(s Style) Line {
	out := make(Line, len(l))
	for i, c := range l {
		out[i] = Cell{c.Text, s}
	}
	return out
}

// padded is the line made as wide as it has room.
func (l Line) padded(width int) Line {
	if n := width - l.width(); n > 0 {
		return append(append(Line{}, l...), Cell{Text: strings.Repeat(" ", n)})
	}
	return l
}

// draw returns the line as a terminal takes it.
func (l Line) draw(colors bool) string {
	var b strings.Builder
	for _, c := range l {
		if !colors || c.Style == Normal || c.Text == "" {
			b.WriteString(c.Text)
			continue
		}
		b.WriteString("\x1b[" + string(c.Style) + "m" + c.Text + "\x1b[0m")
	}
	return strings.TrimRight(b.String(), " ")
}

// wrapped breaks lines at their spaces where they are wider than there is room.
func wrapped(lines []Line, width int) (out []Line) {
	for _, l := range lines {
		if l.width() <= width || len(l) != 1 {
			out = append(out, l)
			continue
		}
		out = append(out, l[0].wrapped(width)...)
	}
	return out
}

// hanging is where the rest of a line goes on that was broken: below its text, which stands behind a title or
// is indented.
func hanging(text string, width int) int {
	bare := strings.TrimLeft(text, " ")
	indent := len(text) - len(bare)
	title := strings.Index(bare, "  ")
	if title < 0 || indent+title > width/2 {
		return min(indent, width/2)
	}
	return indent + title + len(bare[title:]) - len(strings.TrimLeft(bare[title:], " "))
}

func (c Cell) wrapped(width int) (out []Line) {
	text, indent := c.Text, ""
	rest := strings.Repeat(" ", min(hanging(text, width), width/2))
	for uniseg.StringWidth(indent+text) > width {
		cut := len(cutAt(text, width-len(indent)))
		if space := strings.LastIndexByte(text[:min(cut+1, len(text))], ' '); space > len(rest) {
			cut = space
		}
		out = append(out, Line{{indent + text[:cut], c.Style}})
		text, indent = strings.TrimLeft(text[cut:], " "), rest
	}
	return append(out, Line{{indent + text, c.Style}})
}

// cutAt is as much of a text as has room, and at least one character.
func cutAt(text string, width int) string {
	n := 0
	for g := uniseg.NewGraphemes(text); g.Next(); {
		if width -= g.Width(); width < 0 && n > 0 {
			break
		}
		n += len(g.Str())
	}
	return text[:n]
}
