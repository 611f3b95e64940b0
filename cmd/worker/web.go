package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/web"
)

const probeTimeout = 2 * time.Second

// A webPart serves what is to be known of a process, what it knows of the others, and the dashboard.
type webPart struct {
	process *process
	address string // once it has listened, where it did
}

// run listens and serves. It may be called again after it returned, and listens where it did
// before. If the default address is taken, there are no health checks: a second worker on a
// host is no reason to stop.
func (w *webPart) run(ctx context.Context, ready func()) error {
	p := w.process
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", w.address)
	if errors.Is(err, syscall.EADDRINUSE) && !p.httpGiven {
		p.log.WarnContext(ctx, "no health checks: the address is taken; choose another with --http", slog.String("address", p.http))
		return supervisor.ErrIgnore
	}
	if err != nil {
		return fmt.Errorf("--http: %w", err)
	}
	if exposed(w.address) {
		p.log.WarnContext(ctx, "health checks can be read by anyone who reaches this address: they have no password", slog.String("address", w.address))
	}
	w.address = withPort(w.address, l.Addr())
	checks := p.healthChecks()
	closeDashboard, err := p.addDashboard(checks)
	if err != nil {
		return err
	}
	defer closeDashboard()
	if !p.noDashboard {
		host, _ := os.Hostname() // without it there is no address for others
		p.config.Web = p.dashboardFor(w.address, host)
		p.log.InfoContext(ctx, "serving the dashboard", slog.String("url", p.scheme()+"://"+broker.Reachable(w.address)+p.web.Base+"/"))
	}
	p.log.InfoContext(ctx, "serving health checks", slog.String("url", p.scheme()+"://"+broker.Reachable(w.address)))
	ready()
	server := newWebServer(checks)
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := p.webFlags.Serve(server, bound(l, webConns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// dashboardFor is where others find the dashboard that is served at an address of a host, empty if they do not.
func (p *process) dashboardFor(address, host string) string {
	if p.web.Origin != "" {
		return p.web.Origin + p.web.Base + "/"
	}
	listens, port, err := net.SplitHostPort(address)
	if err != nil || !exposed(address) {
		return ""
	}
	if ip := net.ParseIP(listens); listens == "" || ip != nil && ip.IsUnspecified() {
		if listens = host; host == "" {
			return ""
		}
	}
	return p.scheme() + "://" + net.JoinHostPort(listens, port) + p.web.Base + "/"
}

func (p *process) scheme() string {
	if p.webFlags.TLS() {
		return "https"
	}
	return "http"
}

// addDashboard adds the dashboard to what is served, with the paths that nothing else has. Where there is to be
// none, what programs ask of it stays.
func (p *process) addDashboard(mux *http.ServeMux) (end func(), err error) {
	if p.client == nil {
		return func() {}, nil // without a broker there is nothing to be seen
	}
	opts := p.web
	opts.Logger = p.log
	h, err := web.New(p.client, opts)
	if err != nil {
		return nil, fmt.Errorf("the dashboard: %w", err)
	}
	paths := []string{"/"}
	if p.noDashboard {
		paths = []string{web.MetricsPath, web.AutoscalePath}
	}
	for _, path := range paths {
		mux.Handle(path, h)
	}
	return h.Close, nil
}

func (p *process) healthChecks() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) {
		h := p.health()
		status := http.StatusOK
		if h.State == millhand.WorkerStopped {
			status = http.StatusServiceUnavailable
		}
		answer(rw, status, h)
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		if err := p.ready(ctx); err != nil {
			answer(rw, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "error": err.Error()})
			return
		}
		answer(rw, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.Handle("GET /metrics", p.metrics())
	return mux
}

var errStarting = errors.New("the worker is starting")

// ready returns why the broker would not store a job, nil if it would. A broker of our own
// knows the reason best.
func (p *process) ready(ctx context.Context) error {
	if b := p.broker.Load(); b != nil {
		if err := b.Err(); err != nil {
			return err
		}
	}
	w := p.worker.Load()
	if w == nil {
		return errStarting
	}
	return w.Ready(ctx)
}

// processHealth is what the worker says of itself, with its tree below that of the process.
type processHealth struct {
	millhand.Health
	Tree processTree `json:"tree"`
}

// processTree is the node of the process. The worker's node comes from the public API, so it
// is of another type than the others; as JSON they are alike.
type processTree struct {
	supervisor.Node
	Children []any `json:"children"`
}

func (p *process) health() processHealth {
	h := processHealth{Health: millhand.Health{State: millhand.WorkerStarting, Tree: millhand.TreeNode{Name: workerPart, State: millhand.TreeStarting}}}
	if w := p.worker.Load(); w != nil {
		h.Health = w.Health()
	}
	if h.State == millhand.WorkerStopped && h.Health.Tree.Since.IsZero() && !p.stopped.Load() {
		h.State = millhand.WorkerStarting // it waits for the broker, which is no reason to be restarted
	}
	h.Tree.Node = p.tree.Tree()
	for _, n := range h.Tree.Node.Children {
		switch {
		case n.Name == workerPart: // below
		case n.Name == brokerPart && p.broker.Load() == nil: // it is another worker's
		default:
			h.Tree.Children = append(h.Tree.Children, n)
		}
	}
	h.Tree.Children = append(h.Tree.Children, h.Health.Tree)
	return h
}

func answer(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body) // the client went away
}
