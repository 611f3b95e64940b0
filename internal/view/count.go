package view

import "time"

// A How says how a number was got.
type How string

// The ways to a number.
const (
	Exact   How = "exact"    // at its time
	About   How = "about"    // an estimate, or put together from answers of different moments
	AtLeast How = "at_least" // there may be more
	Unknown How = "unknown"  // the value means nothing
)

// A Count is a number of something, and how it was got. The zero value is no count: one is made by
// its functions.
type Count struct {
	Value int64     `json:"value"`
	How   How       `json:"how"`
	At    time.Time `json:"at,omitzero"` // by the broker's clock; zero: unknown
}

// Known reports whether the value means something.
func (c Count) Known() bool { return c.How != Unknown && c.How != "" }

// Counted is n, in this way, at this time.
func Counted(n int64, how How, at time.Time) Count {
	return Count{Value: max(n, 0), How: how, At: at}
}

// Uncounted is the count of what is not known.
func Uncounted() Count { return Count{How: Unknown} }

// Plus is the sum of two counts, no better than the worse of them and as old as the older.
func (c Count) Plus(d Count) Count {
	if !c.Known() || !d.Known() {
		return Uncounted()
	}
	sum := Count{Value: c.Value + d.Value, How: worse(c.How, d.How), At: c.At}
	if sum.At.IsZero() || !d.At.IsZero() && d.At.Before(sum.At) {
		sum.At = d.At
	}
	return sum
}

// worse returns which of two ways says less. A sum with an estimate in it is an estimate.
func worse(a, b How) How {
	for _, h := range []How{About, AtLeast} {
		if a == h || b == h {
			return h
		}
	}
	return Exact
}
