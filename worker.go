package millhand

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
)

// A WorkerConfig says what a worker runs. Only Mux is needed.
type WorkerConfig struct {
	Config
	Mux          *Mux
	Name         string                // for people; default the host's name
	Queues       map[string]int        // queue to weight: who gets a free slot; default {"default": 1}
	Strict       bool                  // a queue gets no slot while jobs wait in one of more weight; else slots are shared by weight
	Concurrency  int                   // jobs at once; default 4 × GOMAXPROCS
	Types        map[string]TypeConfig // settings of types, over the defaults
	AckWait      time.Duration         // lease of a running job in a queue that has none yet, from MinAckWait; 0: 30 s there, and what is elsewhere
	Quotas       []Quota               // limits that all workers share, set when this one starts
	PermitTTL    time.Duration         // how long the permits of a vanished worker stay taken; whole seconds from 2 s, default 10 s
	OnOverrun    func([]Ref)           // called with jobs whose handlers ignore that they lost their permit, when others may soon have it: end the process; default nil: they overrun the quota
	MaxStuck     int                   // handlers that ignore the end of their context before the worker gives itself up; default Concurrency, negative: none
	DrainTimeout time.Duration         // how long a drain waits for running jobs; default 30 s, negative: not at all
}

// TypeConfig says how jobs of a type are run, unless a job says otherwise itself. Zero
// fields mean the defaults.
type TypeConfig struct {
	Timeout     time.Duration // of one run; default none
	MaxAttempts int           // runs that may end in an error; default 10
	Backoff     Backoff

	// SilentSuccess lets a job that succeeds at its first attempt, without a result, end
	// without an event: half the broker's work for short jobs, and nothing is known of them
	// afterwards. [Client.Get] and [Client.Await] return [ErrNotFound] once such a job is done.
	// All other ends are written as always. If its worker vanishes after the handler has
	// returned and before the broker knows, the job counts a crash and runs again.
	SilentSuccess bool
}

// A Backoff says how long a failed job waits for its next attempt.
type Backoff struct {
	Initial time.Duration // after the first failure; default 1 s
	Factor  float64       // longer after each further one; default 2
	Max     time.Duration // at most; default 1 h
	Jitter  float64       // share to both sides, so that jobs which failed together spread; default 0.2, negative: none
}

// A Worker runs jobs. Its parts are a supervision tree: settler, renewer, and for each
// queue its pullers and a runner.
type Worker struct {
	nc    *nats.Conn
	cfg   WorkerConfig
	id    string // unique per start
	log   *slog.Logger
	store *queue.Store

	registry *registry.Store
	agent    *registry.Agent
	waits    atomic.Pointer[string] // what the start waits for; nil: it is over
	host     string
	started  time.Time
	ends     ends
	runners  []*runner // complete before the tree runs

	gate     *queue.Gate
	renewer  *queue.Renewer
	watch    *queue.Watch
	ready    readiness
	settler  *queue.Settler
	tree     *supervisor.Supervisor
	slots    chan struct{}
	draining chan struct{} // closed when a drain begins
	handBack chan struct{}
	stuck    atomic.Int64  // handlers given up that still run
	failed   chan struct{} // closed when the worker cannot go on
	failOnce sync.Once
	ran      atomic.Bool
	failure  error // why, once failed is closed
}

// MinAckWait is the shortest lease that a broker keeps: it counts in seconds.
const MinAckWait = queue.MinAckWait

// Bounds of a worker, far above what is of use and far below what its sums can hold.
const (
	maxConcurrency = 100_000
	maxWeight      = 1_000_000
)

// Grace of a worker that stops.
const (
	handlerGrace = 10 * time.Second // for a handler to return once its context ended
	pullGrace    = 10 * time.Second // for the last pull to be closed by the broker
	settleGrace  = 10 * time.Second // for what is settled to be confirmed
	openPause    = 500 * time.Millisecond
	openPauseMax = 5 * time.Second
)

// NewWorker returns a worker over nc, which stays the caller's to close and should
// reconnect for ever and buffer nothing while it is disconnected
// (nats.MaxReconnects(-1), nats.ReconnectBufSize(-1)). It returns an error that is
// [ErrInvalid] for a configuration that breaks a rule.
func NewWorker(nc *nats.Conn, cfg WorkerConfig) (*Worker, error) {
	return newWorker(nc, cfg, func(c supervisor.Child) supervisor.Child { return c })
}

