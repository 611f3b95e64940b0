package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rivo/uniseg"

	"github.com/millhand/millhand/internal/cli"
)

// A column of a table.
type column struct {
	title string
	right bool // of numbers
	spare bool // left out where there is not room for all columns
	short int  // of the console: how narrow it is where there is not; 0: as wide as what is in it
}

// A cell is a text of one line, and how it looks.
type cell struct {
	text  string
	style style
}

func plain(text string) cell { return cell{text: text} }

func number[N ~int | ~int64 | ~uint64](n N) cell { return cell{text: thousands(int64(n))} } //nolint:gosec // counts are far below

// gap is between two columns, and margin before the first one.
const (
	gap    = "  "
	margin = " "
)

// leastLast is how narrow the last column may become before others are left out.
const leastLast = 16

// A table is printed as a whole, so that its columns are as wide as what is in them.
type table struct {
	columns []column
	rows    [][]cell
	width   int // of the terminal; 0: whatever it takes
	colors  bool
}

// table returns an empty table as wide as the terminal is.
func (a *app) table(columns ...column) *table {
	t := &table{columns: columns, colors: a.colors()}
	if cli.IsTerminal(a.out) && !a.wide {
		t.width = cli.Width(a.out)
	}
	return t
}

// add adds a row, with a cell for each column. Texts of others cannot break out of it.
func (t *table) add(cells ...cell) {
	for i := range cells {
		cells[i].text = cli.OneLine(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

// write prints the table.
func (t *table) write(w io.Writer) error {
	shown, widths := t.fit()
	header := make([]cell, len(t.columns))
	for i, c := range t.columns {
		header[i] = cell{text: c.title, style: faint}
	}
	for _, row := range append([][]cell{header}, t.rows...) {
		if _, err := fmt.Fprintln(w, t.line(row, shown, widths)); err != nil {
			return err
		}
	}
	return nil
}

// fit returns the columns that are shown, and how wide they are.
func (t *table) fit() (shown []int, widths []int) {
	widths = make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = uniseg.StringWidth(c.title)
		shown = append(shown, i)
		for _, row := range t.rows {
			widths[i] = max(widths[i], uniseg.StringWidth(row[i].text))
		}
	}
	last := len(t.columns) - 1
	for i := last; t.width > 0 && i >= 0; i-- {
		if t.columns[i].spare && t.total(shown, widths)-max(widths[last]-leastLast, 0) > t.width {
			shown = without(shown, i)
		}
	}
	if over := t.total(shown, widths) - t.width; t.width > 0 && over > 0 {
		widths[last] = max(widths[last]-over, min(widths[last], uniseg.StringWidth(t.columns[last].title)))
	}
	return shown, widths
}

func without(all []int, one int) []int {
	var rest []int
	for _, i := range all {
		if i != one {
			rest = append(rest, i)
		}
	}
	return rest
}

// total is how wide the table is.
func (t *table) total(shown, widths []int) int {
	n := len(margin) + len(gap)*(len(shown)-1)
	for _, i := range shown {
		n += widths[i]
	}
	return n
}

func (t *table) line(row []cell, shown, widths []int) string {
	var b strings.Builder
	b.WriteString(margin)
	for n, i := range shown {
		if n > 0 {
			b.WriteString(gap)
		}
		text := cli.Shorten(row[i].text, widths[i])
		space := strings.Repeat(" ", widths[i]-uniseg.StringWidth(text))
		if t.columns[i].right {
			b.WriteString(space)
		}
		b.WriteString(paint(text, row[i].style, t.colors))
		if !t.columns[i].right && n < len(shown)-1 {
			b.WriteString(space)
		}
	}
	return strings.TrimRight(b.String(), " ")
}
