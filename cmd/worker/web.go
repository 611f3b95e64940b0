package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/millhand/millhand"
)

const (
	headerTimeout = 5 * time.Second
	probeTimeout  = 2 * time.Second
)

// web serves the health checks.
type web struct {
	server   *http.Server
	listener net.Listener
}

// listenHTTP returns nil if --http is empty, or if its default address is taken: a
// second worker on a host is no reason to stop.
func (s *session) listenHTTP(ctx context.Context, w *millhand.Worker) (*web, error) {
	if s.http == "" {
		return nil, nil //nolint:nilnil // turned off
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.http)
	if errors.Is(err, syscall.EADDRINUSE) && !s.httpSet {
		s.log.WarnContext(ctx, "no health checks: the address is taken; choose another with --http", slog.String("address", s.http))
		return nil, nil //nolint:nilnil // turned off
	}
	if err != nil {
		return nil, fmt.Errorf("--http: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, http.StatusOK, w.Health()) })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		if err := w.Ready(ctx); err != nil {
			answer(rw, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "error": err.Error()})
			return
		}
		answer(rw, http.StatusOK, map[string]string{"status": "ready"})
	})
	s.log.InfoContext(ctx, "serving health checks", slog.String("url", "http://"+l.Addr().String()))
	return &web{listener: l, server: &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}}, nil
}

func answer(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body) // the client went away
}

func (w *web) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = w.server.Close() })()
	if err := w.server.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