// newWorker passes every part of the tree through instrument: tests make them fail.
func newWorker(nc *nats.Conn, cfg WorkerConfig, instrument func(supervisor.Child) supervisor.Child) (*Worker, error) {
	if nc == nil {
		return nil, errNoConnection
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id := cfg.Name + "-" + uuid.NewString()[:8]
	js, err := cfg.jetStream(nc)
	if err != nil {
		return nil, publicError(err)
	}
	reg := registry.NewStore(js, cfg.logger())
	store := queue.NewStore(js, queue.Config{Node: id, AckWait: cfg.AckWait, Registry: reg.Bucket(), Logger: cfg.logger()})
	host, _ := os.Hostname() // for people
	gate := queue.NewGate(cfg.Concurrency)
	if cfg.Strict {
		gate = queue.NewStrictGate(cfg.Concurrency)
	}
	w := &Worker{
		nc: nc, cfg: cfg, id: id, store: store, registry: reg, host: host, started: time.Now(), ends: newEnds(), log: cfg.Logger.With(slog.String("worker", id)),
		gate:     gate,
		renewer:  queue.NewRenewer(store, gate),
		slots:    make(chan struct{}, cfg.Concurrency),
		draining: make(chan struct{}),
		handBack: make(chan struct{}, 1),
		failed:   make(chan struct{}),
	}
	w.settler = queue.NewSettler(store, w.renewer)
	w.watch = queue.NewWatch(store, gate, slices.Sorted(maps.Keys(cfg.Queues)))
	w.tree, err = w.build(instrument)
	return w, err
}

func (c WorkerConfig) withDefaults() (WorkerConfig, error) {
	if c.Mux == nil || len(c.Mux.handlers) == 0 {
		return c, errors.New("a worker needs a mux with at least one handler")
	}
	if c.Mux.err != nil {
		return c, c.Mux.err
	}
	c.Logger = c.logger()
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a worker without a name is no reason to stop
	}
	c.Name = nodeName(c.Name)
	if len(c.Queues) == 0 {
		c.Queues = map[string]int{job.DefaultQueue: 1}
	}
	if err := c.check(); err != nil {
		return c, err
	}
	if c.Concurrency == 0 {
		c.Concurrency = 4 * runtime.GOMAXPROCS(0) // which heeds a container's share of the CPUs
	}
	if c.MaxStuck == 0 {
		c.MaxStuck = c.Concurrency
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	return c, nil
}

// check returns an error that names the rule which c breaks, if any.
func (c WorkerConfig) check() error {
	for q, weight := range c.Queues {
		if err := job.CheckQueue(q); err != nil {
			return err
		}
		if weight < 1 || weight > maxWeight {
			return fmt.Errorf("queue %s: weight %d, must be from 1 to %d", q, weight, maxWeight)
		}
	}
	for t, tc := range c.Types {
		if _, ok := c.Mux.handlers[t]; !ok {
			return fmt.Errorf("type %s has settings but no handler", t)
		}
		if tc.Timeout < 0 || tc.MaxAttempts < 0 {
			return fmt.Errorf("type %s: settings must not be negative", t)
		}
		if err := job.Backoff(tc.Backoff).Check(); err != nil {
			return fmt.Errorf("type %s: backoff: %w", t, err)
		}
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency {
		return fmt.Errorf("concurrency %d: must be from 1 to %d", c.Concurrency, maxConcurrency)
	}
	for _, q := range c.Quotas {
		if err := q.check(); err != nil {
			return err
		}
	}
	if c.AckWait != 0 && c.AckWait < MinAckWait {
		return fmt.Errorf("ack wait %v: must be at least %v", c.AckWait, MinAckWait)
	}
	return nil
}

// nodeName makes a host's name fit for logs, headers and keys.
func nodeName(host string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, host[:min(len(host), 40)])
}

// build puts the tree together, in start order: what is stopped last comes first.
func (w *Worker) build(instrument func(supervisor.Child) supervisor.Child) (*supervisor.Supervisor, error) {
	agent, err := w.newAgent(instrument)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	w.agent = agent
	children := []supervisor.Child{
		instrument(supervisor.Child{Name: "registry", Part: agent, StopTimeout: settleGrace}),
		instrument(supervisor.Child{Name: "store", Run: w.watch.Run}),
		instrument(supervisor.Child{Name: "settler", Run: w.settler.Run, StopTimeout: settleGrace}),
		instrument(supervisor.Child{Name: "renewer", Run: w.renewer.Run}),
	}
	for _, q := range slices.Sorted(maps.Keys(w.cfg.Queues)) {
		s, err := w.buildQueue(q, instrument)
		if err != nil {
			return nil, err
		}
		children = append(children, instrument(supervisor.Child{Name: "queue " + q, Part: s}))
	}
	return supervisor.New(supervisor.Spec{
		Name: "worker", Strategy: supervisor.RestForOne, Backoff: supervisor.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second},
		MaxRestarts: new(10), Within: 10 * time.Minute, // a queue that fails for good gives up every half minute
		Children: children, OnEvent: w.logEvent,
	})
}

