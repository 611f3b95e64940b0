package tally

import (
	"encoding/json"
	"time"
)

// Counts are what was counted of one queue and type, or of several, in some time. The zero value is
// nothing. They are added number by number, in any order.
type Counts struct {
	N [counters]uint64
	H [measures]Histogram
}

// Histogram returns a histogram.
func (c *Counts) Histogram(m Measure) *Histogram { return &c.H[m] }

// Busy returns the time that handlers took.
func (c *Counts) Busy() time.Duration { return time.Duration(c.N[Busy]) * time.Microsecond } //nolint:gosec // a time was put in

// Ended returns how many ends there were.
func (c *Counts) Ended() (n uint64) {
	for _, o := range Outcomes() {
		n += c.N[o]
	}
	return n
}

// IsZero reports whether nothing was counted.
func (c *Counts) IsZero() bool {
	if c.N != [counters]uint64{} {
		return false
	}
	for i := range c.H {
		if !c.H[i].IsZero() {
			return false
		}
	}
	return true
}

// Add adds o to c.
func (c *Counts) Add(o *Counts) {
	for i, n := range o.N {
		c.N[i] += n
	}
	for i := range o.H {
		c.H[i].Add(&o.H[i])
	}
}

// MarshalJSON implements [json.Marshaler]. What is zero is left out.
func (c *Counts) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	field := func(name string, value any) error {
		v, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), '"', ':')
		b = append(b, v...)
		return nil
	}
	for i, n := range c.N {
		if n == 0 {
			continue
		}
		if err := field(Counter(i).String(), n); err != nil {
			return nil, err
		}
	}
	for i := range c.H {
		if c.H[i].IsZero() {
			continue
		}
		if err := field(Measure(i).String(), &c.H[i]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// UnmarshalJSON implements [json.Unmarshaler]. Fields that a later version may have are passed over.
func (c *Counts) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	*c = Counts{}
	for i := range c.N {
		if v, ok := fields[Counter(i).String()]; ok {
			if err := json.Unmarshal(v, &c.N[i]); err != nil {
				return err
			}
		}
	}
	for i := range c.H {
		if v, ok := fields[Measure(i).String()]; ok {
			if err := json.Unmarshal(v, &c.H[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
