package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/metrics"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/worker"
)

// BenchmarkScrape is what Prometheus gets of a worker with 200 pairs of 20 types, all of which have
// run and died.
//
//	go test -run '^$' -bench Scrape ./internal/metrics
func BenchmarkScrape(b *testing.B) {
	book := tally.NewBook()
	for i := range 200 {
		l := book.Of(fmt.Sprintf("queue-%d", i%10), fmt.Sprintf("some-type-%d", i/10))
		for _, took := range []time.Duration{time.Millisecond, 30 * time.Millisecond, time.Second, time.Minute} {
			l.Started(took)
			l.Ran(took)
			l.Ended(job.EventSucceeded, "")
		}
		l.Ended(job.EventDead, job.ReasonPermanent)
	}
	o := observed()
	o.Counted = book.Read(time.Now(), nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewWorker(func() *worker.Observation { return o }))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	for _, encoding := range []string{"identity", "gzip"} {
		b.Run(encoding, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
			r.Header.Set("Accept-Encoding", encoding)
			size, cpu := 0, processorTime(b)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "bytes")
			b.ReportMetric(float64((processorTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
