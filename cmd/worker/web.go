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
	probeTimeout = 2 * time.Second
	workerPart   = "worker" // the jobs' part of the process
)

// States of a worker that are not those of working.
const (
	stateStarting = "starting" // its broker is not ready yet
	stateStopped  = "stopped"  // for good
)

// web serves the health checks.
type web struct {
	handler  http.Handler
	address  string       // the one listened on, where it listens again after a restart
	listener net.Listener // of the first run, so that a wrong address ends the command; then nil
}

// listenHTTP returns nil if --http is empty, or if its default address is taken: a
// second worker on a host is no reason to stop.
func (s *session) listenHTTP(ctx context.Context, w *millhand.Worker) (*web, error) {
	if s.http == "" {
		return nil, nil //nolint:nilnil // turned off
	}
	address := withHost(s.http)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) && !s.httpSet {
		s.log.WarnContext(ctx, "no health checks: the address is taken; choose another with --http", slog.String("address", s.http))
		return nil, nil //nolint:nilnil // turned off
	}
	if err != nil {
		return nil, fmt.Errorf("--http: %w", err)
	}
	if exposed(address) {
		s.log.WarnContext(ctx, "health checks can be read by anyone who reaches this address: they have no password", slog.String("address", address))
	}
	s.log.InfoContext(ctx, "serving health checks", slog.String("url", "http://"+l.Addr().String()))
	return &web{handler: s.handler(w), address: l.Addr().String(), listener: l}, nil
}

func (s *session) handler(w *millhand.Worker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		h := s.health(w)
		status := http.StatusOK
		if h.State == stateStopped {
			status = http.StatusServiceUnavailable
		}
		answer(rw, status, h)
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		if err := s.ready(ctx, w); err != nil {
			answer(rw, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "error": err.Error()})
			return
		}
		answer(rw, http.StatusOK, map[string]string{"status": "ready"})
	})
	return mux
}

// ready returns why the broker would not store a job, nil if it would. A broker of our own
// knows the reason best.
func (s *session) ready(ctx context.Context, w *millhand.Worker) error {
	if s.broker != nil {
		if err := s.broker.Err(); err != nil {
			return err
		}
	}
	return w.Ready(ctx)
}

// health is what the worker says of itself, its tree below that of the process.
func (s *session) health(w *millhand.Worker) millhand.Health {
	h := w.Health()
	if h.State == stateStopped && h.Tree.Since.IsZero() && !s.ended.Load() {
		h.State = stateStarting // it waits for the broker, which is no reason to be restarted
	}
	process := s.tree.Tree()
	tree := treeOf(process)
	found := false
	for _, n := range process.Children {
		p := treeOf(n)
		if n.Name == workerPart {
			found = true
			p.Kind, p.Children, p.Abandoned = h.Tree.Kind, h.Tree.Children, h.Tree.Abandoned
		}
		tree.Children = append(tree.Children, p)
	}
	if !found { // its supervisor forgets what it will not start again
		tree.Children = append(tree.Children, h.Tree)
	}
	h.Tree = tree
	return h
}

// treeOf describes a node without those below it.
func treeOf(n supervisor.Node) millhand.TreeNode {
	return millhand.TreeNode{
		Name: n.Name, Kind: string(n.Kind), State: string(n.State),
		Restarts: n.Restarts, LastError: n.LastError, Since: n.Since, Abandoned: n.Abandoned,
	}
}

func answer(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body) // the client went away
}

// run may be called again after it returned: neither a server nor its listener can be used
// twice.
func (w *web) run(ctx context.Context) error {
	l := w.listener
	w.listener = nil
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", w.address); err != nil {
			return err
		}
	}
	server := newWebServer(w.handler)
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(bound(l, webConns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
