package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A series is a measure over the rounds, in their order.
type series []float64

// median returns the middle value, or the mean of the two in the middle. The series must
// not be empty.
func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// over divides round by round.
func (s series) over(t series) series {
	ratios := make(series, len(s))
	for i := range s {
		ratios[i] = s[i] / t[i]
	}
	return ratios
}

// seriesOf picks a measure from the samples; nil if it is not in them.
func seriesOf(samples []sample, measure string) series {
	var s series
	for _, got := range samples {
		if v, ok := got[measure]; ok {
			s = append(s, v)
		}
	}
	return s
}

// percentile returns the smallest of sorted that at least p percent are not above. sorted
// must not be empty.
func percentile(sorted []int64, p int) int64 {
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func (s sample) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s=%.4g ", k, s[k])
	}
	return strings.TrimSpace(b.String())
}

// A budget is a bound of a measure or a ratio. The zero value bounds nothing.
type budget struct {
	atLeast, atMost float64 // only one of them is not zero
}

// met reports whether v keeps to b.
func (b budget) met(v float64) bool {
	switch {
	case b.atLeast > 0:
		return v >= b.atLeast
	case b.atMost > 0:
		return v <= b.atMost
	}
	return true
}

func (b budget) String() string {
	switch {
	case b.atLeast > 0:
		return fmt.Sprintf("≥ %g", b.atLeast)
	case b.atMost > 0:
		return fmt.Sprintf("≤ %g", b.atMost)
	}
	return ""
}
