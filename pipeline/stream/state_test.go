package stream_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// An accumulator that cannot be encoded ends the pipeline: its cursor could never be written again.
func TestFoldThatCannotBeEncoded(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		s.tell(map[string]int{}, 4, 5)
		o := s.ordered(nil)
		f := pipeline.NewFold(pipeline.FoldConfig[string, event, float64]{
			Name: "means", Key: func(e event) string { return e.Key }, At: func(e event) time.Time { return time.Unix(int64(e.N), 0) },
			Size: time.Second, State: o.Store(), Zero: func(string) float64 { return 0 },
			Fold:   func(float64, event) float64 { return math.NaN() },
			Handle: func(context.Context, *pipeline.Window[string, float64]) error { return nil },
		})
		p := startOrdered(t, pipeline.Config[event]{
			Source: o, Batchers: []pipeline.AnyBatcher{f},
			Process: func(_ context.Context, m *pipeline.Message[event]) error { f.Add(m, m.Value); return nil },
		})
		if err := p.wait(t); err == nil || !strings.Contains(err.Error(), "means") || !strings.Contains(err.Error(), "NaN") {
			t.Errorf("it ends with %v", err)
		}
	})
}
