package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/web"
)

// A cluster is a broker, workers and a dashboard.
type cluster struct {
	*testing.T
	broker *broker.Broker
	store  string // of the broker
	nc     *nats.Conn
	client *millhand.Client
	server *httptest.Server
	stops  []context.CancelFunc
}

// start returns a cluster without workers and jobs.
func start(t *testing.T, o web.Options) *cluster {
	t.Helper()
	store := t.TempDir()
	b, err := broker.Start(broker.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	c := &cluster{T: t, broker: b, store: store}
	c.nc, err = nats.Connect(b.ClientURL(), nats.Name("api-7"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.nc.Close)
	log := slog.New(slog.DiscardHandler)
	if c.client, err = millhand.NewClient(c.nc, millhand.Config{Namespace: "prod", Logger: log}); err != nil {
		t.Fatal(err)
	}
	h, err := web.New(c.client, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	c.server = httptest.NewServer(h)
	t.Cleanup(c.server.CloseClientConnections)
	t.Cleanup(c.server.Close)
	return c
}

// worker starts a worker, which is there when it returns.
func (c *cluster) worker(name string, concurrency int, queues []string, mux *millhand.Mux) {
	c.Helper()
	cfg := millhand.WorkerConfig{
		Config: millhand.Config{Namespace: "prod", Logger: slog.New(slog.DiscardHandler)}, Mux: mux, Name: name, Concurrency: concurrency,
		DrainTimeout: -1,
	}
	for _, q := range queues {
		cfg.Queues = append(cfg.Queues, millhand.Queue{Name: q, Weight: 1})
	}
	w, err := millhand.NewWorker(c.nc, cfg)
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	c.Cleanup(func() {
		cancel()
		<-ended
	})
	c.await("worker "+name, func() bool {
		all, err := c.client.Workers(context.Background())
		for _, w := range all {
			if w.Name == name {
				return true
			}
		}
		_ = err // it is asked again
		return false
	})
}

// await waits until something is so.
func (c *cluster) await(what string, so func() bool) {
	c.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for !so() {
		select {
		case <-poll.C:
		case <-deadline.C:
			c.Fatal("waited for " + what)
		}
	}
}

func (c *cluster) enqueue(typ, payload string, opts ...millhand.EnqueueOption) millhand.Ref {
	c.Helper()
	ref, err := c.client.Enqueue(context.Background(), millhand.Raw{Name: typ, Payload: []byte(payload)}, opts...)
	if err != nil {
		c.Fatal(err)
	}
	return ref
}

var errTimeout = errors.New("fetch https://feeds.example.com/a.csv: timeout after 12s")

// seed makes a namespace in which something of everything is: queues that work, one that is paused, a type
// that nobody serves, jobs in each state, errors of several kinds, limits, schedules, and an hour of
// statistics.
func (c *cluster) seed() {
	c.Helper()
	ctx := context.Background()
	mux := millhand.NewMux()
	hold := make(chan struct{})
	c.Cleanup(func() { close(hold) })
	mux.HandleFunc("email", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		switch {
		case j.ID[len(j.ID)-1]%8 == 0:
			return nil, millhand.Permanent(fmt.Errorf("450 4.7.1 <customer%d@example.com> greylisted, try again in %d s", j.Attempt, 300))
		case j.ID[len(j.ID)-1]%8 == 1:
			return nil, errors.New("dial tcp 10.1.2.3:25: connection refused")
		}
		return []byte(`{"accepted":true}`), nil
	}, millhand.TypeConfig{MaxAttempts: 4})
	mux.HandleFunc("import", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		if j.Attempt == 1 && j.ID[len(j.ID)-1]%2 == 0 {
			return nil, errTimeout
		}
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	}, millhand.TypeConfig{MaxAttempts: 10, Timeout: 15 * time.Minute, Quotas: []millhand.Quota{{Limit: 5}}})
	mux.HandleFunc("invoice", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New(`row 1823: column "price": not a number`))
	})
	mux.HandleFunc("report", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	c.worker("web-1", 16, []string{"default", "critical", "low"}, mux)
	c.worker("web-2", 16, []string{"default", "critical", "low"}, mux)
	for i := range 24 {
		c.enqueue("import", fmt.Sprintf(`{"file":"feed-%d.csv","rows":%d,"customer":{"id":1970670598291982290,"name":"Ada Lovelace"}}`, i, 18220+i), millhand.WithMeta("customer", fmt.Sprint(40+i%3)))
	}
	for i := range 160 {
		c.enqueue("email", fmt.Sprintf(`{"to":"customer%d@example.com","template":"welcome"}`, i), millhand.WithQueue([]string{"default", "critical"}[i%2]))
	}
	for i := range 12 {
		c.enqueue("invoice", fmt.Sprintf(`{"invoice":%d}`, 1000+i))
		c.enqueue("resize", fmt.Sprintf(`{"image":"img-%d.png","width":1280}`, i), millhand.WithQueue("media"))
		c.enqueue("report", fmt.Sprintf(`{"month":%d}`, i+1), millhand.WithDelay(time.Duration(i+1)*time.Hour))
	}
	c.pause("low", "database move")
	c.put("limits/resize", map[string]any{"limit": 8})
	for i := range 6 {
		c.enqueue("report", fmt.Sprintf(`{"day":%d}`, i), millhand.WithQueue("low"))
	}
	if err := c.client.PutCron(ctx, millhand.Cron{Name: "nightly", Schedule: "0 2 * * *", Zone: "Europe/Berlin", Args: millhand.Raw{Name: "report", Payload: []byte(`{"kind":"nightly"}`)}}); err != nil {
		c.Fatal(err)
	}
	c.workflows()
	c.await("jobs to end", func() bool {
		n := 0
		for _, err := range c.client.Dead(ctx, millhand.DeadFilter{}) {
			if err != nil {
				return false
			}
			n++
		}
		return n >= 20
	})
	c.history(time.Hour)
}

