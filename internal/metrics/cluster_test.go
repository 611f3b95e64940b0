package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/millhand/millhand/internal/metrics"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// seen is a namespace about which everything is known.
func seen() (*view.Snapshot, *problem.Report) {
	at := time.Date(2026, 11, 29, 14, 2, 11, 0, time.UTC)
	exact := func(n int64) view.Count { return view.Counted(n, view.Exact, at) }
	s := &view.Snapshot{
		Namespace: "millhand", At: at, Dead: exact(4118), Took: 20 * time.Millisecond,
		Queues: []view.Queue{{
			Name: "default", Messages: exact(1502), Bytes: exact(402_113), LastSeq: 889_000_000_001_190, Later: exact(1200), Retrying: exact(300), Unclaimed: exact(7),
			Paused: new(registry.Pause),
			Types: []view.Type{
				{Name: "email", Queue: "default", Ready: exact(200), InHand: exact(93), Workers: 3, Consumer: true, Oldest: view.Oldest{How: view.Exact, Seq: 9, At: at.Add(-12 * time.Second)}},
				{Name: "resize", Queue: "default", Ready: exact(4), InHand: exact(0), Oldest: view.Oldest{How: view.Exact, Seq: 10, At: at.Add(-time.Minute)}},
			},
		}},
		Workers: []registry.Node{{State: registry.Working, Concurrency: 16, RunningTotal: 9}, {State: registry.Draining, Concurrency: 16, RunningTotal: 2}},
		Pools:   []view.Pool{{Name: "email", Kind: "type", Limit: 5, Used: 4, Held: 5, Want: 118}, {Name: "email", Kind: "type", Rate: true, Limit: 100, Used: 41, Held: 100, Want: 100}},
		Streams: []view.Stream{
			{Name: "millhand-events", Messages: exact(3), FirstTime: at.Add(-time.Hour), Info: new(jetstream.StreamInfo), Replicas: []view.Replica{{Lag: 3}, {Lag: 12}}},
			{Name: "millhand-queue-default", Queue: "default"},
		},
	}
	r := &problem.Report{
		Problems: []problem.Problem{{Code: problem.NoWorker, Subject: "default/resize"}, {Code: problem.NoWorker, Subject: "default"}, {Code: problem.Leaderless, Subject: "millhand-queue-default"}},
		Unknown:  []problem.Gap{{Codes: []problem.Code{problem.Dying}}},
	}
	return s, r
}

func wanted(context.Context, *view.Snapshot) map[string]float64 {
	return map[string]float64{"email": 37.5}
}

func scrape(t *testing.T, s *view.Snapshot, r *problem.Report) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCluster(func(context.Context) (*view.Snapshot, *problem.Report, error) { return s, r, nil }, wanted))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// Names, labels and values are a contract.
func TestClusterIsGolden(t *testing.T) {
	s, r := seen()
	got := text(t, scrape(t, s, r))
	const golden = "testdata/cluster.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("run with -update if that is meant:\n%s", d)
	}
}

// Prometheus' linter finds nothing.
func TestClusterIsLinted(t *testing.T) {
	s, r := seen()
	problems, err := promlint.NewWithMetricFamilies(scrape(t, s, r)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// What could not be read is absent, and not 0.
func TestWhatIsNotKnownIsAbsent(t *testing.T) {
	s, r := seen()
	s.Missing = []view.Missing{{What: "registry"}}
	s.Queues[0].Retrying, s.Queues[0].Types[0].Oldest, s.Dead = view.Uncounted(), view.Oldest{How: view.Unknown}, view.Uncounted()
	got := text(t, scrape(t, s, r))
	for _, absent := range []string{
		"millhand_workers", "millhand_cluster_slots", "millhand_limit", "millhand_queue_unserved", "millhand_queue_paused", "millhand_queue_retrying", "millhand_dead_jobs",
		`millhand_queue_oldest_ready_seconds{queue="default",type="email"}`, `code="dying"`, `millhand_queue_oldest_ready_seconds{queue="default",type="_other"}`,
	} {
		if strings.Contains(got, "\n"+absent) || strings.Contains(absent, "code") && strings.Contains(got, absent) {
			t.Errorf("%s is there:\n%s", absent, got)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCluster(func(context.Context) (*view.Snapshot, *problem.Report, error) {
		return nil, nil, errors.New("no broker")
	}, wanted))
	if families, err := registry.Gather(); err == nil || len(families) > 0 {
		t.Errorf("without a broker there are %d metrics, %v", len(families), err)
	}
}

// However many types and limits there are, the first 200 have series of their own, the rest share one, and
// sums are those of all.
func TestClusterIsBounded(t *testing.T) {
	s, r := seen()
	q := &s.Queues[0]
	q.Types, q.Unclaimed, s.Pools = nil, view.Counted(0, view.Exact, s.At), nil
	for i := range 10_000 {
		q.Types = append(q.Types, view.Type{Name: fmt.Sprintf("type-%05d", i), Queue: "default", Workers: 1, Consumer: true, Ready: view.Counted(2, view.Exact, s.At), Oldest: view.Oldest{How: view.Exact}})
		s.Pools = append(s.Pools, view.Pool{Name: fmt.Sprintf("type-%05d", i), Kind: "type", Limit: 3})
	}
	families := scrape(t, s, r)
	series := 0
	for _, f := range families {
		sum := 0.0
		for _, m := range f.GetMetric() {
			series++
			sum += m.GetGauge().GetValue()
		}
		if want := map[string]float64{"millhand_queue_ready": 20_000, "millhand_limit": 30_000}[f.GetName()]; want > 0 && sum != want {
			t.Errorf("%s is %v in all, want %v", f.GetName(), sum, want)
		}
	}
	if size := len(text(t, families)); series > 1700 || size > 300_000 {
		t.Errorf("%d series, %d bytes", series, size)
	}
}
