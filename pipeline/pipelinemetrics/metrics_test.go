package pipelinemetrics_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/pipelinemetrics"
)

// What is scraped says how messages ended, and in which batches.
func TestMetrics(t *testing.T) {
	m := pipelinemetrics.New()
	all := prometheus.NewPedanticRegistry()
	if err := all.Register(m); err != nil {
		t.Fatal(err)
	}
	rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Name: "rows", Size: 2, Handle: func(context.Context, *pipeline.Batch[int]) error { return nil }})
	p, err := pipeline.New(pipeline.Config[int]{
		Name: "warehouse", Source: pipeline.FromSeq(slices.Values([]int{1, 2, 3, 4, 5})), Batchers: []pipeline.AnyBatcher{rows},
		Observe: m.Observe, Logger: slog.New(slog.DiscardHandler),
		Process: func(_ context.Context, message *pipeline.Message[int]) error {
			if message.Value == 5 {
				return errors.New("no")
			}
			rows.Add(message, message.Value)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Watch("warehouse", p.Stats)
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	families, err := all.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			names := []string{f.GetName()}
			for _, l := range metric.GetLabel() {
				if l.GetName() == "trigger" && l.GetValue() == "window" {
					t.Error("a batcher without windows has some")
				}
				names = append(names, l.GetValue())
			}
			name := strings.Join(names, " ")
			switch {
			case metric.GetCounter() != nil:
				got[name] = metric.GetCounter().GetValue()
			case metric.GetGauge() != nil:
				got[name] = metric.GetGauge().GetValue()
			default:
				got[name] = float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{
		"millhand_pipeline_messages_total ok warehouse": 4, "millhand_pipeline_messages_total failed warehouse": 1,
		"millhand_pipeline_messages_total handed_back warehouse": 0, "millhand_pipeline_unsettled_total warehouse": 0,
		"millhand_pipeline_in_hand warehouse": 0, "millhand_pipeline_held_keys warehouse": 0,
		"millhand_pipeline_process_seconds warehouse": 5,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, %t, want %v", name, v, ok, want)
		}
	}
	if n := got["millhand_pipeline_batch_seconds rows warehouse"]; n < 2 {
		t.Errorf("%v calls of the batcher: %v", n, got)
	}
}
