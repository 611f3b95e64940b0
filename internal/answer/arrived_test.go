package answer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/tally"
)

func TestArrived(t *testing.T) {
	begin := time.Date(2026, 11, 29, 14, 0, 0, 0, time.UTC)
	type minute struct {
		seqs              map[string]uint64 // nil: nobody looked
		successors, fired uint64            // of the queue a
	}
	for _, tt := range []struct {
		name    string
		minutes []minute
		want    map[string]float64
	}{
		{"no look", []minute{{}, {}}, map[string]float64{}},
		{"one look", []minute{{seqs: map[string]uint64{"a": 7}}, {}}, map[string]float64{}},
		{"two looks", []minute{{seqs: map[string]uint64{"a": 7, "b": 1}, successors: 100}, {seqs: map[string]uint64{"a": 187, "b": 1}, successors: 40, fired: 20}}, map[string]float64{"": 2, "a": 2, "b": 0}},
		{"a gap between", []minute{{seqs: map[string]uint64{"a": 7}}, {fired: 60}, {seqs: map[string]uint64{"a": 307}}}, map[string]float64{"": 2, "a": 2}},
		{"made again", []minute{{seqs: map[string]uint64{"a": 700}}, {seqs: map[string]uint64{"a": 7}}}, map[string]float64{}},
		{"counted late", []minute{{seqs: map[string]uint64{"a": 7}}, {seqs: map[string]uint64{"a": 8}, fired: 9}}, map[string]float64{"": 0, "a": 0}},
	} {
		span := tally.Span{From: begin, Until: begin.Add(time.Duration(len(tt.minutes)) * time.Minute), Step: time.Minute}
		series := tally.NewSeries(span, tally.ByPair, nil)
		for i, m := range tt.minutes {
			counts := new(tally.Counts)
			counts.N[tally.Successors], counts.N[tally.Fired] = m.successors, m.fired
			p := &tally.Period{At: span.At(i), Sums: tally.Sums{{Queue: "a", Type: "email"}: counts}}
			if m.seqs != nil {
				p.Backlog = &tally.Backlog{Samples: 1, Queues: make(map[string]*tally.QueueBacklog)}
				for name, seq := range m.seqs {
					p.Backlog.Queues[name] = &tally.QueueBacklog{LastSeq: seq}
				}
			}
			series.Add(&tally.Record{At: p.At, Periods: []*tally.Period{p}})
		}
		if d := cmp.Diff(tt.want, arrived(series)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}
