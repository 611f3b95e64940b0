package web

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand"
)

// Sizes of a drawn graph, in pixels.
const (
	boxWidth, boxHeight = 166, 40
	gapX, gapY          = 34, 14
	margin              = 4
	inBox               = 9  // of what is written from the edge
	baseline            = 17 // of the first line in a box
	secondLine          = 33
	maxDrawn            = 200 // boxes: of more steps than that, those alike are drawn as one
	maxLabel            = 20  // characters
	maxSays             = 24
)

// A graph is the steps of a workflow as they are drawn: what comes after others is to the right of them.
type graph struct {
	Width, Height int
	Boxes         []box
	Lines         []line
	Folded        bool // a box may be several steps

	rows map[int]int // how many boxes there are, by column
}

// BoxWidth and BoxHeight are of each box.
func (*graph) BoxWidth() int  { return boxWidth }
func (*graph) BoxHeight() int { return boxHeight }

// A box is a step, or several that are alike.
type box struct {
	X, Y, TextX, TitleY, StateY int
	State                       millhand.StepState // by which it is drawn
	Label, Says                 string             // what it is, and how far it is, as much as there is room for
	Title                       string             // all of it
	Path                        string             // where more is known of it

	ended       bool
	column, row int
}

// A line leads from a step to one that comes after it, or that undoes it.
type line struct {
	Path string
	Kind string // done: the first has ended; undo
}

// newGraph places the steps, which are at these levels.
func (v *visit) newGraph(steps []millhand.StepInfo, levels []int) *graph {
	if len(steps) > maxDrawn {
		return v.foldedGraph(steps, levels)
	}
	g := &graph{}
	at := make(map[string]int, len(steps))
	for i := range steps {
		s := &steps[i]
		at[s.Name] = i
		b := box{State: s.State, Label: cut(s.Name, maxLabel), Says: says(s), Title: s.Name + ": " + says(s), Path: v.stepAddress(s), ended: isEnded(s.State)}
		if len(s.Waits) > 0 {
			b.Title += ", waits for " + few(s.Waits)
		}
		g.place(&b, levels[i]-1)
	}
	g.connectAll(steps, at)
	return g
}

// place adds a box below those that are in its column.
func (g *graph) place(b *box, column int) {
	if g.rows == nil {
		g.rows = make(map[int]int)
	}
	b.column, b.row = column, g.rows[column]
	g.rows[column]++
	b.X, b.Y = margin+column*(boxWidth+gapX), margin+b.row*(boxHeight+gapY)
	b.TextX, b.TitleY, b.StateY = b.X+inBox, b.Y+baseline, b.Y+secondLine
	g.Width, g.Height = max(g.Width, b.X+boxWidth+margin), max(g.Height, b.Y+boxHeight+margin)
	g.Boxes = append(g.Boxes, *b)
}

// connectAll draws lines between the boxes of steps.
func (g *graph) connectAll(steps []millhand.StepInfo, at map[string]int) {
	drawn := make(map[[2]int]bool)
	connect := func(from, to, kind string) {
		a, ok := at[from]
		b := at[to]
		if !ok || a == b || drawn[[2]int{a, b}] {
			return // whoever looks may not see it; or one line is enough
		}
		drawn[[2]int{a, b}] = true
		g.connect(&g.Boxes[a], &g.Boxes[b], kind)
	}
	for i := range steps {
		for _, name := range steps[i].Needs {
			connect(name, steps[i].Name, "")
		}
		if of := steps[i].Undoes; of != "" {
			connect(of, steps[i].Name, "undo")
		}
	}
}

func (g *graph) connect(a, b *box, kind string) {
	if kind == "" && a.ended {
		kind = "done"
	}
	x1, y1, x2, y2 := a.X+boxWidth, a.Y+boxHeight/2, b.X, b.Y+boxHeight/2
	from, to := x1, x2 // of the curve: the rest is straight, where no box is in the way
	switch {
	case b.column <= a.column+1:
	case g.isFree(a.row, a.column, b.column):
		from = x2 - gapX
	case g.isFree(b.row, a.column, b.column):
		to = x1 + gapX
	}
	middle := (from + to) / 2
	g.Lines = append(g.Lines, line{Kind: kind, Path: fmt.Sprintf("M%d %dH%dC%d %d %d %d %d %dH%d", x1, y1, from, middle, y1, middle, y2, to, y2, x2)})
}

// isFree reports whether no box is in a row between two columns.
func (g *graph) isFree(row, from, to int) bool {
	for column := from + 1; column < to; column++ {
		if g.rows[column] > row {
			return false
		}
	}
	return true
}

// levelsOf returns how far to the right each step is, from 1: behind all that it comes after, and what undoes others
// last.
func levelsOf(steps []millhand.StepInfo) []int {
	at := make(map[string]int, len(steps))
	for i := range steps {
		at[steps[i].Name] = i
	}
	levels := make([]int, len(steps))
	var level func(i int) int
	level = func(i int) int {
		if levels[i] != 0 {
			return levels[i]
		}
		levels[i] = 1 // should steps ever wait for each other, that ends here
		most := 0
		for _, name := range steps[i].Needs {
			if d, ok := at[name]; ok {
				most = max(most, level(d))
			}
		}
		levels[i] = most + 1
		return levels[i]
	}
	last := 0
	for i := range steps {
		last = max(last, level(i))
	}
	for i := range steps {
		if steps[i].Undoes != "" {
			levels[i] = last + 1
		}
	}
	return levels
}

// A fold is steps that are drawn as one.
type fold struct {
	first, last int // levels
	typ         string
	undo        bool
}

