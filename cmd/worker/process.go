package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/web"
)

// A process is the parts of the command that run. They start in this order, each once the
// one before it can be used, and stop in the reverse order:
//
//	signals      the first stops the others, so that the worker drains
//	broker       not if a server was given, or if another worker's broker is used
//	connection   to the broker; the process ends with it
//	http         health checks and the dashboard, unless they are turned off
//	worker       supervises itself; the process ends with it
type process struct {
	log     *slog.Logger
	signals <-chan os.Signal
	config  millhand.WorkerConfig

	remote    bool // no broker of its own
	store     string
	listen    string
	access    broker.Access // of its own broker
	http      string        // empty: no health checks
	httpGiven bool          // and is no default
	web       web.Options   // of the dashboard
	webFlags  web.Flags

	noDashboard bool // but what programs ask of it

	brokerOnly bool // nothing else runs, such as while a backup is restored

	connect    func(context.Context) (*nats.Conn, error) // to the broker
	instrument func(supervisor.Child) supervisor.Child   // every part passes through it: tests make them fail; nil: none

	tree       *supervisor.Supervisor
	stop       context.CancelFunc // of the tree
	broker     atomic.Pointer[broker.Broker]
	shared     error      // why another worker's broker is to be used; nil: it is not
	conn       *nats.Conn // once the part has started, as is client
	client     *millhand.Client
	worker     atomic.Pointer[millhand.Worker]
	lost       error       // why the connection ended, nil: it was told to; as ended
	ended      error       // how the worker ended; to be read when the tree has ended
	stopped    atomic.Bool // the worker has ended
	handedBack atomic.Bool // a second signal had running jobs handed back
}

// Names of the parts.
const (
	signalsPart    = "signals"
	brokerPart     = "broker"
	connectionPart = "connection"
	httpPart       = "http"
	workerPart     = "worker"
)

// brokerStop is how long a broker may take to bring what it stores to its disk.
const brokerStop = time.Minute

func (p *process) parts() []supervisor.Child {
	parts := []supervisor.Child{{Name: signalsPart, Run: p.watchSignals}}
	if !p.remote {
		parts = append(parts, supervisor.Child{Name: brokerPart, RunReady: p.runBroker, StopTimeout: brokerStop})
	}
	if p.brokerOnly {
		return p.instrumented(parts)
	}
	parts = append(parts, supervisor.Child{
		Name: connectionPart, RunReady: p.runConnection, Restart: supervisor.Temporary, Significant: true,
	})
	if p.http != "" {
		parts = append(parts, supervisor.Child{Name: httpPart, RunReady: (&webPart{process: p, address: withHost(p.http)}).run})
	}
	parts = append(parts, supervisor.Child{
		Name: workerPart, RunReady: p.runWorker, Restart: supervisor.Temporary, Significant: true, StopTimeout: supervisor.Forever,
	})
	return p.instrumented(parts)
}

func (p *process) instrumented(parts []supervisor.Child) []supervisor.Child {
	if p.instrument != nil {
		for i, c := range parts {
			parts[i] = p.instrument(c)
		}
	}
	return parts
}

// run returns when all parts have ended: after a signal, or because one of them cannot go on.
func (p *process) run(ctx context.Context) (err error) {
	ctx, p.stop = context.WithCancel(ctx)
	defer p.stop()
	p.tree, err = supervisor.New(supervisor.Spec{
		Name: "process", AutoShutdown: supervisor.AnySignificant, Children: p.parts(),
		MaxRestarts: new(5), Within: time.Minute, Backoff: supervisor.Backoff{First: time.Second, Max: 10 * time.Second},
		OnEvent: p.logEvent,
	})
	if err != nil {
		return err
	}
	err = p.tree.Run(ctx)
	if b := p.broker.Load(); b != nil {
		b.Shutdown() // where its part gave up, it still has the store
	}
	return p.result(err)
}

// result is what the command ends with, where the tree ended with err.
func (p *process) result(err error) error {
	failed, notStarted := errors.AsType[*supervisor.StartError](err)
	switch {
	case p.lost != nil:
		return p.lost
	case errors.Is(p.ended, millhand.ErrDrainTimeout) && p.handedBack.Load():
		return &cli.ExitError{Code: cli.ExitDrainTimeout, Err: errors.New("stopped at a second signal: the jobs that still ran were handed back")}
	case errors.Is(p.ended, millhand.ErrDrainTimeout):
		return &cli.ExitError{Code: cli.ExitDrainTimeout, Err: p.ended}
	case errors.Is(p.ended, millhand.ErrAbandoned):
		return fmt.Errorf("%w: the log shows where each of them hangs; start the worker again", p.ended)
	case p.ended != nil:
		return p.ended
	case notStarted && errors.Is(err, millhand.ErrInvalid):
		return cli.Usagef("%w", failed.Err)
	case notStarted:
		return failed.Err
	case errors.Is(err, supervisor.ErrIntensity):
		return err
	}
	return nil
}

// logEvent leaves out what is for those who look at the tree, and what the command ends with
// and says then.
func (p *process) logEvent(e supervisor.Event) {
	ends := e.Child == workerPart || e.Kind == supervisor.ChildFailed && e.Restarts == 0
	if e.Level() > slog.LevelInfo && !ends {
		p.log.LogAttrs(context.Background(), e.Level(), e.Kind.String(), e.Attrs()...) //nolint:sloglint // the kinds are constants
	}
}

// runBroker runs a broker of its own, unless there is one on this host to be shared.
func (p *process) runBroker(ctx context.Context, ready func()) error {
	b := p.broker.Load()
	if b == nil {
		var err error
		b, err = p.shareBroker(ctx)
		if p.store == "" && !p.brokerOnly && errors.Is(err, broker.ErrAddressInUse) {
			p.shared = err
			return supervisor.ErrIgnore
		}
		if err != nil {
			return err
		}
		p.broker.Store(b)
	}
	ready()
	err := b.Run(ctx)
	if errors.Is(err, broker.ErrStuck) {
		p.log.ErrorContext(ctx, "the broker has to be restarted and cannot be: ending the process; start it again, and the jobs that ran run again", slog.Any("err", err))
		os.Exit(cli.ExitRuntime)
	}
	return err
}

var errConnectionClosed = errors.New("the connection to the broker was closed for good")

// runConnection holds the connection, which survives every outage of the broker by itself.
func (p *process) runConnection(ctx context.Context, ready func()) error {
	nc, err := p.connect(ctx)
	if err != nil {
		return err
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	p.conn = nc
	if p.client, err = millhand.NewClient(nc, p.config.Config); err != nil {
		nc.Close()
		return err
	}
	ready()
	select {
	case <-ctx.Done():
		nc.Close()
		return nil
	case <-closed:
		p.lost = errConnectionClosed
		return p.lost
	}
}

// brokerURL is where the broker is to which the process is connected, without a password.
func (p *process) brokerURL() string { return p.conn.ConnectedUrlRedacted() }

// runWorker works until the worker has drained.
func (p *process) runWorker(ctx context.Context, ready func()) error {
	w, err := millhand.NewWorker(p.conn, p.config)
	if err != nil {
		return err
	}
	p.worker.Store(w)
	ready()
	p.ended = w.Run(ctx)
	p.stopped.Store(true)
	return p.ended
}
