// Package pipelinemetrics shows Prometheus what pipelines do.
//
//	m := pipelinemetrics.New()
//	prometheus.MustRegister(m)
//	p, err := pipeline.New(pipeline.Config[Order]{Name: "warehouse", Observe: m.Observe, …})
//	m.Watch("warehouse", p.Stats)
//
// Messages, and what is in hand, are those of [Metrics.Watch], times and sizes those of [Metrics.Observe]. A
// pipeline is one label, as are each of its batchers and of the partitions of its stream; no label comes from what
// is in a message.
package pipelinemetrics

import (
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/pipeline"
)

// Metrics are those of any number of pipelines. It is a [prometheus.Collector].
type Metrics struct {
	process, batch, size *prometheus.HistogramVec

	messages, unsettled, inHand, open, heldKeys, lag, lagAge, late *prometheus.Desc

	mu    sync.Mutex
	stats map[string]func() pipeline.Stats
}

// New returns metrics of no pipeline yet.
func New() *Metrics {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	value := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	seconds := prometheus.ExponentialBuckets(0.0005, 4, 10) // to 131 s
	return &Metrics{
		process: histogram("millhand_pipeline_process_seconds", "How long calls of Process took.", seconds, "pipeline"),
		batch:   histogram("millhand_pipeline_batch_seconds", "How long calls of Handle took.", seconds, "pipeline", "batcher"),
		size:    histogram("millhand_pipeline_batch_size", "Values of a call of Handle.", prometheus.ExponentialBuckets(1, 4, 8), "pipeline", "batcher", "trigger"),

		messages:  value("millhand_pipeline_messages_total", "Messages settled, by how they ended: ok, failed or handed_back.", "pipeline", "end"),
		unsettled: value("millhand_pipeline_unsettled_total", "Messages whose source could not be told of their end.", "pipeline"),
		inHand:    value("millhand_pipeline_in_hand", "Messages pulled and not settled.", "pipeline"),
		open:      value("millhand_pipeline_open_batches", "Batches that wait for more values.", "pipeline", "batcher"),
		heldKeys:  value("millhand_pipeline_held_keys", "Keys whose messages wait for one that failed.", "pipeline"),

		lag:    value("millhand_pipeline_lag_messages", "Messages stored in the stream and not settled. Of a stream that processes share, without a partition, each of them says the same.", "pipeline", "partition"),
		lagAge: value("millhand_pipeline_lag_seconds", "How long the oldest of the messages that wait has been stored, if this process knows one.", "pipeline", "partition"),
		late:   value("millhand_pipeline_late_total", "Values that a fold left out, since their windows took no more when they came.", "pipeline", "batcher"),

		stats: make(map[string]func() pipeline.Stats),
	}
}

// Observe is the Observe of a pipeline's configuration.
func (m *Metrics) Observe(e pipeline.Event) {
	batcher, isBatch := strings.CutPrefix(e.What, "batch/")
	switch {
	case isBatch && e.Phase == pipeline.Start:
		trigger := "window" // a fold's
		if e.Trigger != 0 {
			trigger = e.Trigger.String()
		}
		m.size.WithLabelValues(e.Pipeline, batcher, trigger).Observe(float64(e.Messages))
	case isBatch:
		m.batch.WithLabelValues(e.Pipeline, batcher).Observe(e.Took.Seconds())
	case e.What == "process" && e.Phase != pipeline.Start:
		m.process.WithLabelValues(e.Pipeline).Observe(e.Took.Seconds())
	}
}

// Watch shows what a pipeline's Stats say, instead of those of an earlier one of the name.
func (m *Metrics) Watch(name string, stats func() pipeline.Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats[name] = stats
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.messages, m.unsettled, m.inHand, m.open, m.heldKeys, m.lag, m.lagAge, m.late} {
		out <- d
	}
	for _, h := range []*prometheus.HistogramVec{m.process, m.batch, m.size} {
		h.Describe(out)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	watched := maps.Clone(m.stats)
	m.mu.Unlock()
	for name, stats := range watched {
		s := stats()
		for end, n := range map[string]int64{"ok": s.Handled, "failed": s.Failed, "handed_back": s.HandedBack} {
			out <- prometheus.MustNewConstMetric(m.messages, prometheus.CounterValue, float64(n), name, end)
		}
		out <- prometheus.MustNewConstMetric(m.unsettled, prometheus.CounterValue, float64(s.Unsettled), name)
		out <- prometheus.MustNewConstMetric(m.inHand, prometheus.GaugeValue, float64(s.InHand), name)
		out <- prometheus.MustNewConstMetric(m.heldKeys, prometheus.GaugeValue, float64(s.HeldKeys), name)
		for batcher, n := range s.OpenBatches {
			out <- prometheus.MustNewConstMetric(m.open, prometheus.GaugeValue, float64(n), name, batcher)
		}
		for batcher, n := range s.Late {
			out <- prometheus.MustNewConstMetric(m.late, prometheus.CounterValue, float64(n), name, batcher)
		}
		m.collectLag(out, name, s.Lag)
	}
	for _, h := range []*prometheus.HistogramVec{m.process, m.batch, m.size} {
		h.Collect(out)
	}
}

// collectLag shows what waits in a pipeline's source. Of several sources that have the same partitions it shows the
// sum.
func (m *Metrics) collectLag(out chan<- prometheus.Metric, pipelineName string, lags []pipeline.Lag) {
	now := time.Now()
	messages, ages := make(map[string]float64), make(map[string]float64)
	for _, l := range lags {
		partition := "" // it has none
		if l.Partition >= 0 {
			partition = strconv.Itoa(l.Partition)
		}
		messages[partition] += float64(l.Messages)
		if age, known := l.Age(now); known {
			ages[partition] = max(ages[partition], age.Seconds())
		}
	}
	for partition, n := range messages {
		out <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, n, pipelineName, partition)
	}
	for partition, seconds := range ages {
		out <- prometheus.MustNewConstMetric(m.lagAge, prometheus.GaugeValue, seconds, pipelineName, partition)
	}
}