// workflows starts one that waits for a person, one that is over, one that failed, and one of many steps. The worker has
// to have the type report, and no worker resize.
func (c *cluster) workflows() {
	c.Helper()
	step := func(kind string) millhand.Raw { return millhand.Raw{Name: kind, Payload: []byte(`{}`)} }
	nightly := millhand.NewWorkflow("nightly import", millhand.WorkflowConfig{ID: "import-2026-11-28", Queue: "default", Deadline: 48 * time.Hour})
	fetch := nightly.Step("fetch", step("report"))
	report := nightly.Step("report", step("report"), millhand.After(fetch))
	approved, expired := nightly.Signal("approved"), nightly.Sleep("expired", 24*time.Hour)
	publish := nightly.Step("publish", step("report"), millhand.After(report), millhand.AfterAny(approved, expired), millhand.Undo(step("report")))
	nightly.Step("clean", step("report"), millhand.AfterEnd(report, publish), millhand.Optional())
	over := millhand.NewWorkflow("month end", millhand.WorkflowConfig{ID: "close-2026-10", Queue: "default"})
	over.Step("sum", step("report"), millhand.After(over.Step("gather", step("report"))))
	failed := millhand.NewWorkflow("billing run", millhand.WorkflowConfig{ID: "billing-2026-11", Queue: "default"})
	bill := failed.Step("bill", step("invoice"))
	failed.Step("send", step("report"), millhand.After(bill))
	failed.Step("tell", step("report"), millhand.AfterFailure(bill), millhand.Optional())
	wide := millhand.NewWorkflow("thumbnails of the catalogue", millhand.WorkflowConfig{ID: "thumbnails", Queue: "media"})
	var all []*millhand.Step
	for i := range 240 {
		all = append(all, wide.Step(fmt.Sprintf("image-%d", i), step("resize"), millhand.Undo(step("remove"))))
	}
	wide.Step("index", step("report"), millhand.After(all...))
	for _, w := range []*millhand.Workflow{over, failed, nightly, wide} {
		if _, err := c.client.Start(context.Background(), w); err != nil {
			c.Fatal(err)
		}
	}
	c.await("workflows", func() bool {
		phases := make(map[string]string)
		for w, err := range c.client.Workflows(context.Background()) {
			if err != nil {
				return false
			}
			phases[w.ID] = fmt.Sprint(w.Phase, w.Succeeded)
		}
		return phases["close-2026-10"] == "succeeded2" && phases["billing-2026-11"] == "dead1" && phases["import-2026-11-28"] == "running2"
	})
}

// history writes statistics as workers would have, minute by minute.
func (c *cluster) history(back time.Duration) {
	c.Helper()
	js, err := c.nc.JetStream()
	if err != nil {
		c.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Minute)
	signs := []tally.Sign{{Code: "dying", Subject: "invoice", Since: now.Add(-4 * time.Minute), Problem: true}}
	for i := int(back / time.Minute); i > 0; i-- {
		at := now.Add(-time.Duration(i) * time.Minute)
		wave := 1 + 0.5*math.Sin(float64(i)/6)
		sums := make(tally.Sums)
		for typ, n := range map[string]float64{"email": 2400 * wave, "import": 12, "invoice": 180 * wave, "report": 40} {
			counts := &tally.Counts{}
			counts.N[tally.Started], counts.N[tally.Succeeded] = uint64(n), uint64(n*0.97)
			counts.N[tally.Retrying] = uint64(n) - uint64(n*0.97)
			if typ == "invoice" {
				counts.N[tally.Dead] = uint64(n / 30)
			}
			counts.N[tally.Busy] = uint64(n * 200_000)
			var wait, run tally.Timer
			for k := range 40 {
				wait.Observe(time.Duration(float64(20+k*4)*wave) * time.Millisecond)
				run.Observe(time.Duration(120+k*12) * time.Millisecond)
			}
			counts.Histogram(tally.Wait).Add(wait.Read())
			counts.Histogram(tally.Run).Add(run.Read())
			sums.Add(tally.Pair{Queue: "default", Type: typ}, counts)
			if typ == "email" {
				sums.Add(tally.Pair{Queue: "critical", Type: typ}, counts)
			}
		}
		record := &tally.Record{At: at, Periods: []*tally.Period{{At: at, Sums: sums, Backlog: &tally.Backlog{Samples: 1, Signs: signs, Queues: map[string]*tally.QueueBacklog{
			"default": {Types: map[string]*tally.TypeBacklog{"import": {Ready: tally.One(uint64(17 + 9*wave)), InHand: tally.One(5)}, "email": {Ready: tally.One(uint64(40 * wave)), InHand: tally.One(16)}}},
		}}}}}
		body, _ := record.Encode(1 << 20)
		if _, err := js.Publish("prod.stats.1m", body); err != nil {
			c.Fatal(err)
		}
	}
}
