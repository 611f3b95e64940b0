package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/minder"
	"github.com/millhand/millhand/internal/supervisor"
)

const (
	defaultListen = "127.0.0.1:4222"
	defaultHTTP   = "127.0.0.1:8080"
	drainTimeout  = 30 * time.Second
)

const examples = `  worker                                            built-in types, a broker of its own
  worker --exec email='./send-email --from me'      jobs of type email run a command
  worker --config millhand.yaml --concurrency 50    types, queues and limits from a file
  worker --server nats://nats:4222 -q critical=6 -q default=3
  worker demo                                       see it work`

// command is what the flags say.
type command struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	conn           cli.ConnFlags
	logs           cli.LogFlags

	config       string
	concurrency  int
	queues       []string
	exec         []string
	store        string
	listen       string
	http         string
	httpSet      bool
	quotas       []string
	rates        []string
	permitTTL    time.Duration
	ackWait      time.Duration
	ackWaitSet   bool
	drainTimeout time.Duration
	maxStuck     int
	maxStuckSet  bool
	given        func(flag string) bool // though it may be empty

	builtin func(*millhand.Mux) // adds the types of a worker that is told of none
}

func execute(
	ctx context.Context, args []string, signals <-chan os.Signal, stdout, stderr io.Writer, builtin func(*millhand.Mux),
) int {
	c := &command{stdout: stdout, stderr: stderr, signals: signals, builtin: builtin}
	root := &cobra.Command{
		Use:   "worker [flags]",
		Short: "Run jobs",
		Long: "Pull jobs from the queues and run them until SIGTERM, SIGINT or SIGHUP. The first signal\n" +
			"drains: no new job is pulled, running ones may finish. The second hands running jobs back,\n" +
			"the third ends the process at once. A SIGHUP only ever drains, and is ignored under nohup.",
		Example: examples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.ackWaitSet = cmd.Flags().Changed("ack-wait")
			c.given = cmd.Flags().Changed
			if err := cli.CheckNotEmpty(cmd.Flags(), "store", "config", "listen"); err != nil {
				return err
			}
			c.httpSet = cmd.Flags().Changed("http")
			c.maxStuckSet = cmd.Flags().Changed("max-stuck")
			return c.run(cmd.Context())
		},
	}
	root.SetOut(stdout)
	fs := root.Flags()
	fs.SortFlags = false
	fs.StringVarP(&c.config, "config", "f", "", "YAML `FILE` of types, queues and limits")
	fs.IntVarP(&c.concurrency, "concurrency", "c", 0, "jobs at once on this node (default 4 × CPUs, of a container its share, or 4 × GOMAXPROCS)")
	fs.StringArrayVarP(&c.queues, "queue", "q", nil, "`NAME[=WEIGHT]` of a queue to pull from; repeatable (default \"default\")")
	fs.StringArrayVar(&c.quotas, "quota", nil, "`TYPE=N`: so many jobs of a type at once, over all workers; 0 removes it; repeatable")
	fs.StringArrayVar(&c.rates, "rate", nil, "`TYPE=N/DURATION`: so many starts of a type in any such period, over all workers; 0 removes it; repeatable")
	fs.StringArrayVar(&c.exec, "exec", nil, "`TYPE=COMMAND`: a job type that runs a command, never a shell; repeatable")
	fs.StringVar(&c.store, "store", "", "`DIR` of the embedded broker's data (default $XDG_DATA_HOME/millhand)")
	fs.StringVar(&c.listen, "listen", defaultListen, "`HOST:PORT` of the embedded broker; without HOST, this host alone")
	fs.StringVar(&c.http, "http", defaultHTTP, "`HOST:PORT` of health checks; without HOST, this host alone; empty turns them off")
	fs.DurationVar(&c.ackWait, "ack-wait", 0, "lease of a running job, at least 1s; the first worker sets it for each type of a queue (default 30s)")
	fs.IntVar(&c.maxStuck, "max-stuck", 0, "how many handlers may ignore the end of their context before the worker drains and exits 1 (default as --concurrency)")
	fs.DurationVar(&c.permitTTL, "permit-ttl", 10*time.Second, "how long the permits of a vanished worker stay taken")
	fs.DurationVar(&c.drainTimeout, "drain-timeout", drainTimeout, "how long a drain waits for running jobs")
	c.conn.Register(fs)
	c.logs.Register(fs)
	root.AddCommand(demoCommand(stdout, signals))
	return cli.Execute(ctx, root, args, stderr)
}

