package metrics_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/metrics"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/worker"
)

var update = flag.Bool("update", false, "write the golden files")

// observed is a worker about which everything is known.
func observed() *worker.Observation {
	book := tally.NewBook()
	l := book.Of("default", "email")
	l.Started(time.Second)
	l.Ran(100 * time.Millisecond)
	l.Ended(job.EventSucceeded, "")
	l.Started(time.Minute)
	l.Ran(2 * time.Hour)
	l.Ended(job.EventDead, job.ReasonPermanent)
	book.Of("mail", "email").Inc(tally.Redelivered)
	var settle tally.Timer
	settle.Observe(5 * time.Millisecond)
	return &worker.Observation{
		Health:  worker.Health{State: worker.Working, Unsettled: 3, Abandoned: 1, Rebuilt: 2, ClockOffset: 1500 * time.Millisecond},
		Version: "v1.2.3", Concurrency: 16, Running: map[tally.Pair]int{{Queue: "default", Type: "email"}: 4}, SlotsUsed: 4,
		Counted: book.Read(time.Now(), nil), Settle: settle.Read(),
		Permits: []slots.PermitUse{
			{Key: slots.Key{Kind: slots.OfType, Name: "email"}, Permits: 5, Used: 4, Want: 9, Stops: 3},
			{Key: slots.Key{Rate: true, Kind: slots.OfType, Name: "email"}, Permits: 0, Used: 2, Want: 9},
			{Key: slots.Key{Kind: slots.OfKey, Name: "crm"}, Permits: 2},
		},
		Requests: map[string]*tally.Histogram{"publish": settle.Read(), "registry": settle.Read(), "renew": new(tally.Histogram)},
		Restarts: map[string]uint64{"puller": 7}, Connected: true, Reconnects: 2,
		RenewalsConfirmed: 11, RenewalsFailed: 1, RecordsStored: 6, RecordsResent: 1, RecordsDropped: 0,
	}
}

func gather(t *testing.T, o *worker.Observation) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewWorker(func() *worker.Observation { return o }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func text(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// Names, labels and values are a contract.
func TestWorkerIsGolden(t *testing.T) {
	got := text(t, gather(t, observed()))
	got = regexp.MustCompile(`goversion="[^"]*"`).ReplaceAllString(got, `goversion="go"`)
	const golden = "testdata/worker.txt"
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
func TestWorkerIsLinted(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(gather(t, observed())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// However many types there are, the first 200 have series of their own, the rest share one, and the
// sums are those of all.
func TestSeriesAreBounded(t *testing.T) {
	o := observed()
	o.Counted = make(tally.Sums)
	for i := range 10_000 {
		c := new(tally.Counts)
		c.N[tally.Started], c.N[tally.Succeeded] = 1, 1
		c.H[tally.Run] = *tally.NewHistogram(time.Second)
		o.Counted[tally.Pair{Queue: "default", Type: fmt.Sprintf("type-%05d", i)}] = c
	}
	o.Running = map[tally.Pair]int{{Queue: "default", Type: "type-09999"}: 3}
	families := gather(t, o)
	series, size := 0, len(text(t, families))
	for _, f := range families {
		sum := 0.0
		for _, m := range f.GetMetric() {
			series++
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		switch name := f.GetName(); name {
		case "millhand_runs_started_total", "millhand_runs_ended_total", "millhand_run_duration_seconds":
			if sum != 10_000 {
				t.Errorf("%s is %v in all, want 10,000", name, sum)
			}
		case "millhand_jobs_running":
			if sum != 3 || !strings.Contains(text(t, []*dto.MetricFamily{f}), `type="_other"} 3`) {
				t.Errorf("%v run in all, want 3 of type _other", sum)
			}
		}
	}
	if series > 3200 {
		t.Errorf("%d series", series)
	}
	t.Logf("%d series, %d bytes", series, size)
}

// 200 pairs of 20 types are less than 300 kB.
func TestScrapeIsSmall(t *testing.T) {
	o := observed()
	o.Counted = make(tally.Sums)
	for q := range 10 {
		for typ := range 20 {
			c := new(tally.Counts)
			c.N[tally.Started] = 123_456_789
			c.H[tally.Run] = *tally.NewHistogram(time.Second)
			o.Counted[tally.Pair{Queue: fmt.Sprintf("queue-%d", q), Type: fmt.Sprintf("a-type-of-jobs-%d", typ)}] = c
		}
	}
	if size := len(text(t, gather(t, o))); size > 300_000 {
		t.Errorf("%d bytes", size)
	}
}

// A type that has a value of its own keeps it, whatever comes later.
func TestTypesKeepTheirValue(t *testing.T) {
	o := observed()
	o.Counted, o.Running = make(tally.Sums), nil
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewWorker(func() *worker.Observation { return o }))
	for i := range 300 { // in the reverse order of their names, a hundred at a time
		c := new(tally.Counts)
		c.N[tally.Started] = 1
		o.Counted[tally.Pair{Queue: "q", Type: fmt.Sprintf("type-%03d", 999-i)}] = c
		if i%100 != 99 {
			continue
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := text(t, families)
		if !strings.Contains(got, `millhand_runs_started_total{queue="q",type="type-9`) || strings.Contains(got, `type="type-7`) {
			t.Fatalf("after %d types the first ones have no series, or others have", i+1)
		}
		if other := strings.Contains(got, `type="_other"`); other != (i >= 200) {
			t.Fatalf("after %d types: _other is there: %v", i+1, other)
		}
	}
}

// Classic and native buckets tell of the same times.
func TestHistogramsAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Uint64Range(0, 1<<rapid.IntRange(1, 57).Draw(t, "bits")).Draw(t, "ns"))
		}), 0, 40).Draw(rt, "times")
		o := observed()
		c := new(tally.Counts)
		c.H[tally.Run] = *tally.NewHistogram(ds...)
		o.Counted = tally.Sums{{Queue: "q", Type: "t"}: c}
		var h *dto.Histogram
		for _, f := range gather(t, o) {
			if f.GetName() == "millhand_run_duration_seconds" {
				h = f.GetMetric()[0].GetHistogram()
			}
		}
		for _, b := range h.GetBucket() {
			n := uint64(0)
			for _, d := range ds {
				if d.Seconds() <= b.GetUpperBound() {
					n++
				}
			}
			if b.GetCumulativeCount() != n {
				rt.Errorf("%d within %v s, want %d of %v", b.GetCumulativeCount(), b.GetUpperBound(), n, ds)
			}
		}
		total, bucket, count := h.GetZeroCount(), int32(0), int64(0)
		deltas := h.GetPositiveDelta()
		for _, s := range h.GetPositiveSpan() {
			bucket += s.GetOffset()
			for range s.GetLength() {
				count += deltas[0]
				deltas = deltas[1:]
				n := int64(0)
				for _, d := range ds {
					if tally.BucketOf(d) == int(bucket) {
						n++
					}
				}
				if count != n {
					rt.Errorf("%d in native bucket %d, want %d", count, bucket, n)
				}
				total += uint64(count)
				bucket++
			}
		}
		if total != uint64(len(ds)) || len(deltas) > 0 {
			rt.Errorf("%d in native buckets and %d deltas over, of %d", total, len(deltas), len(ds))
		}
	})
}
