package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/supervisor"
)

func TestHealthzOfAStoppedWorker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		mux := millhand.NewMux()
		addBuiltin(mux)
		log := slog.New(slog.DiscardHandler)
		p := &process{
			log: log, remote: true, config: millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Mux: mux},
			connect: func(context.Context) (*nats.Conn, error) { return nc, nil },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx) }()
		synctest.Wait()
		check := func(wantStatus int, wantState millhand.WorkerState) {
			t.Helper()
			rec := httptest.NewRecorder()
			p.healthChecks().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/healthz", nil))
			var h millhand.Health
			if err := json.Unmarshal(rec.Body.Bytes(), &h); err != nil {
				t.Fatal(err)
			}
			if rec.Code != wantStatus || h.State != wantState {
				t.Errorf("/healthz = %d, %s; want %d, %s", rec.Code, h.State, wantStatus, wantState)
			}
			part(t, h.Tree, "worker")
		}
		check(http.StatusOK, "working")
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		check(http.StatusServiceUnavailable, "stopped")
	})
}

func TestHealthChecksAreServedAgainAfterARestart(t *testing.T) {
	p := &process{log: slog.New(slog.DiscardHandler)}
	var err error
	if p.tree, err = supervisor.New(supervisor.Spec{Name: "process"}); err != nil {
		t.Fatal(err)
	}
	w := &webPart{process: p, address: "127.0.0.1:0"}
	for i, last := 0, ""; i < 2; i, last = i+1, w.address {
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- w.run(ctx, func() { close(ready) }) }()
		<-ready
		if last != "" && w.address != last {
			t.Errorf("run %d listens on %s, want %s as before", i+1, w.address, last)
		}
		var h millhand.Health
		if got := fetch(t, "http://"+w.address+"/healthz", &h); got != http.StatusOK || h.State != millhand.WorkerStarting {
			t.Errorf("run %d: %d, %q, want %d, %q", i+1, got, h.State, http.StatusOK, millhand.WorkerStarting)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}
