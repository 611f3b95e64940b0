package alerts

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// stored are series, a value each minute, as they are written in tests of rules. Prometheus' own storage for
// tests brings the clients of three clouds with it, whose compilation takes longer than all else.
func stored(t *testing.T, descriptions []string) storage.Queryable {
	t.Helper()
	parse := parser.NewParser(parser.Options{})
	var all []storage.Series
	for _, d := range descriptions {
		name, values, err := parse.ParseSeriesDesc(d)
		if err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		var samples []chunks.Sample
		for i, v := range values {
			if !v.Omitted {
				samples = append(samples, point{(time.Duration(i) * time.Minute).Milliseconds(), v.Value})
			}
		}
		all = append(all, storage.NewListSeries(name, samples))
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, by ...*labels.Matcher) storage.SeriesSet {
			return &series{next: slices.DeleteFunc(slices.Clone(all), func(s storage.Series) bool {
				return slices.ContainsFunc(by, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) })
			})}
		},
	}}
}

// A series is a set of them that is read one by one.
type series struct {
	now  storage.Series
	next []storage.Series
}

func (s *series) Next() bool {
	if len(s.next) == 0 {
		return false
	}
	s.now, s.next = s.next[0], s.next[1:]
	return true
}

func (s *series) At() storage.Series              { return s.now }
func (*series) Err() error                        { return nil }
func (*series) Warnings() annotations.Annotations { return nil }

// A point is a value at a time, in milliseconds.
type point struct {
	at    int64
	value float64
}

func (p point) T() int64                    { return p.at }
func (point) ST() int64                     { return 0 }
func (p point) F() float64                  { return p.value }
func (point) H() *histogram.Histogram       { return nil }
func (point) FH() *histogram.FloatHistogram { return nil }
func (point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample         { return p }