// run sets up what the flags ask for and works until a signal.
func (c *command) run(ctx context.Context) error {
	log := c.logs.Logger(c.stderr)
	cfg, err := c.readConfig()
	if err != nil {
		return err
	}
	if err := c.checkFlags(); err != nil {
		return err
	}
	target, err := c.conn.Target()
	if err != nil {
		return err
	}
	if target.Remote && c.store != "" {
		return cli.Usagef("--store is for the embedded broker; with a server given there is none")
	}
	m := minder.New(log)
	defer m.Close()
	wc, err := cfg.worker(log, m, c.builtin)
	if err != nil {
		return err
	}
	cfg.checkDescriptors(log, descriptorLimit())
	wc.Config = millhand.Config{Namespace: c.conn.Namespace, MaxBytes: int64(c.conn.MaxBytes), Logger: log}
	wc.AckWait, wc.DrainTimeout, wc.PermitTTL = c.ackWait, c.drainTimeout, c.permitTTL
	if wc.DrainTimeout == 0 {
		wc.DrainTimeout = -1
	}
	wc.OnOverrun = func(jobs []millhand.Ref) {
		log.ErrorContext(ctx, "handlers run on without a permit of their quota: ending the process, to be started anew", slog.Any("jobs", jobs))
		os.Exit(cli.ExitRuntime)
	}

	ctx, drain := context.WithCancel(ctx)
	defer drain()
	s := &session{command: c, log: log, drain: drain}
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	defer close(done)
	wg.Go(func() { s.watchSignals(done) })
	nc, err := s.connect(ctx, target)
	if s.broker != nil {
		defer s.broker.Shutdown() // the tree did that, if it came so far
	}
	if nc != nil {
		defer nc.Close()
	}
	if ctx.Err() != nil {
		return nil // told to stop before there was anything to drain
	}
	if err != nil {
		return err
	}
	w, err := millhand.NewWorker(nc, wc)
	if errors.Is(err, millhand.ErrInvalid) {
		return cli.Usagef("%w", err)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.worker = w
	s.mu.Unlock()
	return s.work(ctx, w, nc)
}

func (c *command) readConfig() (config, error) {
	cfg, err := readConfig(c.config)
	if err != nil {
		return cfg, err
	}
	if c.given("concurrency") {
		if err := checkConcurrency(c.concurrency); err != nil {
			return cfg, cli.Usagef("--concurrency %d: %w", c.concurrency, err)
		}
		n := count(c.concurrency)
		cfg.Concurrency = &n
	}
	if c.maxStuckSet {
		if err := checkMaxStuck(c.maxStuck); err != nil {
			return cfg, cli.Usagef("--max-stuck %d: %w", c.maxStuck, err)
		}
		n := count(c.maxStuck)
		cfg.MaxStuck = &n
	}
	if err := cfg.addQueues(c.queues); err != nil {
		return cfg, err
	}
	if err := cfg.addExec(c.exec); err != nil {
		return cfg, err
	}
	return cfg, cfg.addLimits(c.quotas, c.rates)
}

// checkFlags refuses what could not be used later, before anything is started.
func (c *command) checkFlags() error {
	if c.drainTimeout < 0 {
		return cli.Usagef("--drain-timeout must not be negative")
	}
	if c.ackWaitSet && c.ackWait < millhand.MinAckWait {
		return cli.Usagef("--ack-wait %v: must be at least %v", c.ackWait, millhand.MinAckWait)
	}
	if c.permitTTL < 2*time.Second || c.permitTTL > time.Hour || c.permitTTL%time.Second != 0 {
		return cli.Usagef("--permit-ttl %v: want whole seconds, from 2s to 1h", c.permitTTL)
	}
	if name := c.conn.Namespace; name != "" { // that is the default
		if err := checkName(name); err != nil {
			return cli.Usagef("--namespace %q: %w", name, err)
		}
	}
	if _, _, err := splitAddress(c.listen); err != nil {
		return cli.Usagef("--listen: %w", err)
	}
	if c.http == "" {
		return nil
	}
	if _, _, err := splitAddress(c.http); err != nil {
		return cli.Usagef("--http: %w", err)
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q: want HOST:PORT", address)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	return host, port, nil
}

// session is one run of the command.
type session struct {
	*command
	log    *slog.Logger
	drain  context.CancelFunc
	broker *broker.Broker // nil if a server was given, or another worker's is used
	tree   *supervisor.Supervisor
	ended  atomic.Bool // the worker has returned

	instrument func(supervisor.Child) supervisor.Child // every part passes through it: tests make them fail; nil: none

	mu     sync.Mutex
	worker *millhand.Worker // once there is one
}

// watchSignals drains at the first signal, hands back at the second and ends the
// process at the third.
func (s *session) watchSignals(done <-chan struct{}) {
	for all := (stops{}); ; {
		select {
		case <-done:
			return
		case sig := <-s.signals:
			switch all.next(sig) {
			case 0: // it drains already
			case 1:
				s.log.Info("draining; a second signal hands running jobs back", slog.String("signal", sig.String()))
				s.drain()
			case 2:
				s.log.Warn("handing running jobs back; a third signal ends the process at once")
				s.mu.Lock()
				if s.worker != nil {
					s.worker.HandBack()
				}
				s.mu.Unlock()
			default:
				os.Exit(cli.ExitInterrupted)
			}
		}
	}
}

// connect finds the broker: the one given, one of our own, or that of another worker
// on this host.
func (s *session) connect(ctx context.Context, target cli.Target) (*nats.Conn, error) {
	if target.Remote {
		return target.ConnectWorker(ctx, s.log)
	}
	b, err := s.shareBroker(ctx)
	switch {
	case err == nil:
		s.broker = b
		return nats.Connect("", append(cli.WorkerOptions(s.log), nats.InProcessServer(b))...)
	case s.store == "" && errors.Is(err, broker.ErrAddressInUse):
		nc, connectErr := cli.Target{URL: "nats://" + withHost(s.listen)}.Connect(ctx, cli.WorkerOptions(s.log)...)
		if connectErr != nil {
			return nil, fmt.Errorf("%w; what listens there cannot be used as it is: %w", err, connectErr)
		}
		s.log.InfoContext(ctx, "a NATS server listens here already: using it", slog.String("url", cli.Redact(nc.ConnectedUrl())))
		return nc, nil
	}
	return nil, err
}

// How long a worker waits for one that has the default store and does not listen yet, or not
// any more, and how often it looks.
const (
	shareWithin = 10 * time.Second
	sharePause  = 100 * time.Millisecond
)

// shareBroker starts a broker, or returns an error that is [broker.ErrAddressInUse] if there
// is one to be used. Of workers that are started together, one has the store some time before
// it listens; and one that stops has it some time after.
func (s *session) shareBroker(ctx context.Context) (*broker.Broker, error) {
	tick := time.NewTicker(sharePause)
	defer tick.Stop()
	for end := time.Now().Add(shareWithin); ; {
		b, err := s.startBroker()
		if s.store != "" || !errors.Is(err, broker.ErrStoreLocked) || errors.Is(err, broker.ErrAddressInUse) || time.Now().After(end) {
			return b, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func (s *session) startBroker() (*broker.Broker, error) {
	host, port, err := splitAddress(s.listen)
	if err != nil {
		return nil, cli.Usagef("--listen: %w", err)
	}
	store := s.store
	if store == "" {
		if store, err = broker.DefaultStore(); err != nil {
			return nil, err
		}
	}
	return broker.Start(broker.Config{Store: store, Host: host, Port: port, Logger: s.log})
}

// work runs the tree until the worker has drained: the broker stops after it.
func (s *session) work(ctx context.Context, w *millhand.Worker, nc *nats.Conn) error {
	var ended error // of the worker, which is not restarted: it supervises itself
	children := []supervisor.Child{}
	if s.broker != nil {
		children = append(children, supervisor.Child{Name: "broker", Run: s.broker.Run, StopTimeout: time.Minute})
	}
	web, err := s.listenHTTP(ctx, w)
	if err != nil {
		return err
	}
	if web != nil {
		children = append(children, supervisor.Child{Name: "http", Run: web.run})
	}
	children = append(children, supervisor.Child{
		Name: workerPart, Restart: supervisor.Temporary, Significant: true, StopTimeout: supervisor.Forever,
		Run: func(ctx context.Context) error {
			ended = w.Run(ctx)
			s.ended.Store(true)
			nc.Close() // before the broker goes
			s.sayGoodbye()
			return ended
		},
	})
	if s.instrument != nil {
		for i, c := range children {
			children[i] = s.instrument(c)
		}
	}
	s.tree, err = supervisor.New(supervisor.Spec{
		Name: "process", AutoShutdown: supervisor.AnySignificant, Children: children,
		MaxRestarts: new(5), Within: time.Minute, Backoff: supervisor.Backoff{First: time.Second, Max: 10 * time.Second},
		OnEvent: func(e supervisor.Event) {
			if e.Level() > slog.LevelInfo { // the rest is for those who look at the tree
				s.log.LogAttrs(ctx, e.Level(), e.Kind.String(), e.Attrs()...) //nolint:sloglint // the kinds are constants
			}
		},
	})
	if err != nil {
		return err
	}
	err = s.tree.Run(ctx)
	switch {
	case errors.Is(ended, millhand.ErrDrainTimeout):
		return &cli.ExitError{Code: cli.ExitDrainTimeout, Err: ended}
	case errors.Is(ended, millhand.ErrStuck):
		return fmt.Errorf("%w: the log shows where each of them hangs; start the worker anew", ended)
	case ended != nil:
		return ended
	case errors.Is(err, supervisor.ErrIntensity):
		return err
	}
	return nil
}

// sayGoodbye warns those whose broker stops with this worker.
func (s *session) sayGoodbye() {
	if s.broker == nil {
		return
	}
	if n := s.broker.ForeignClients(); n > 0 {
		s.log.Warn("the broker stops with this worker, and others are connected to it", slog.Int("clients", n))
	}
}
