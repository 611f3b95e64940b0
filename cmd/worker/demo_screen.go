package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millhand/millhand/internal/cli"
)

// Sequences of terminals (ECMA-48).
const (
	bold     = "\x1b[1m"
	red      = "\x1b[31m"
	green    = "\x1b[32m"
	yellow   = "\x1b[33m"
	unstyled = "\x1b[0m"

	lineUp    = "\x1b[%dA"
	clearLine = "\x1b[K"
)

// A screen is where the demo writes: for people, so if nobody reads, the demo goes on to its
// end all the same.
type screen struct {
	out   io.Writer
	color bool
	live  bool // what is written can be drawn over
	drawn int  // lines that the next drawing goes over
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, color: cli.Color(out), live: cli.CanRedraw(out)}
}

func (s *screen) width() int { return cli.Width(s.out) }

// say writes a paragraph, wrapped to the width.
func (s *screen) say(format string, args ...any) {
	s.print(strings.Join(wrap(fmt.Sprintf(format, args...), s.width()), "\n") + "\n")
}

func (s *screen) print(text string) { _, _ = io.WriteString(s.out, text) }

// draw writes lines over those drawn before, which end where the cursor is.
func (s *screen) draw(lines []string) {
	var text strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&text, lineUp, s.drawn)
	}
	for _, line := range lines {
		text.WriteString(line)
		if s.live {
			text.WriteString(clearLine)
		}
		text.WriteByte('\n')
	}
	s.drawn = len(lines)
	s.print(text.String())
}

func (s *screen) in(style, text string) string {
	if !s.color || style == "" {
		return text
	}
	return style + text + unstyled
}

// wrap breaks a text at spaces into lines of at most this many columns. A word that is longer
// has a line of its own.
func wrap(text string, columns int) []string {
	var lines []string
	var line string
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= columns:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// A column of the table. Where the table would be too wide, all of them have their short title.
type column struct {
	title, short string
	least        int // columns of the numbers
	style        string
	text         func(*typeCounts) string
}

func demoColumns() []column {
	number := func(of func(*typeCounts) int) func(*typeCounts) string {
		return func(c *typeCounts) string { return strconv.Itoa(of(c)) }
	}
	wait := func(p int) func(*typeCounts) string {
		return func(c *typeCounts) string { return shortDuration(percentile(c.waits, p)) }
	}
	return []column{
		{"ENQUEUED", "JOBS", 5, "", number(func(c *typeCounts) int { return c.enqueued })},
		{"SUCCEEDED", "DONE", 5, green, number(func(c *typeCounts) int { return c.succeeded })},
		{"RETRIED", "RETRIED", 7, yellow, number(func(c *typeCounts) int { return c.retried })},
		{"DEAD", "DEAD", 4, red, number(func(c *typeCounts) int { return c.dead })},
		{"START P50", "P50", 7, "", wait(50)},
		{"START P99", "P99", 7, "", wait(99)},
	}
}

const (
	nameColumns = 8  // the first one, of the types
	columnGap   = 2  // before each of the others
	wideTable   = 70 // columns that the long titles need
)

// table returns a row for each type and one for all of them.
func (s *screen) table(plans []demoPlan, counts *demoCounts) []string {
	columns := demoColumns()
	wide := s.width() >= wideTable
	head := []string{fmt.Sprintf("%*s", nameColumns, "TYPE")}
	for _, c := range columns {
		head = append(head, c.cell(c.heading(wide), wide))
	}
	lines := []string{s.in(bold, strings.Join(head, ""))}
	row := func(name string, t *typeCounts, style string) string {
		cells := []string{s.in(style, fmt.Sprintf("%*s", nameColumns, name))}
		for _, c := range columns {
			text := c.text(t)
			own := c.style
			if text == "0" {
				own = ""
			}
			cells = append(cells, s.in(own, c.cell(text, wide)))
		}
		return strings.Join(cells, "")
	}
	for _, p := range plans {
		lines = append(lines, row(p.typ, counts.types[p.typ], ""))
	}
	return append(lines, row("all", counts.all(), bold))
}

func (c column) heading(wide bool) string {
	if wide {
		return c.title
	}
	return c.short
}

// cell returns text at the right of the column.
func (c column) cell(text string, wide bool) string {
	return fmt.Sprintf("%*s", columnGap+max(c.least, len(c.heading(wide))), text)
}

// shortDuration has three digits or four.
func shortDuration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
	default:
		return fmt.Sprintf("%.2fms", float64(d.Microseconds())/1000)
	}
}

const barColumns = 30 // at most

// progress returns a bar, and what it means.
func (s *screen) progress(counts *demoCounts, elapsed time.Duration) string {
	text := fmt.Sprintf(" %d of %d jobs ended, %.1f s", counts.ended, counts.total, elapsed.Seconds())
	bar := min(barColumns, s.width()-len(text)-4)
	if bar <= 0 {
		return text
	}
	full := bar * counts.ended / max(counts.total, 1)
	return "  [" + s.in(green, strings.Repeat("#", full)) + strings.Repeat(".", bar-full) + "]" + text
}
