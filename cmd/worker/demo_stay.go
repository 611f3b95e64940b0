package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/web"
)

// A demo that stays keeps little of what has ended, so that it may run for days.
const (
	stayEvents = 10_000
	stayKept   = time.Hour

	stayEnd = 2 * time.Second // for requests that are under way when it ends
)

// stay runs workers, a dashboard and a load without an end, until ctx ends.
func (d *demo) stay(ctx context.Context, b *broker.Broker) error {
	parts := []func(context.Context) error{}
	connect := func(name string) (*nats.Conn, error) {
		return nats.Connect("", append(millhand.ConnectOptions(d.log), nats.InProcessServer(b), nats.Name(name))...)
	}
	for _, p := range stayWorkers() {
		nc, err := connect(p.name)
		if err != nil {
			return err
		}
		defer nc.Close()
		w, err := millhand.NewWorker(nc, p.config(d.log))
		if err != nil {
			return err
		}
		parts = append(parts, w.Run)
	}
	nc, err := connect("demo")
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{Logger: d.log})
	if err != nil {
		return err
	}
	defer client.Close()
	dashboard, url, err := d.dashboard(ctx, client)
	if err != nil {
		return err
	}
	d.sayWhere(b.ClientURL(), url)
	load := newStayLoad(client)
	err = inParallel(ctx, append(parts, dashboard, load.enqueue, load.pause)...)
	if errors.Is(err, errInterrupted) { // as it was to end
		return nil
	}
	return err
}

// dashboard listens, and returns what serves it, and where.
func (d *demo) dashboard(ctx context.Context, client *millhand.Client) (serve func(context.Context) error, url string, err error) {
	h, err := web.New(client, web.Options{Logger: d.log})
	if err != nil {
		return nil, "", err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		h.Close()
		return nil, "", err
	}
	return func(ctx context.Context) error {
		defer h.Close()
		s := newWebServer(h)
		defer context.AfterFunc(ctx, func() { closeSoon(ctx, s) })()
		if err := s.Serve(bound(l, webConns)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, "http://" + l.Addr().String() + "/", nil
}

// closeSoon lets requests come to their end, but not pages that are kept up to date.
func closeSoon(ctx context.Context, s *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stayEnd)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close() // what is left of it is of pages
	}
}

// sayWhere says what can be looked at, and how.
func (d *demo) sayWhere(brokerURL, dashboardURL string) {
	s := d.screen
	s.say("Three workers run jobs without an end: they succeed, fail, retry, die, wait for their time and for limits; a schedule" +
		" adds more, and one queue is paused at times. The data is in a temporary directory, which goes when the demo ends.")
	s.print("\n")
	for _, each := range []struct{ what, where string }{
		{"Dashboard:", dashboardURL},
		{"Console, in another terminal:", "go run ./cmd/millhand top --server " + brokerURL},
		{"Or any other command, such as", "go run ./cmd/millhand status --server " + brokerURL},
	} {
		s.print("  " + each.what + "\n    " + s.in(bold, each.where) + "\n")
	}
	s.print("\n")
	s.say("Ctrl-C ends it.")
}

// A stayWorker is one of the demo's workers.
type stayWorker struct {
	name   string
	slots  int
	queues []millhand.Queue
	crons  []millhand.Cron
}

func stayWorkers() []stayWorker {
	critical, normal, media, low := millhand.Queue{Name: "critical", Weight: 10}, millhand.Queue{Name: "default", Weight: 4},
		millhand.Queue{Name: "media", Weight: 2}, millhand.Queue{Name: "low"}
	report := millhand.Cron{
		Name: "report", Schedule: "@every 20s", Args: millhand.Raw{Name: "report", Payload: []byte(`{"of":"sales"}`)},
		Options: []millhand.EnqueueOption{millhand.WithQueue("low")},
	}
	return []stayWorker{
		{name: "web-1", slots: 8, queues: []millhand.Queue{critical, normal, low}, crons: []millhand.Cron{report}},
		{name: "web-2", slots: 8, queues: []millhand.Queue{critical, normal, low}},
		{name: "media-1", slots: 4, queues: []millhand.Queue{media, low}},
	}
}

func (p *stayWorker) config(log *slog.Logger) millhand.WorkerConfig {
	mux := millhand.NewMux()
	for _, t := range stayTypes() {
		if !slices.ContainsFunc(p.queues, func(q millhand.Queue) bool { return q.Name == t.queue }) {
			continue
		}
		mux.HandleFunc(t.name, t.run, t.config)
	}
	return millhand.WorkerConfig{
		Config: millhand.Config{Logger: log}, Mux: mux, Name: p.name, Queues: p.queues, Concurrency: p.slots, Crons: p.crons,
		DrainTimeout: demoDrain, Retention: millhand.Retention{Results: stayKept, Events: stayEvents, Dead: stayKept},
	}
}
