package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/cli"
)

// A style is how a text looks, which never carries a meaning by itself.
type style string

// The styles, as ECMA-48 numbers them.
const (
	normal style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

func paint(text string, s style, colors bool) string {
	if !colors || s == normal || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// A colorMode is --color. It implements pflag.Value.
type colorMode string

const (
	colorAuto   colorMode = "auto"
	colorAlways colorMode = "always"
	colorNever  colorMode = "never"
)

func (m *colorMode) String() string { return string(*m) }

// Type implements pflag.Value.
func (m *colorMode) Type() string { return "when" }

// Set implements pflag.Value.
func (m *colorMode) Set(s string) error {
	switch v := colorMode(s); v {
	case colorAuto, colorAlways, colorNever:
		*m = v
		return nil
	}
	return errors.New("must be auto, always or never")
}

// colors reports whether text has colours.
func (a *app) colors() bool {
	return a.color == colorAlways || a.color == colorAuto && cli.Color(a.out)
}

// none stands for what there is not.
const none = "–"

// age is how long ago a time is or, with --absolute, the time.
func (s *session) age(t time.Time) string {
	switch {
	case t.IsZero():
		return none
	case s.absolute:
		return s.moment(t)
	}
	return span(max(s.now.Sub(t), 0))
}

// ago is age within a sentence.
func (s *session) ago(t time.Time) string {
	if s.absolute {
		return "at " + s.moment(t)
	}
	return s.age(t) + " ago"
}

// moment is a time: of this day without the date, or in full with --absolute.
func (s *session) moment(t time.Time) string {
	if t.IsZero() {
		return none
	}
	zone := time.Local
	if s.utc {
		zone = time.UTC
	}
	t, now := t.In(zone), s.now.In(zone)
	switch {
	case s.absolute:
		return t.Format(time.RFC3339)
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	case now.Sub(t).Abs() < 300*24*time.Hour:
		return t.Format("01-02 15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// span is a duration in at most two units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return units(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < day:
		return units(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	case d < 10*day:
		return units(int(d/day), "d", int(d.Hours())%24, "h")
	}
	return fmt.Sprintf("%dd", int(d/day))
}

func units(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return strconv.Itoa(n) + unit
	}
	return fmt.Sprintf("%d%s %d%s", n, unit, rest, smaller)
}

// thousands is a number in groups of three digits.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign, digits := "", text
	if n < 0 {
		sign, digits = "-", text[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}

// plural is a number and what is counted.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(int64(n)) + " " + many
}
