package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/configfile"
	"github.com/millhand/millhand/internal/minder"
	"github.com/millhand/millhand/internal/otlp"
	"github.com/millhand/millhand/tracing"
	"github.com/millhand/millhand/web"
)

const (
	defaultListen = "127.0.0.1:4222"
	defaultHTTP   = "127.0.0.1:8080"
	drainTimeout  = 30 * time.Second
	flushSpans    = 2 * time.Second // at the end, for a collector that hangs
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
	access       accessFlags
	http         string
	brokerOnly   bool
	quotas       []string
	rates        []string
	permitTTL    time.Duration
	ackWait      time.Duration
	drainTimeout time.Duration
	maxStuck     int
	keep         millhand.Retention
	stats        string
	web          string // on or off
	webFlags     web.Flags
	notify       configfile.Notify
	trace        string
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
			c.given = cmd.Flags().Changed
			if err := cli.CheckNotEmpty(cmd.Flags(), "store", "config", "listen"); err != nil {
				return err
			}
			return c.run(cmd.Context(), cmd.Flags())
		},
	}
	root.SetOut(stdout)
	fs := root.Flags()
	fs.SortFlags = false
	fs.StringVarP(&c.config, "config", "f", "", "YAML `FILE` of types, queues, limits and schedules")
	fs.IntVarP(&c.concurrency, "concurrency", "c", 0, "jobs at once on this worker (default 4 × CPUs, in a container 4 × its CPU limit, or 4 × GOMAXPROCS)")
	fs.StringArrayVarP(&c.queues, "queue", "q", nil, "`NAME[=WEIGHT]` of a queue to pull from; repeatable (default \"default\")")
	fs.StringArrayVar(&c.quotas, "quota", nil, "`TYPE=N`: at most N jobs of a type at once, across all workers; stays in the broker until TYPE=0 removes it, and never replaces what a person set; repeatable")
	fs.StringArrayVar(&c.rates, "rate", nil, "`TYPE=N/DURATION`: at most N starts of a type in any such period, across all workers; stays likewise until TYPE=0; repeatable")
	fs.StringArrayVar(&c.exec, "exec", nil, "`TYPE=COMMAND`: a job type that runs a command, never a shell; repeatable")
	fs.StringVar(&c.store, "store", "", "`DIR` of the embedded broker's data (default $XDG_DATA_HOME/millhand)")
	fs.StringVar(&c.listen, "listen", defaultListen, "`HOST:PORT` of the embedded broker; without HOST, only this host can reach it")
	fs.BoolVar(&c.brokerOnly, "broker-only", false, "run the embedded broker and no jobs, as for 'millhand restore'")
	c.access.register(fs)
	fs.StringVar(&c.http, "http", defaultHTTP, "`HOST:PORT` of the dashboard, health checks and metrics; without HOST, only this host can reach them; empty turns them off")
	fs.StringVar(&c.web, "web", "on", "`on|off`: the dashboard on --http")
	c.webFlags.Register(fs)
	registerNotify(fs, &c.notify)
	fs.DurationVar(&c.ackWait, "ack-wait", 0, "lease of a running job, at least 1s; the first worker sets it for each type of a queue (default 30s)")
	fs.IntVar(&c.maxStuck, "max-stuck", 0, "how many handlers may ignore the end of their context before the worker drains and exits 1 (default: as many as --concurrency)")
	fs.DurationVar(&c.permitTTL, "permit-ttl", 10*time.Second, "how long the permits of a vanished worker stay taken")
	fs.DurationVar(&c.drainTimeout, "drain-timeout", drainTimeout, "how long a drain waits for running jobs")
	fs.DurationVar(&c.keep.Results, "keep-results", 0, "how long the broker keeps the ends of jobs and their results, from 1h; set for all when the worker starts (default as it is: 168h of new streams)")
	fs.Int64Var(&c.keep.Events, "keep-events", 0, "how many events it keeps, from 1000; about 200 B of its memory each (default as it is: 2000000 of new streams)")
	fs.DurationVar(&c.keep.Dead, "keep-dead", 0, "how long it keeps dead jobs, from 1h (default as it is: 720h of new streams)")
	fs.StringVar(&c.stats, "stats", "on", "`on|off`: whether it writes what it counts into the broker, for millhand stats")
	fs.StringVar(&c.trace, "trace", "", "`on|off`: whether it sends spans over OTLP, as the OTEL_* variables say (default on if OTEL_EXPORTER_OTLP_ENDPOINT is set)")
	c.conn.Register(fs)
	c.logs.Register(fs)
	cli.AddVersion(root)
	cli.GroupFlags(root,
		cli.FlagGroup{Title: "What it runs", First: "config"},
		cli.FlagGroup{Title: "Its own broker and health checks", First: "store"},
		cli.FlagGroup{Title: "The dashboard", First: "web"},
		cli.FlagGroup{Title: "When jobs hang, workers vanish or stop", First: "ack-wait"},
		cli.FlagGroup{Title: "What the broker keeps", First: "keep-results"},
		cli.FlagGroup{Title: "The broker", First: "server"},
		cli.FlagGroup{Title: "Other", First: "log-format"},
	)
	root.AddCommand(demoCommand(stdout, signals))
	return cli.Execute(ctx, root, args, stderr)
}

