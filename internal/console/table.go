package console

import (
	"strings"

	"github.com/rivo/uniseg"
)

const (
	gap       = "  "
	marks     = 2  // columns before a row: whether it is pointed at, and whether it is marked
	leastLast = 14 // how narrow the last column may become before others are left out
)

// A layout is which columns are shown, and how wide.
type layout struct {
	shown  []int
	widths []int
}

// layOut finds the columns that have room. They are as wide as what is in them on the whole page, so that
// nothing moves while one goes through it.
func (p *Page) layOut(width int) layout {
	l := layout{widths: make([]int, len(p.Columns))}
	for i, c := range p.Columns {
		l.shown = append(l.shown, i)
		l.widths[i] = uniseg.StringWidth(c.Title)
		for _, r := range p.Rows {
			l.widths[i] = max(l.widths[i], uniseg.StringWidth(r.Cells[i].Text))
		}
	}
	last := len(p.Columns) - 1
	for i, c := range p.Columns {
		if c.Short > 0 && l.total() > width {
			l.widths[i] = min(l.widths[i], c.Short)
		}
	}
	for i := last; i >= 0; i-- {
		if p.Columns[i].Spare && l.total()-max(l.widths[last]-leastLast, 0) > width {
			l.leaveOut(i)
		}
	}
	if over := l.total() - width; over > 0 && last >= 0 {
		l.widths[last] = max(l.widths[last]-over, min(l.widths[last], uniseg.StringWidth(p.Columns[last].Title)))
	}
	return l
}

func (l *layout) leaveOut(column int) {
	var rest []int
	for _, i := range l.shown {
		if i != column {
			rest = append(rest, i)
		}
	}
	l.shown = rest
}

func (l *layout) total() int {
	n := marks + len(gap)*(len(l.shown)-1)
	for _, i := range l.shown {
		n += l.widths[i]
	}
	return n
}

// cells puts cells beside each other.
func (p *Page) cells(l layout, cells []Cell) Line {
	var out Line
	for n, i := range l.shown {
		if n > 0 {
			out = append(out, Cell{Text: gap})
		}
		c := Line{cells[i]}.fit(l.widths[i])
		space := Cell{Text: strings.Repeat(" ", max(l.widths[i]-c.width(), 0))}
		if p.Columns[i].Right {
			out = append(append(out, space), c...)
		} else {
			out = append(append(out, c...), space)
		}
	}
	return out
}

// heading is the line of titles. The one that rows are sorted by has an arrow.
func (s *shown) heading(l layout) Line {
	titles := make([]Cell, len(s.page.Columns))
	for i, c := range s.page.Columns {
		titles[i] = Cell{c.Title, Faint}
		if s.sort == i+1 {
			titles[i].Style = Bold
		}
	}
	return append(Line{{Text: strings.Repeat(" ", marks)}}, s.page.cells(l, titles)...)
}

// line is a row.
func (s *shown) line(i int, l layout) Line {
	r := &s.page.Rows[i]
	pointed, marked := " ", " "
	if i == s.row {
		pointed = "▸"
	}
	if s.marks[r.Name] {
		marked = "✓"
	}
	return append(Line{{Text: pointed + marked}}, s.page.cells(l, r.Cells)...)
}