// buildQueue has consumers before producers, so that a stop ends the pulling first.
func (w *Worker) buildQueue(name string, instrument func(supervisor.Child) supervisor.Child) (*supervisor.Supervisor, error) {
	r, err := newRunner(w, name)
	if err != nil {
		return nil, err
	}
	w.runners = append(w.runners, r)
	children := []supervisor.Child{
		instrument(supervisor.Child{Name: "runner", Part: r, StopTimeout: handlerGrace + settleGrace}),
	}
	for _, typ := range w.cfg.Mux.Types() {
		p, err := queue.NewPuller(w.settler, w.gate.Inlet(w.cfg.Queues[name], name, typ), name, typ)
		if err != nil {
			return nil, err
		}
		if err := r.subscribe(p); err != nil {
			return nil, err
		}
		children = append(children, instrument(supervisor.Child{Name: "puller " + typ, Run: w.pull(p), StopTimeout: pullGrace}))
	}
	sweeper, err := queue.NewSweeper(w.store, name, w.cfg.Mux.Types())
	if err != nil {
		return nil, err
	}
	children = append(children, instrument(supervisor.Child{Name: "sweeper", Run: sweeper.Run}))
	listener, err := queue.NewListener(w.store, w.gate, name)
	if err != nil {
		return nil, err
	}
	children = append(children, instrument(supervisor.Child{Name: "listener", Run: listener.Run}))
	census := func(ctx context.Context) error { return w.census(ctx, name) }
	children = append(children, instrument(supervisor.Child{Name: "census", Run: census}))
	return supervisor.New(supervisor.Spec{
		Name: "queue " + name, Backoff: supervisor.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second},
		MaxRestarts: new(10), Within: time.Minute,
		Children: children, OnEvent: w.logEvent,
	})
}

// logEvent keeps the log to what is out of the ordinary: first starts and ordered stops
// are for debugging.
func (w *Worker) logEvent(e supervisor.Event) {
	level := e.Level()
	if e.Kind == supervisor.ChildStopped || e.Kind == supervisor.ChildStarted && e.Restarts == 0 {
		level = slog.LevelDebug
	}
	w.log.LogAttrs(context.Background(), level, e.Kind.String(), e.Attrs()...) //nolint:sloglint // the kinds are constants
}

// ID names this worker, this start of it.
func (w *Worker) ID() string { return w.id }

// Run works until ctx ends and then drains: no new job is pulled, and running ones may
// finish until the drain timeout. What then still runs has its context cancelled with
// [ErrHandedBack] and runs again elsewhere, with no attempt counted. Run returns nil
// after a clean drain, [ErrDrainTimeout] if jobs were handed back, an error that says so if the
// broker did not take the ends of jobs, [ErrStuck] after too many
// handlers ignored the end of their context, and another error if the worker cannot go on. It waits for the broker however long it is away. A worker
// runs once: the second time is [ErrInvalid].
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return fmt.Errorf("%w: a worker runs once: make a new one", ErrInvalid)
	}
	defer w.store.Close()
	var telling sync.WaitGroup
	defer telling.Wait()
	starting, started := context.WithCancel(ctx)
	defer started()
	defer w.waitsFor("")
	telling.Go(func() { w.tellWaits(starting) })
	if err := w.open(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	w.waitsFor("the registry: the limits and pauses there are, and a first answer about permits")
	tree, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop() // first, whatever happens: it is what ends the tree
	wg.Go(func() {
		ended <- w.tree.RunReady(tree, func() {
			w.waitsFor("")
			started()
			w.log.InfoContext(ctx, "worker started", slog.Any("queues", slices.Sorted(maps.Keys(w.cfg.Queues))),
				slog.Any("types", w.cfg.Mux.Types()), slog.Int("concurrency", w.cfg.Concurrency))
		})
	})

	closed := w.nc.StatusChanged(nats.CLOSED)
	defer w.nc.RemoveStatusListener(closed)
	var failed error
	select {
	case err := <-ended:
		return publicError(err)
	case <-closed:
		stop()
		return errors.Join(publicError(nats.ErrConnectionClosed), <-ended)
	case <-w.failed:
		failed = w.failure
	case <-ctx.Done():
	}
	drained := w.drain(ctx)
	stop()
	err := <-ended
	left := w.settler.Left()
	switch {
	case failed != nil:
		return failed
	case !drained && left != nil:
		return fmt.Errorf("%w: %w", ErrDrainTimeout, left)
	case !drained:
		return ErrDrainTimeout
	case left != nil:
		return publicError(left)
	case err != nil:
		return publicError(err)
	}
	w.log.InfoContext(ctx, "worker drained")
	return nil
}

