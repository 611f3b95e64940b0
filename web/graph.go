package web

import (
	"fmt"

	"github.com/millhand/millhand"
)

// Sizes of a drawn graph, in pixels.
const (
	boxWidth, boxHeight = 170, 40
	gapX, gapY          = 46, 14
	margin              = 8
	baseline            = 17 // of the first line in a box
	secondLine          = 33
	maxDrawn            = 200 // steps; with more, the table has to do
	maxLabel            = 22  // characters
)

// A graph is the steps of a workflow as they are drawn: what comes after others is to the right of them.
type graph struct {
	Width, Height int
	Boxes         []box
	Lines         []line
}

// A box is a step.
type box struct {
	millhand.StepInfo
	X, Y, TextX, TitleY, StateY int
	Label, Says                 string // the name, as much as there is room for; its state
}

// A line leads from a step to one that comes after it, or that undoes it.
type line struct {
	Path string
	Kind string // done: the first has ended; undo
}

// newGraph places the steps, nil if there are too many of them.
func newGraph(steps []millhand.StepInfo) *graph {
	if len(steps) > maxDrawn {
		return nil
	}
	g := &graph{Boxes: make([]box, len(steps))}
	at := make(map[string]int, len(steps))
	for i := range steps {
		at[steps[i].Name] = i
	}
	rows := make(map[int]int) // by column
	columns := columnsOf(steps, at)
	for i := range steps {
		x, y := margin+columns[i]*(boxWidth+gapX), margin+rows[columns[i]]*(boxHeight+gapY)
		rows[columns[i]]++
		g.Boxes[i] = box{StepInfo: steps[i], X: x, Y: y, TextX: x + margin, TitleY: y + baseline, StateY: y + secondLine, Label: cutLabel(steps[i].Name), Says: says(&steps[i])}
		g.Width, g.Height = max(g.Width, x+boxWidth+margin), max(g.Height, y+boxHeight+margin)
	}
	for i := range steps {
		for _, name := range steps[i].Needs {
			g.connect(at, name, i, "")
		}
		if of := steps[i].Undoes; of != "" {
			g.connect(at, of, i, "undo")
		}
	}
	return g
}

// columnsOf returns how far to the right each step is: behind all that it comes after, and what undoes others last.
func columnsOf(steps []millhand.StepInfo, at map[string]int) []int {
	columns := make([]int, len(steps))
	for range steps { // a step may come after one that was added behind it
		moved := false
		for i := range steps {
			for _, name := range steps[i].Needs {
				if d, ok := at[name]; ok && columns[i] <= columns[d] {
					columns[i], moved = columns[d]+1, true
				}
			}
		}
		if !moved {
			break
		}
	}
	last := 0
	for i := range steps {
		last = max(last, columns[i]+1)
	}
	for i := range steps {
		if steps[i].Undoes != "" {
			columns[i] = last
		}
	}
	return columns
}

func (g *graph) connect(at map[string]int, from string, to int, kind string) {
	i, ok := at[from]
	if !ok {
		return // whoever looks may not see it
	}
	a, b := &g.Boxes[i], &g.Boxes[to]
	if kind == "" && (a.State == millhand.StepSucceeded || a.State == millhand.StepFailed) {
		kind = "done"
	}
	x1, y1, x2, y2 := a.X+boxWidth, a.Y+boxHeight/2, b.X, b.Y+boxHeight/2
	g.Lines = append(g.Lines, line{Kind: kind, Path: fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+gapX/2, y1, x2-gapX/2, y2, x2, y2)})
}

func cutLabel(name string) string {
	if len(name) > maxLabel {
		return name[:maxLabel-1] + "…"
	}
	return name
}

// says is the state of a step in a few words.
func says(s *millhand.StepInfo) string {
	switch {
	case s.Total > 0:
		return fmt.Sprintf("%s, %d of %d", s.State, s.Done, s.Total)
	case s.State == millhand.StepHeld && s.Kind == "signal":
		return "waits for a signal"
	}
	return string(s.State)
}
