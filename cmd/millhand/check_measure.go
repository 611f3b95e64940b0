package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/problem"
)

// A verdict is the state of a service as monitoring plugins have it, which is also the exit code.
type verdict int

const (
	isOK verdict = iota
	isWarning
	isCritical
	isUnknown
)

func (v verdict) String() string { return []string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[v] }

// worse returns the worse of two: what is certainly critical is so whatever else is not known.
func worse(a, b verdict) verdict {
	order := []verdict{isOK, isWarning, isUnknown, isCritical}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// A measure is a number that a check looks at.
type measure struct {
	name  string
	about string // how a text begins that says what is wrong with it: "oldest ready job"
	value float64
	age   bool // a time in seconds
	known bool
	least bool // too little is wrong, and not too much
}

// text is the value for people.
func (m *measure) text(v float64) string {
	if m.age {
		return span(time.Duration(v * float64(time.Second)).Round(time.Second))
	}
	if v == float64(int64(v)) {
		return thousands(int64(v))
	}
	return rateText(v)
}

// perf is the measure as plugins print it, with the values from which on it is wrong.
func (m *measure) perf(warn, crit *bound) string {
	if !m.known {
		return ""
	}
	unit := ""
	if m.age {
		unit = "s"
	}
	text := m.name + "=" + plainNumber(m.value) + unit
	limit := func(b *bound) string {
		switch {
		case b == nil:
			return ""
		case m.least:
			return plainNumber(b.value) + ":"
		}
		return plainNumber(b.value)
	}
	return strings.TrimRight(text+";"+limit(warn)+";"+limit(crit), ";")
}

func plainNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// A bound is from --warn or --crit: a value of a measure, or a problem.
type bound struct {
	name  string
	value float64
	code  problem.Code // empty: it is of a measure
}

// parseBounds reads what a flag says, given the measures there are and which of these are times.
func parseBounds(flag string, words []string, ages map[string]bool) (all []*bound, err error) {
	for _, word := range words {
		name, value, valued := strings.Cut(word, "=")
		age, measured := ages[name]
		switch {
		case !valued && isCode(name):
			all = append(all, &bound{name: name, code: problem.Code(name)})
			continue
		case !measured || !valued:
			return nil, cli.Usagef("--%s %s: want NAME=VALUE of %s, or a problem such as stalled", flag, word, strings.Join(sortedKeys(ages), ", "))
		}
		b := &bound{name: name}
		if age {
			d, err := filter.Duration(value)
			if err != nil {
				return nil, cli.Usagef("--%s %s: %w", flag, word, err)
			}
			if b.value = d.Seconds(); d < 0 {
				return nil, cli.Usagef("--%s %s: must not be negative", flag, word)
			}
		} else if b.value, err = strconv.ParseFloat(value, 64); err != nil || b.value < 0 || math.IsNaN(b.value) || math.IsInf(b.value, 0) {
			return nil, cli.Usagef("--%s %s: want a number of 0 or more, to %g", flag, word, math.MaxFloat64)
		}
		all = append(all, b)
	}
	return all, nil
}

func sortedKeys(m map[string]bool) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func isCode(name string) bool {
	return slices.ContainsFunc(problem.Kinds(), func(k problem.Kind) bool { return string(k.Code) == name })
}

// A finding is what a check says. Its JSON is a contract.
type finding struct {
	State    string             `json:"state"` // OK, WARNING, CRITICAL or UNKNOWN
	Exit     verdict            `json:"exit"`
	What     string             `json:"what"`
	Text     string             `json:"text"`
	Measures map[string]float64 `json:"measures"`
	Bounds   map[string]bounds  `json:"bounds,omitempty"` // of the measures that have some
	Problems []problem.Problem  `json:"problems"`

	parts []string
	perf  []string
}

func newFinding(what string) *finding {
	return &finding{What: what, Measures: make(map[string]float64), Bounds: make(map[string]bounds), Problems: []problem.Problem{}}
}

// bounds are what a measure is held to.
type bounds struct {
	Warn *float64 `json:"warn,omitempty"`
	Crit *float64 `json:"crit,omitempty"`
}

func (b *bound) value64() *float64 {
	if b == nil {
		return nil
	}
	return &b.value
}

// note adds something that is so.
func (f *finding) note(v verdict, text string) {
	f.Exit = worse(f.Exit, v)
	f.parts = append(f.parts, text)
}

// judge compares a measure with what it may be.
func (f *finding) judge(m *measure, warn, crit []*bound) {
	w, c := boundOf(warn, m.name), boundOf(crit, m.name)
	if p := m.perf(w, c); p != "" {
		f.perf = append(f.perf, p)
		f.Measures[m.name] = m.value
		if w != nil || c != nil {
			f.Bounds[m.name] = bounds{w.value64(), c.value64()}
		}
	}
	for _, b := range []struct {
		*bound
		v verdict
	}{{c, isCritical}, {w, isWarning}} {
		switch {
		case b.bound == nil:
			continue
		case !m.known:
			f.note(isUnknown, m.about+" is not known")
		case m.least && m.value < b.value || !m.least && m.value > b.value:
			f.note(b.v, fmt.Sprintf("%s %s (%s)", m.about, m.text(m.value), m.text(b.value)))
		default:
			continue
		}
		return
	}
}

func boundOf(all []*bound, name string) *bound {
	for _, b := range all {
		if b.code == "" && b.name == name {
			return b
		}
	}
	return nil
}

// say prints what was found: one line, the numbers behind the bar.
func (s *session) sayFinding(f *finding) error {
	f.State = f.Exit.String()
	f.Text = strings.Join(f.parts, "; ")
	if f.Text == "" {
		f.Text = "all is well"
	}
	var err error
	if s.output == formatJSON {
		err = s.json(f)
	} else {
		line := fmt.Sprintf("%s %s: %s", f.State, f.What, strings.ReplaceAll(f.Text, "|", "/"))
		if len(f.perf) > 0 {
			line += " | " + strings.Join(f.perf, " ")
		}
		err = s.printLines([]string{line})
	}
	if err == nil && f.Exit != isOK {
		return &cli.ExitError{Code: int(f.Exit)}
	}
	return err
}