// onStuck counts a handler that was given up. Too many of them, and the worker ends in
// order to be started anew by whoever runs the process.
func (w *Worker) onStuck() {
	if n := w.stuck.Add(1); n > int64(w.cfg.MaxStuck) {
		w.failOnce.Do(func() {
			w.failure = ErrStuck
			w.log.Error("too many handlers ignore the end of their context: draining for good", slog.Int64("stuck", n))
			close(w.failed)
		})
	}
}

// HandBack ends a drain early: running handlers are cancelled now and their jobs handed back.
func (w *Worker) HandBack() {
	select {
	case w.handBack <- struct{}{}:
	default:
	}
}

// pull is a puller's run, whose errors that will not pass end the worker: to start it again
// could only delay what its operator has to see.
func (w *Worker) pull(p *queue.Puller) func(context.Context) error {
	return func(ctx context.Context) error {
		err := p.Run(ctx)
		if queue.Final(err) {
			w.failOnce.Do(func() {
				w.failure = publicError(err)
				w.log.ErrorContext(ctx, "the worker cannot go on with this broker: draining", slog.Any("err", err))
				close(w.failed)
			})
		}
		return err
	}
}

// drain reports whether everything in hand was finished.
func (w *Worker) drain(ctx context.Context) bool {
	w.log.InfoContext(ctx, "draining", slog.Int("in_hand", w.gate.InHand()))
	w.gate.Close()
	close(w.draining)
	timeout := time.NewTimer(max(w.cfg.DrainTimeout, 0))
	defer timeout.Stop()
	select {
	case <-w.gate.Idle():
		return true
	case <-timeout.C:
	case <-w.handBack:
	}
	n := w.gate.InHand()
	w.log.WarnContext(ctx, "handing running jobs back", slog.Int("in_hand", n))
	w.settler.Hurry()
	return n == 0
}

// open makes the streams and waits for a broker that is not there yet.
func (w *Worker) open(ctx context.Context) error {
	for pause := openPause; ; pause = min(2*pause, openPauseMax) {
		err := w.openAll(ctx)
		if err == nil {
			w.store.TellPayload(ctx)
		}
		if err == nil || !queue.Passing(err) {
			return publicError(err)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop before there was anything to drain
		}
		w.log.WarnContext(ctx, "the broker is not ready", slog.Any("err", err))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (w *Worker) openAll(ctx context.Context) error {
	type source struct{ queue, typ string }
	var sources []source
	w.waitsFor("the streams of its queues")
	for q := range w.cfg.Queues {
		if err := w.store.Open(ctx, q); err != nil {
			return err
		}
		for _, t := range w.cfg.Mux.Types() {
			sources = append(sources, source{q, t})
		}
	}
	w.waitsFor(fmt.Sprintf("%d consumers, one for each type in each queue", len(sources)))
	err := together(ctx, slices.Values(sources), func(ctx context.Context, s source) error {
		return w.store.CheckLease(ctx, s.queue, s.typ)
	})
	if err != nil {
		return err
	}
	w.waitsFor(fmt.Sprintf("%d limits to be set in the registry", len(w.cfg.Quotas)))
	for {
		// Where jobs have filled the store, they wait for this worker to begin.
		if err := w.setQuotas(ctx); err == nil || !w.watch.MakeRoom(ctx, err) {
			return err
		}
	}
}
