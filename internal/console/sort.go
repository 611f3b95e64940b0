package console

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sortNext sorts by the next column, and after the last one as the rows come.
func (s *shown) sortNext() {
	if s.page == nil || len(s.page.Columns) == 0 {
		return
	}
	s.sort = (s.sort + 1) % (len(s.page.Columns) + 1)
	s.order()
}

// order sorts the rows. As they come there is nothing to reverse.
func (s *shown) order() {
	if s.page == nil || s.sort == 0 || s.sort > len(s.page.Columns) {
		return
	}
	name := s.name()
	slices.SortStableFunc(s.page.Rows, func(a, b Row) int {
		n := compare(a.Cells[s.sort-1].Text, b.Cells[s.sort-1].Text)
		if s.reverse {
			return -n
		}
		return n
	})
	if i := slices.IndexFunc(s.page.Rows, func(r Row) bool { return r.Name == name }); i >= 0 {
		s.row = i
	}
}

// compare compares numbers and durations as such, and what is neither as text, before them.
func compare(a, b string) int {
	x, isX := quantity(a)
	y, isY := quantity(b)
	switch {
	case isX && isY:
		return cmp.Compare(x, y)
	case isX != isY:
		if isX {
			return 1
		}
		return -1
	}
	return strings.Compare(a, b)
}

// quantity reads "≈1,204", "16/128", "2.6 %" or "4m 12s".
func quantity(text string) (float64, bool) {
	text, _, _ = strings.Cut(strings.TrimLeft(text, "≈> "), "/")
	text = strings.TrimSuffix(strings.ReplaceAll(text, ",", ""), " %")
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n, true
	}
	compact := strings.ReplaceAll(text, " ", "")
	days := 0
	if before, after, ok := strings.Cut(compact, "d"); ok {
		n, err := strconv.Atoi(before)
		if err != nil {
			return 0, false
		}
		days, compact = n, after
	}
	if compact == "" && days > 0 {
		compact = "0s"
	}
	d, err := time.ParseDuration(compact)
	return (time.Duration(days)*24*time.Hour + d).Seconds(), err == nil
}

// sortBy sorts by the column of a title, if there is one, or as the rows come if it is sorted so already.
func (s *shown) sortBy(title string) {
	if s.page == nil {
		return
	}
	i := 1 + slices.IndexFunc(s.page.Columns, func(c Column) bool { return c.Title == title })
	if i == 0 {
		return
	}
	if s.sort == i {
		i = 0
	}
	s.sort, s.reverse = i, false
	s.order()
}
