package tally

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// Sums are counts by queue and type.
type Sums map[Pair]*Counts

// Add adds counts to those of p.
func (s Sums) Add(p Pair, c *Counts) {
	sum := s[p]
	if sum == nil {
		sum = new(Counts)
		s[p] = sum
	}
	sum.Add(c)
}

// AddAll adds all of o.
func (s Sums) AddAll(o Sums) {
	for p, c := range o {
		s.Add(p, c)
	}
}

// MarshalJSON implements [json.Marshaler]: by queue, and by type in each.
func (s Sums) MarshalJSON() ([]byte, error) {
	queues := make(map[string]map[string]*Counts)
	for p, c := range s {
		if queues[p.Queue] == nil {
			queues[p.Queue] = make(map[string]*Counts)
		}
		queues[p.Queue][p.Type] = c
	}
	return json.Marshal(queues)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Sums) UnmarshalJSON(b []byte) error {
	var queues map[string]map[string]*Counts
	if err := json.Unmarshal(b, &queues); err != nil {
		return err
	}
	*s = make(Sums)
	for q, types := range queues {
		for t, c := range types {
			if c != nil {
				(*s)[Pair{q, t}] = c
			}
		}
	}
	return nil
}

// A Record is what was counted, as it is stored: by one worker, or by all of them.
type Record struct {
	Node string `json:"node,omitempty"` // the worker; empty: all
	// UpTo is the sequence of the stream up to which it has what it is the sum of. With the record
	// before it of its resolution it has each record once.
	UpTo    uint64    `json:"up_to,omitempty"`
	At      time.Time `json:"at"` // the beginning of the period for which it was written
	Periods []*Period `json:"periods,omitempty"`

	Stored time.Time `json:"-"` // by the broker's clock; zero of one that was not read from it
}

// A Period is what belongs to a period, by when it was counted. A record may have more than that for
// which it was written: what came too late for the record before.
type Period struct {
	At      time.Time `json:"at"`
	Sums    Sums      `json:"queues,omitempty"`
	Backlog *Backlog  `json:"backlog,omitempty"`
}

// period returns that of r which begins at a time, a new one at first.
func (r *Record) period(at time.Time) *Period {
	i, found := slices.BinarySearchFunc(r.Periods, at, func(p *Period, at time.Time) int { return p.At.Compare(at) })
	if !found {
		r.Periods = slices.Insert(r.Periods, i, &Period{At: at, Sums: make(Sums)})
	}
	return r.Periods[i]
}

// ReadRecord reads a record. Periods that have nothing in JSON have empty sums.
func ReadRecord(b []byte) (*Record, error) {
	r := new(Record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	r.Periods = slices.DeleteFunc(r.Periods, func(p *Period) bool { return p == nil })
	for _, p := range r.Periods {
		if p.Sums == nil {
			p.Sums = make(Sums)
		}
	}
	return r, nil
}

// OtherType stands for all types of a queue that are too many to be told apart.
const OtherType = "_other"

// How many pairs a record tells apart, and how many of these, the busiest, have histograms: tried in
// this order until it is short enough.
func recordSizes() []struct{ pairs, histograms int } {
	return []struct{ pairs, histograms int }{{4000, 500}, {1000, 100}, {200, 20}, {20, 0}, {1, 0}}
}

// Encode returns r in JSON of at most a number of bytes. With more pairs than that has room for, it
// leaves out the histograms of the less busy ones, and then sums these up by queue. It reports
// false if there is no room even so.
func (r *Record) Encode(most int) (body []byte, ok bool) {
	for _, size := range recordSizes() {
		short := *r
		short.Periods = make([]*Period, len(r.Periods))
		for i, p := range r.Periods {
			short.Periods[i] = &Period{At: p.At, Backlog: p.Backlog, Sums: p.Sums.bound(size.pairs, size.histograms)}
		}
		body, err := json.Marshal(&short)
		if err != nil {
			return nil, false
		}
		if len(body) <= most {
			return body, true
		}
	}
	return nil, false
}

// bound returns s with at most so many pairs of their own, and so many of these with histograms.
func (s Sums) bound(pairs, histograms int) Sums {
	if len(s) <= min(pairs, histograms) {
		return s
	}
	busiest := make([]Pair, 0, len(s))
	for p := range s {
		busiest = append(busiest, p)
	}
	slices.SortFunc(busiest, func(a, b Pair) int {
		x, y := s[a], s[b]
		return cmp.Or(cmp.Compare(y.N[Started]+y.Ended(), x.N[Started]+x.Ended()), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Type, b.Type))
	})
	bounded := make(Sums, min(len(s), pairs))
	for i, p := range busiest {
		c := *s[p]
		if i >= histograms {
			c.H = [measures]Histogram{}
		}
		if i >= pairs {
			p.Type = OtherType
		}
		bounded.Add(p, &c)
	}
	return bounded
}
