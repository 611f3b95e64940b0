package pipelinemetrics_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	got := gather(t, all)
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

// gather is what is scraped, by name and labels.
func gather(t *testing.T, all prometheus.Gatherer) map[string]float64 {
	t.Helper()
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
	return got
}

// lagging is a source that says what waits, of which nothing comes.
type lagging struct{ lags []pipeline.Lag }

func (s lagging) Pull(ctx context.Context, _ int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	<-ctx.Done()
	return out, ctx.Err()
}

func (s lagging) Lag() []pipeline.Lag { return s.lags }

// What waits is told of each partition, and of a source without any; its age only where it is known.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := pipelinemetrics.New(), prometheus.NewPedanticRegistry()
		if err := all.Register(m); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		p, err := pipeline.New(pipeline.Config[int]{
			Source: pipeline.Merge[int](lagging{[]pipeline.Lag{
				{Partition: 0, Messages: 7, Oldest: now.Add(-time.Minute)}, {Partition: 3, Messages: 5}, {Partition: 4, Oldest: now.Add(-time.Hour)},
			}}, lagging{[]pipeline.Lag{{Partition: -1, Messages: 9, Oldest: now}}}),
			Logger: slog.New(slog.DiscardHandler), Process: func(context.Context, *pipeline.Message[int]) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Watch("p", p.Stats)
		if got := gather(t, all); len(got) != 6 {
			t.Errorf("a pipeline that does not run has %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(10 * time.Second)
		got := gather(t, all)
		for name, want := range map[string]float64{
			"millhand_pipeline_lag_messages 0 p": 7, "millhand_pipeline_lag_seconds 0 p": 70, "millhand_pipeline_lag_messages 3 p": 5,
			"millhand_pipeline_lag_messages 4 p": 0, "millhand_pipeline_lag_seconds 4 p": 0, "millhand_pipeline_lag_messages  p": 9, "millhand_pipeline_lag_seconds  p": 10,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v, %t, want %v", name, v, ok, want)
			}
		}
		if _, ok := got["millhand_pipeline_lag_seconds 3 p"]; ok {
			t.Error("there is an age where none is known")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Values that came too late for their window are counted.
func TestLateValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := pipelinemetrics.New(), prometheus.NewPedanticRegistry()
		if err := all.Register(m); err != nil {
			t.Fatal(err)
		}
		minutes := pipeline.NewFold(pipeline.FoldConfig[int, int, int]{
			Name: "minutes", Size: time.Minute, Key: func(int) int { return 0 }, At: func(minute int) time.Time { return time.Unix(int64(60*minute), 0) },
			Zero: func(int) int { return 0 }, Fold: func(n, _ int) int { return n + 1 },
			Handle: func(context.Context, *pipeline.Window[int, int]) error { return nil },
		})
		p, err := pipeline.New(pipeline.Config[int]{
			Source: pipeline.FromSeq(slices.Values([]int{1, 5, 2, 5, 3})), Batchers: []pipeline.AnyBatcher{minutes}, Logger: slog.New(slog.DiscardHandler),
			Process: func(_ context.Context, message *pipeline.Message[int]) error {
				minutes.Add(message, message.Value)
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Watch("p", p.Stats)
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := gather(t, all)["millhand_pipeline_late_total minutes p"]; got != 2 {
			t.Errorf("%v late, want 2", got)
		}
	})
}
