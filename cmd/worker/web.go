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
	"github.com/millhand/millhand/internal/supervisor"
)

const (
	headerTimeout = 5 * time.Second
	probeTimeout  = 2 * time.Second
	workerPart    = "worker" // the jobs' part of the process
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
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, http.StatusOK, s.health(w)) })
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

// health is what the worker says of itself, its tree below that of the process.
func (s *session) health(w *millhand.Worker) millhand.Health {
	h := w.Health()
	process := s.tree.Tree()
	tree := partOf(process)
	for _, n := range process.Children {
		p := partOf(n)
		if n.Name == workerPart {
			p.Kind, p.Children = h.Tree.Kind, h.Tree.Children
		}
		tree.Children = append(tree.Children, p)
	}
	h.Tree = tree
	return h
}

// partOf describes a node without those below it.
func partOf(n supervisor.Node) millhand.Part {
	return millhand.Part{
		Name: n.Name, Kind: string(n.Kind), State: string(n.State),
		Restarts: n.Restarts, LastError: n.LastError, Since: n.Since,
	}
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
