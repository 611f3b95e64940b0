package web

import (
	"math"
	"strconv"
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// A heat map is how long jobs took over time: a column a step, and a row for each doubling of the time they took. It is
// drawn by the server, from the table that stands beside it.
type heatMap struct {
	ID      string
	Title   string
	Summary string
	Times   []time.Time // of the columns
	Rows    []heatRow   // the longest first
}

type heatRow struct {
	UpTo  string // how long jobs of it took at most
	Cells []heatCell
}

// A heatCell is one place of it, X columns and Y rows from where it begins.
type heatCell struct {
	X, Y  int
	N     uint64
	Level int // from 1 to heatLevels, by how many they are beside the most; 0: none
}

const (
	heatLevels  = 5
	bucketsEach = 4 // buckets of a histogram between a time and its double
)

// heatMapOf is of what a line has measured. It is empty if that is nothing.
func heatMapOf(s *history, p tally.Pair, m tally.Measure, title string) *heatMap {
	out := &heatMap{ID: "heat-" + title, Title: title}
	l := lineOf(s, p)
	if l == nil {
		return out
	}
	steps := over(s)
	counts := make(map[int][]uint64) // by row: the exponent of 2 that is its most
	first, last := math.MaxInt, math.MinInt
	for x := range steps {
		out.Times = append(out.Times, s.At(x))
		c := l.Points[x].Counts
		if c == nil {
			continue
		}
		c.Histogram(m).Buckets(func(i int, n uint64) {
			row := int(math.Ceil(float64(i) / bucketsEach))
			if counts[row] == nil {
				counts[row] = make([]uint64, steps)
			}
			counts[row][x] += n
			first, last = min(first, row), max(last, row)
		})
	}
	most, usual, total := uint64(0), 0, uint64(0)
	for row, all := range counts {
		sum := uint64(0)
		for _, n := range all {
			most, sum = max(most, n), sum+n
		}
		if sum > total || sum == total && row < usual {
			usual, total = row, sum
		}
	}
	for row := last; row >= first && most > 0; row-- {
		r := heatRow{UpTo: boundOf(row)}
		for x := range steps {
			cell := heatCell{X: x, Y: len(out.Rows)}
			if counts[row] != nil {
				cell.N = counts[row][x]
			}
			cell.Level = int(math.Ceil(heatLevels * math.Sqrt(float64(cell.N)/float64(most))))
			r.Cells = append(r.Cells, cell)
		}
		out.Rows = append(out.Rows, r)
	}
	if most > 0 {
		out.Summary = "Most: from " + boundOf(usual-1) + " to " + boundOf(usual) + ". The longest: at most " + boundOf(last) + "."
	}
	return out
}

// Last is the time of the last column.
func (h *heatMap) Last() time.Time { return h.Times[len(h.Times)-1] }

// boundOf is 2 to the power of a row, in seconds.
func boundOf(row int) string {
	if row > tally.Above/bucketsEach {
		return "for ever"
	}
	seconds := math.Exp2(float64(row))
	if seconds < 1 { // which are no whole milliseconds
		return strconv.FormatFloat(seconds*1000, 'g', 3, 64) + " ms"
	}
	return span(time.Duration(seconds * float64(time.Second)))
}
