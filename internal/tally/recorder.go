package tally

import "time"

// A Recorder makes the records of one worker from its counters, which only grow.
type Recorder struct {
	node string
	told Sums // what its records have, all together
}

// NewRecorder returns the recorder of a worker that has counted nothing.
func NewRecorder(node string) *Recorder { return &Recorder{node: node, told: make(Sums)} }

// Next returns the record of what was counted since the one before, in a time that began at a
// moment; nil if that is nothing.
func (r *Recorder) Next(at time.Time, counted Sums) *Record {
	news := make(Sums)
	for p, now := range counted {
		told := r.told[p]
		if told == nil {
			told = new(Counts)
			r.told[p] = told
		}
		if c := told.catchUp(now); !c.IsZero() {
			news[p] = c
		}
	}
	if len(news) == 0 {
		return nil
	}
	return &Record{Node: r.node, At: at, Periods: []*Period{{At: at, Sums: news}}}
}

// catchUp returns by how much now is more than c, and adds that to c. The time of handlers that run
// can be less than it was, if one of them returned while it was read: then it is told later.
func (c *Counts) catchUp(now *Counts) *Counts {
	news := new(Counts)
	for i, n := range now.N {
		if n > c.N[i] {
			news.N[i] = n - c.N[i]
			c.N[i] = n
		}
	}
	for i := range now.H {
		news.H[i] = now.H[i].minus(&c.H[i])
		c.H[i].Add(&news.H[i])
	}
	return news
}

// minus returns by how much h is more than o, which was h before.
func (h *Histogram) minus(o *Histogram) (d Histogram) {
	for i, n := range h.counts {
		before := uint64(0)
		if j := h.first + i - o.first; j >= 0 && j < len(o.counts) {
			before = o.counts[j]
		}
		d.add(h.first+i, n-min(before, n))
	}
	d.micros = h.micros - min(o.micros, h.micros)
	return d
}
