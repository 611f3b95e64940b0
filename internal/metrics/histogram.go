package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/millhand/millhand/internal/tally"
)

// The classic buckets have bounds of 4^k seconds, from about a millisecond to 18 hours: each is one
// of the tally's, eight apart.
const (
	firstBound = -5
	lastBound  = 8
	apart      = 8
)

// nativeSchema is how fine native buckets are: those of the tally.
const nativeSchema = 2

// A histogram is a metric with classic and with native buckets.
// [prometheus.NewConstNativeHistogram] has native ones only.
type histogram struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	of     *tally.Histogram
}

// newHistogram returns one with values for the labels of desc, whose names are given in the order of
// the alphabet.
func newHistogram(desc *prometheus.Desc, of *tally.Histogram, labels ...*dto.LabelPair) prometheus.Metric {
	return &histogram{desc: desc, labels: labels, of: of}
}

func label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// Desc implements [prometheus.Metric].
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements [prometheus.Metric].
func (h *histogram) Write(m *dto.Metric) error {
	out := &dto.Histogram{
		SampleCount: new(h.of.Count()), SampleSum: new(h.of.Sum().Seconds()),
		Schema: new(int32(nativeSchema)), ZeroThreshold: new(tally.UpperBound(tally.FirstBucket)), ZeroCount: new(uint64(0)),
	}
	h.classic(out)
	h.native(out)
	m.Label, m.Histogram = slices.Clone(h.labels), out
	return nil
}

// classic fills in the classic buckets: how many took at most so long.
func (h *histogram) classic(out *dto.Histogram) {
	sums := make([]uint64, lastBound-firstBound+1)
	h.of.Buckets(func(i int, n uint64) {
		for k := range sums {
			if i <= (firstBound+k)*apart {
				sums[k] += n
			}
		}
	})
	for k, n := range sums {
		bound := tally.UpperBound((firstBound + k) * apart)
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &n})
	}
}

// native fills in the native ones: spans of buckets next to each other, and by how much each has more
// than the one before. What is too short for a bucket of its own is in that of zero.
func (h *histogram) native(out *dto.Histogram) {
	var before int64
	next := int32(0) // the bucket behind the last span
	h.of.Buckets(func(i int, n uint64) {
		if i == tally.FirstBucket {
			out.ZeroCount = &n
			return
		}
		bucket, count := int32(i), int64(n) //nolint:gosec // buckets are few, and nobody runs that many jobs
		if len(out.PositiveSpan) == 0 || bucket > next {
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(bucket - next), Length: new(uint32(0))})
		}
		*out.PositiveSpan[len(out.PositiveSpan)-1].Length++
		out.PositiveDelta = append(out.PositiveDelta, count-before)
		before, next = count, bucket+1
	})
	if len(out.PositiveSpan) == 0 { // by which a native histogram without anything is known as one
		out.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
	}
}