// foldedGraph draws steps of one type at one level as one box, and takes levels together as long as there are more boxes
// than can be drawn.
func (v *visit) foldedGraph(steps []millhand.StepInfo, levels []int) *graph {
	last := slices.Max(levels)
	for wide := 1; ; wide *= 2 {
		folds, of := foldSteps(steps, levels, wide, wide < 2*last)
		if len(folds) <= maxDrawn || wide >= 2*last {
			return v.drawFolds(steps, folds, of)
		}
	}
}

// foldSteps takes together steps of so many levels, and of one type unless types are too many. It returns the folds, and
// that of each step.
func foldSteps(steps []millhand.StepInfo, levels []int, wide int, byType bool) (folds []fold, of []int) {
	known := make(map[fold]int)
	of = make([]int, len(steps))
	for i := range steps {
		f := fold{first: (levels[i]-1)/wide*wide + 1, undo: steps[i].Undoes != ""}
		f.last = f.first + wide - 1
		if f.undo {
			f.first, f.last = levels[i], levels[i]
		}
		if byType {
			f.typ = stepKind(&steps[i])
		}
		n, ok := known[f]
		if !ok {
			n = len(folds)
			known[f] = n
			folds = append(folds, f)
		}
		of[i] = n
	}
	return folds, of
}

// stepKind is what a step is: its type or, of one without a job of its own, its kind.
func stepKind(s *millhand.StepInfo) string {
	switch s.Kind {
	case "sleep", "signal", "workflow":
		return s.Kind
	}
	return s.Type
}

func (v *visit) drawFolds(steps []millhand.StepInfo, folds []fold, of []int) *graph {
	g := &graph{Folded: true}
	members := make([][]*millhand.StepInfo, len(folds))
	for i := range steps {
		members[of[i]] = append(members[of[i]], &steps[i])
	}
	order := make([]int, len(folds))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(folds[a].first, folds[b].first), strings.Compare(folds[a].typ, folds[b].typ))
	})
	column, columns, place := -1, make(map[int]int), make([]int, len(folds))
	for n, i := range order {
		if _, ok := columns[folds[i].first]; !ok {
			column++
			columns[folds[i].first] = column
		}
		place[i] = n
		g.place(v.boxOf(&folds[i], members[i]), columns[folds[i].first])
	}
	at := make(map[string]int, len(steps))
	for i := range steps {
		at[steps[i].Name] = place[of[i]]
	}
	g.connectAll(steps, at)
	return g
}

// boxOf is the box of several steps.
func (v *visit) boxOf(f *fold, all []*millhand.StepInfo) *box {
	what := f.typ
	if what == "" {
		what = "steps"
	}
	if f.undo {
		what = "undo: " + what
	}
	n := make(map[millhand.StepState]int)
	for _, s := range all {
		n[s.State]++
	}
	b := &box{State: stateOfMany(n, len(all)), ended: n[millhand.StepSucceeded]+n[millhand.StepFailed]+n[millhand.StepSkipped] == len(all)}
	count := " × " + thousands(int64(len(all)))
	b.Label = cut(what, maxLabel-len(count)) + count
	var parts []string
	for _, state := range stepStates() {
		if n[state] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", thousands(int64(n[state])), state))
		}
	}
	b.Says = cut(strings.Join(parts, ", "), maxSays)
	b.Title = fmt.Sprintf("%s%s, level %s: %s", what, count, f.levels(), strings.Join(parts, ", "))
	pairs := []string{"level", f.levels(), "kind", f.typ, "state", "", "from", ""}
	b.Path = v.withQuery(pairs...) + "#steps"
	return b
}

func (f *fold) levels() string {
	if f.first == f.last {
		return strconv.Itoa(f.first)
	}
	return fmt.Sprintf("%d-%d", f.first, f.last)
}

// stepStates are those of steps, what is to be looked at first.
func stepStates() []millhand.StepState {
	return []millhand.StepState{
		millhand.StepFailed, millhand.StepRunning, millhand.StepRetrying, millhand.StepReady, millhand.StepScheduled,
		millhand.StepHeld, millhand.StepSkipped, millhand.StepSucceeded,
	}
}

// stateOfMany is the state of several steps: the first of those that they are in, and succeeded only if all are.
func stateOfMany(n map[millhand.StepState]int, all int) millhand.StepState {
	if n[millhand.StepHeld] > 0 && n[millhand.StepHeld]+n[millhand.StepSucceeded] == all && n[millhand.StepSucceeded] > 0 {
		return millhand.StepRunning // they go on, one after the other
	}
	for _, state := range stepStates() {
		if n[state] > 0 {
			return state
		}
	}
	return millhand.StepHeld
}

func isEnded(s millhand.StepState) bool {
	return s == millhand.StepSucceeded || s == millhand.StepFailed || s == millhand.StepSkipped
}

// cut shortens a text to so many characters.
func cut(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= max(most, 1) {
		return text
	}
	return string(runes[:max(most, 1)-1]) + "…"
}

// few is what a step waits for in words, with some of the names where they are many.
func few(texts []string) string {
	const most, shown = 6, 5
	out := slices.Clone(texts)
	for i, text := range out {
		if names := strings.Split(text, ", "); len(names) > most {
			out[i] = fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
		}
	}
	return strings.Join(out, "; ")
}

// says is the state of a step in a few words.
func says(s *millhand.StepInfo) string {
	switch {
	case s.Total > 0 && s.Failed > 0:
		return fmt.Sprintf("%s, %d/%d, %d failed", s.State, s.Done, s.Total, s.Failed)
	case s.Total > 0:
		return fmt.Sprintf("%s, %d of %d", s.State, s.Done, s.Total)
	case s.State == millhand.StepHeld && s.Kind == "signal":
		return "waits for a signal"
	}
	return string(s.State)
}
