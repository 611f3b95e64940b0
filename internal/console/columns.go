package console

import "slices"

// leastSide is how wide a terminal is on which two texts are beside each other.
const leastSide = 100

// columns are the lines of a text with what stands beside it, or below it on a terminal that is narrow.
func (p *Page) columns(width int) []Line {
	if len(p.Side) == 0 {
		return wrapped(p.Lines, width)
	}
	if width < leastSide {
		return wrapped(slices.Concat(p.Lines, []Line{nil}, p.Side), width)
	}
	half := width / 2
	left, right := wrapped(p.Lines, half-1), wrapped(p.Side, width-half-2)
	lines := make([]Line, max(len(left), len(right)))
	for i := range lines {
		var l Line
		if i < len(left) {
			l = slices.Clone(left[i])
		}
		l = append(l.padded(half-1), Cell{"│ ", Faint})
		if i < len(right) {
			l = append(l, right[i]...)
		}
		lines[i] = l
	}
	return lines
}
