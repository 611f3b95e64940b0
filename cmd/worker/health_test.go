package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func TestHealthzOfAStoppedWorker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		mux := millhand.NewMux()
		addBuiltin(mux)
		log := slog.New(slog.DiscardHandler)
		w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Mux: mux})
		if err != nil {
			t.Fatal(err)
		}
		session := &session{command: &command{}, log: log}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- session.work(ctx, w, nc) }()
		synctest.Wait()
		check := func(wantStatus int, wantState string) {
			t.Helper()
			rec := httptest.NewRecorder()
			session.handler(w).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/healthz", nil))
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
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &web{listener: l, address: l.Addr().String(), handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, http.StatusOK, map[string]string{})
	})}
	for i := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.run(ctx) }()
		until(t, "it answers", func() bool {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.address)
			if err != nil {
				return false
			}
			_ = conn.Close()
			return true
		})
		var body map[string]string
		if got := fetch(t, "http://"+w.address, &body); got != http.StatusOK {
			t.Errorf("run %d: %d, want %d", i+1, got, http.StatusOK)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}