// run turns the flags into a process, and runs it until it is told to stop.
func (c *command) run(ctx context.Context, fs *pflag.FlagSet) error {
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
		return cli.Usagef("--store is for the embedded broker; with a server given there is none (%s is set)", target.Given)
	}
	if target.Remote && c.brokerOnly {
		return cli.Usagef("--broker-only is for the embedded broker; with a server given there is none (%s is set)", target.Given)
	}
	host, _, err := splitAddress(withHost(c.listen))
	if err != nil {
		return cli.Usagef("--listen: %w", err)
	}
	own, err := c.access.read(fs, target.Remote, target.Given, host, c.conn.Namespace)
	if err != nil {
		return err
	}
	m := minder.New(log)
	defer m.Close()
	worker, err := c.workerConfig(cfg, m, log)
	if err != nil {
		return err
	}
	worker.Domain = target.Domain
	dashboard, err := cfg.Web.Options(&c.webFlags, c.given)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	spans, err := otlp.New(ctx, "millhand-worker", c.trace, log)
	if err != nil {
		return cli.Usagef("--trace: %w", err)
	}
	defer spans.Close(ctx, flushSpans)
	cfg.checkDescriptors(log, descriptorLimit())
	p := &process{
		log: log, signals: c.signals, config: worker, brokerOnly: c.brokerOnly,
		store: c.store, listen: c.listen, access: own, http: c.http, httpGiven: c.given("http"), web: dashboard, webFlags: c.webFlags,
		noDashboard: c.web == "off",
	}
	p.connect = p.connectOwn
	if target.Remote {
		p.connect = func(ctx context.Context) (*nats.Conn, error) {
			return target.ConnectWorker(ctx, log, millhand.ConnectOptions(log)...)
		}
		p.remote = true
	}
	if spans != nil {
		worker.Mux.Use(tracing.Runs(tracing.Options{Provider: spans.Provider(), Server: p.brokerURL}))
	}
	return p.run(ctx)
}

// workerConfig is what flags and file say of the worker itself.
func (c *command) workerConfig(cfg config, m *minder.Minder, log *slog.Logger) (millhand.WorkerConfig, error) {
	wc, err := cfg.worker(log, m, c.builtin)
	if err != nil {
		return wc, err
	}
	wc.Config = millhand.Config{Namespace: c.conn.Namespace, MaxBytes: int64(c.conn.MaxBytes), Logger: log}
	wc.AckWait, wc.DrainTimeout, wc.PermitTTL, wc.Retention = c.ackWait, c.drainTimeout, c.permitTTL, c.keep
	wc.NoStats = c.stats == "off"
	if wc.DrainTimeout == 0 {
		wc.DrainTimeout = -1
	}
	wc.OnOverrun = func(jobs []millhand.Ref) {
		log.Error("handlers still run although they lost the permit of their quota: ending the process, so that no other worker runs more than the quota allows",
			slog.Any("jobs", jobs))
		os.Exit(cli.ExitRuntime)
	}
	return wc, nil
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
		n := configfile.Count(c.concurrency)
		cfg.Concurrency = &n
	}
	if c.given("max-stuck") {
		if err := checkMaxStuck(c.maxStuck); err != nil {
			return cfg, cli.Usagef("--max-stuck %d: %w", c.maxStuck, err)
		}
		n := configfile.Count(c.maxStuck)
		cfg.MaxStuck = &n
	}
	if err := cfg.addQueues(c.queues); err != nil {
		return cfg, err
	}
	if err := cfg.addExec(c.exec); err != nil {
		return cfg, err
	}
	if err := c.addNotify(&cfg.Web.Notify); err != nil {
		return cfg, err
	}
	return cfg, cfg.addLimits(c.quotas, c.rates)
}

// checkFlags refuses what could not be used later, before anything is started.
func (c *command) checkFlags() error {
	if c.drainTimeout < 0 {
		return cli.Usagef("--drain-timeout must not be negative")
	}
	if c.given("ack-wait") && c.ackWait < millhand.MinAckWait {
		return cli.Usagef("--ack-wait %v: must be at least %v", c.ackWait, millhand.MinAckWait)
	}
	if c.permitTTL < 2*time.Second || c.permitTTL > time.Hour || c.permitTTL%time.Second != 0 {
		return cli.Usagef("--permit-ttl %v: want whole seconds, from 2s to 1h", c.permitTTL)
	}
	if err := c.checkKeep(); err != nil {
		return err
	}
	if c.stats != "on" && c.stats != "off" {
		return cli.Usagef("--stats %q: want on or off", c.stats)
	}
	if c.web != "on" && c.web != "off" {
		return cli.Usagef("--web %q: want on or off", c.web)
	}
	if c.trace != "" && c.trace != "on" && c.trace != "off" {
		return cli.Usagef("--trace %q: want on or off", c.trace)
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

// checkKeep refuses a flag that is given and says nothing, too: 0 is how the default is written.
func (c *command) checkKeep() error {
	switch k := c.keep; {
	case c.given("keep-results") && k.Results < millhand.MinKept:
		return cli.Usagef("--keep-results %v: must be at least %v", k.Results, millhand.MinKept)
	case c.given("keep-events") && k.Events < millhand.MinKeptEvents:
		return cli.Usagef("--keep-events %d: must be at least %d", k.Events, millhand.MinKeptEvents)
	case c.given("keep-dead") && k.Dead < millhand.MinKept:
		return cli.Usagef("--keep-dead %v: must be at least %v", k.Dead, millhand.MinKept)
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
