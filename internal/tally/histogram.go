package tally

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// The buckets of a histogram. Bucket i has what took more than 2^((i-1)/4) and at most 2^(i/4)
// seconds: four to each doubling, as in Prometheus' native histograms of schema 2.
const (
	FirstBucket = -60            // all up to 30 µs
	LastBucket  = 68             // up to 36 h
	Above       = LastBucket + 1 // what took longer
	buckets     = Above - FirstBucket + 1
)

// BucketOf returns the bucket of d.
func BucketOf(d time.Duration) int {
	if d <= 0 {
		return FirstBucket
	}
	fraction, exponent := math.Frexp(d.Seconds())
	i := 4 * exponent
	switch { // the powers of 2 by quarters, as Prometheus has them
	case fraction <= 0.5:
		i -= 4
	case fraction <= 0.5946035575013605:
		i -= 3
	case fraction <= 0.7071067811865475:
		i -= 2
	case fraction <= 0.8408964152537144:
		i--
	}
	return min(max(i, FirstBucket), Above)
}

// UpperBound returns the longest that bucket i has, in seconds; infinity above the last.
func UpperBound(i int) float64 {
	if i >= Above {
		return math.Inf(1)
	}
	return math.Exp2(float64(i) / 4)
}

// A Histogram says how long things took. Two are added by adding their buckets. The zero value is
// that of nothing.
type Histogram struct {
	first  int      // bucket of counts[0]
	counts []uint64 // neither the first nor the last of them is 0
	micros uint64   // all together
}

// NewHistogram returns the histogram of these times.
func NewHistogram(ds ...time.Duration) *Histogram {
	h := new(Histogram)
	for _, d := range ds {
		h.add(BucketOf(d), 1)
		h.micros += microsOf(d)
	}
	return h
}

// microsOf is d in microseconds, none if it is negative.
func microsOf(d time.Duration) uint64 {
	return uint64(max(d, 0) / time.Microsecond) //nolint:gosec // it is not negative
}

// add adds n to bucket i.
func (h *Histogram) add(i int, n uint64) {
	if n > 0 {
		h.reach(i, i)
		h.counts[i-h.first] += n
	}
}

// Add adds what o has to h.
func (h *Histogram) Add(o *Histogram) {
	if len(o.counts) > 0 { // at once, so that it grows once
		h.reach(o.first, o.first+len(o.counts)-1)
	}
	for i, n := range o.counts {
		h.counts[o.first+i-h.first] += n
	}
	h.micros += o.micros
}

// reach has h reach from a bucket to another, both of which are to have something.
func (h *Histogram) reach(from, to int) {
	if len(h.counts) == 0 {
		h.first, h.counts = from, make([]uint64, to-from+1)
		return
	}
	from, to = min(from, h.first), max(to, h.first+len(h.counts)-1)
	if len(h.counts) == to-from+1 {
		return
	}
	counts := make([]uint64, to-from+1)
	copy(counts[h.first-from:], h.counts)
	h.first, h.counts = from, counts
}

// Count returns of how many things it is.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Sum returns how long they took together.
func (h *Histogram) Sum() time.Duration {
	return time.Duration(min(h.micros, math.MaxInt64/1000)) * time.Microsecond //nolint:gosec // it fits
}

// Mean returns how long one took on average; 0 of nothing.
func (h *Histogram) Mean() time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(h.micros/n) * time.Microsecond //nolint:gosec // a time was put in
}

// Buckets calls f with each bucket that has something, in their order.
func (h *Histogram) Buckets(f func(i int, n uint64)) {
	for i, n := range h.counts {
		if n > 0 {
			f(h.first+i, n)
		}
	}
}

// Quantile returns the time within which the share q of all took, off by at most 9 %; 0 of nothing.
// Below the first bucket and above the last it is their bound.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(uint64(math.Ceil(min(max(q, 0), 1)*float64(h.Count()))), 1)
	for i, n := range h.counts {
		if n >= rank {
			return middle(h.first + i)
		}
		rank -= n
	}
	return 0
}

// middle is the value that is off by the least share for all that is in bucket i.
func middle(i int) time.Duration {
	lower, upper := UpperBound(i-1), UpperBound(i)
	seconds := 2 * lower * upper / (lower + upper)
	switch i {
	case FirstBucket:
		seconds = upper
	case Above:
		seconds = lower
	}
	return time.Duration(seconds * float64(time.Second))
}

// histogramJSON is a histogram as it is stored: the first bucket, and then the number in each from
// there on; a negative number -n stands for n empty ones.
type histogramJSON struct {
	Micros uint64  `json:"us"`
	Counts []int64 `json:"n"`
}

// IsZero reports whether it is of nothing.
func (h *Histogram) IsZero() bool { return len(h.counts) == 0 }

// MarshalJSON implements [json.Marshaler].
func (h *Histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{Micros: h.micros, Counts: make([]int64, 1, 1+len(h.counts))}
	out.Counts[0] = int64(h.first)
	empty := int64(0)
	for _, n := range h.counts {
		if n == 0 {
			empty++
			continue
		}
		if empty > 0 {
			out.Counts = append(out.Counts, -empty)
			empty = 0
		}
		out.Counts = append(out.Counts, int64(n)) //nolint:gosec // nobody runs that many jobs
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses buckets that there are not.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	read := Histogram{micros: in.Micros}
	if len(in.Counts) > 0 {
		bucket := in.Counts[0]
		for _, n := range in.Counts[1:] {
			if bucket < FirstBucket || bucket > Above || n < -buckets {
				return fmt.Errorf("histogram: bucket %d is none of %d to %d", bucket, FirstBucket, Above)
			}
			if n < 0 {
				bucket -= n
				continue
			}
			read.add(int(bucket), uint64(n))
			bucket++
		}
	}
	*h = read
	return nil
}
