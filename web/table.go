package web

import "sort"

// sortBy sorts a table, and leaves what is equal in its order.
func sortBy[T any](all []T, less func(a, b T) bool) {
	sort.SliceStable(all, func(i, j int) bool { return less(all[i], all[j]) })
}

// A sorting is by which column a table is sorted, as the query says.
type sorting struct {
	By   string
	Desc bool // the other way round than the column is by itself
}

func (v *visit) sorting(usual string) sorting {
	s := sorting{By: v.r.URL.Query().Get("sort"), Desc: v.r.URL.Query().Get("order") == "reverse"}
	if s.By == "" {
		s.By = usual
	}
	return s
}

// sortTable sorts by the columns that there are, each with its own order; without one it stays as it is.
func sortTable[T any](s sorting, all []T, columns map[string]func(a, b T) bool) {
	less := columns[s.By]
	if less == nil {
		return
	}
	if s.Desc {
		forward := less
		less = func(a, b T) bool { return forward(b, a) }
	}
	sortBy(all, less)
}

// A head is the head of a column that a table can be sorted by.
type head struct {
	Name, Text string
	Class      string
	Aria       string // ascending, descending or empty
	To         string
}

// Head is the head of a column, with the address that sorts by it.
func (v *visit) Head(s sorting, name, text, class string) head {
	h := head{Name: name, Text: text, Class: class}
	if s.By != name {
		h.To = v.withQuery("sort", name, "order", "")
		return h
	}
	h.To = v.withQuery("sort", name, "order", "reverse")
	if s.Desc {
		h.To = v.withQuery("sort", name, "order", "")
	}
	h.Aria = "descending" // the most of something first; names are from A to Z
	if s.Desc != (name == "name") {
		h.Aria = "ascending"
	}
	return h
}
