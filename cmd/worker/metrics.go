package main

import (
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millhand/millhand"
)

// metrics serves those of the process: of Go, of the operating system and, once there is one, of the
// worker. No request goes to the broker.
func (p *process) metrics() http.Handler {
	return p.exposition(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &workerMetrics{process: p})
}

// exposition serves what collectors have.
func (p *process) exposition(all ...prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(all...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
	})
}

// workerMetrics are those of a worker that comes when there is a broker. It describes none: they are
// checked when they are there.
type workerMetrics struct {
	process *process

	mu   sync.Mutex
	of   *millhand.Worker
	made prometheus.Collector // of that worker
}

// Describe implements [prometheus.Collector].
func (*workerMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (m *workerMetrics) Collect(to chan<- prometheus.Metric) {
	w := m.process.worker.Load()
	if w == nil {
		return
	}
	m.mu.Lock()
	if m.of != w {
		m.of, m.made = w, w.Collector()
	}
	made := m.made
	m.mu.Unlock()
	made.Collect(to)
}
