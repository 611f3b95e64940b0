package web

import (
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand"
)

const (
	mostSteps = 50 // that a page of the table has, unless all are drawn
	fewSteps  = 20 // of which nobody has to pick some
)

// A stepRow is a step in the table.
type stepRow struct {
	millhand.StepInfo

	Level int
	Path  string // where more is known of it
}

// Icon is the shape of its state.
func (s *stepRow) Icon() string {
	switch s.State {
	case millhand.StepFailed:
		return "dead"
	case millhand.StepSkipped:
		return "cancelled"
	case millhand.StepHeld:
		return "scheduled"
	case millhand.StepReady, millhand.StepScheduled, millhand.StepRetrying, millhand.StepRunning, millhand.StepSucceeded:
	}
	return string(s.State)
}

// A stepList is the steps of a workflow that are picked, a page of them.
type stepList struct {
	Rows    []stepRow
	Matched int
	Picks   []pick
	Level   string // 3, or 3-7; empty: any
	Only    bool   // something is picked
	Next    string // the address of the next page
}

// Long reports whether there are so many steps that some may be picked.
func (l *stepList) Long() bool { return l.Picks != nil }

// listSteps returns the steps that the query means.
func (v *visit) listSteps(steps []millhand.StepInfo, levels []int) (stepList, error) {
	q := v.r.URL.Query()
	state, kind := q.Get("state"), q.Get("kind")
	l := stepList{Level: strings.TrimSpace(q.Get("level"))}
	first, last, err := parseLevels(l.Level)
	if err != nil {
		return l, err
	}
	from := 0
	if text := q.Get("from"); text != "" {
		if from, err = strconv.Atoi(text); err != nil || from < 0 {
			return l, badForm("from", "want a whole number from 0")
		}
	}
	l.Only = state != "" || kind != "" || l.Level != ""
	if len(steps) > fewSteps || l.Only {
		l.Picks = []pick{{Name: "state", Words: wordsOf(stepStates()), Is: state}, {Name: "kind", Words: kindsOf(steps), Is: kind}}
	}
	for i := range steps {
		s := &steps[i]
		if state != "" && state != string(s.State) || kind != "" && kind != stepKind(s) || levels[i] < first || levels[i] > last {
			continue
		}
		if l.Matched++; l.Matched > from && (len(l.Rows) < mostSteps || len(steps) <= maxDrawn) {
			l.Rows = append(l.Rows, stepRow{*s, levels[i], v.stepAddress(s)})
		}
	}
	if next := from + len(l.Rows); len(l.Rows) > 0 && next < l.Matched {
		l.Next = v.withQuery("from", strconv.Itoa(next)) + "#steps"
	}
	return l, nil
}

// parseLevels reads a level or a range of them; nothing is all.
func parseLevels(text string) (first, last int, err error) {
	const all = 1 << 30
	if text == "" {
		return 0, all, nil
	}
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	first, err = strconv.Atoi(low)
	if err == nil {
		last, err = strconv.Atoi(high)
	}
	if err != nil || first < 1 || last < first {
		return 0, 0, badForm("level", "want a number from 1, or a range such as 3-7")
	}
	return first, last, nil
}

func wordsOf(states []millhand.StepState) (words []string) {
	for _, s := range states {
		words = append(words, string(s))
	}
	return words
}

// kindsOf are the kinds of the steps.
func kindsOf(steps []millhand.StepInfo) (kinds []string) {
	for i := range steps {
		kinds = append(kinds, stepKind(&steps[i]))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}
