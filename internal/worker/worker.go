package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/notify"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/view"
)

// What [Worker.Run] returns. The public package shows them as they are.
var (
	ErrDrainTimeout = errors.New("millhand: drain timed out, jobs were handed back")
	ErrAbandoned    = errors.New("millhand: too many handlers are stuck")
)

// A Handler runs one attempt of a job in hand.
type Handler func(ctx context.Context, h *queue.Delivery, maxAttempts int) ([]byte, error)

// A Type says how the jobs of a type are run.
type Type struct {
	Handler Handler // of one job; nil with Batch and Pass
	Batch   *Batch  // its jobs are handled many at once
	Pass    Pass    // its jobs are passed on
	Settings
}

// Settings hold for the jobs of a type that do not say otherwise themselves.
type Settings struct {
	Timeout       time.Duration // of one run; 0: none
	MaxAttempts   int           // 0: [job.DefaultMaxAttempts]
	Backoff       job.Backoff
	SilentSuccess bool
}

// A Queue is a queue that a worker takes jobs from.
type Queue struct {
	Name        string
	Weight      int
	Concurrency int // of its own, here; 0: none
}

// A Config says what a worker runs. It is checked and complete: there are no defaults here.
type Config struct {
	ID           string // unique per start
	Name         string
	Queues       []Queue
	Strict       bool
	Concurrency  int
	Types        map[string]Type
	Limits       map[slots.Key]registry.Limit // to be set when the worker starts
	Keys         map[string]string            // type to key, likewise
	Crons        []registry.Cron              // entries, likewise
	NoCrons      []string                     // entries to be removed
	PermitTTL    time.Duration                // 0: the registry's default
	OnOverrun    func([]job.Record)           // nil: jobs overrun their limit
	MaxAbandoned int
	DrainTimeout time.Duration
	Retention    queue.Retention    // to be set when the worker starts
	Stats        *stats.Store       // where statistics go; nil: there are none
	View         *view.View         // of which they have what waits; not nil with Stats
	Workflows    Workflows          // nil: the worker takes no part in them
	Problems     *problem.Looker    // who says what is wrong; not nil with Stats
	Notify       *notify.Sender     // who tells somebody of problems; nil: nobody is told
	NotifyLeast  problem.Level      // how bad these are at least
	Objectives   problem.Objectives // for its presence
	Web          string             // address of its dashboard, for its presence; empty: there is none
	Requests     *Requests          // that the client of its stores counts; nil: it counts none
	Logger       *slog.Logger

	Passes    bool                       // its jobs are passed on: none is asked for before [Worker.Resize] says so
	Pipelines func() []registry.Pipeline // whose messages its jobs are; nil: they are nobody's

	// Instrument changes every part of the tree before it starts: tests make them fail. Nil:
	// it does not.
	Instrument func(supervisor.Child) supervisor.Child
}

// A Worker runs jobs. Its parts are a supervision tree: see [Worker.build].
type Worker struct {
	nc       *nats.Conn
	cfg      Config
	queues   []string // their names, sorted, as are types
	types    []string
	log      *slog.Logger
	store    *queue.Store
	registry *registry.Store

	agent    *registry.Agent
	crons    *registry.CronFollower
	orders   *registry.Orders
	waits    atomic.Pointer[string] // what the start waits for; nil: it is over
	host     string
	started  time.Time
	outcomes outcomeCounts
	counts   *counts
	recorder *stats.Recorder // nil: there are no statistics
	noticed  noticed
	runners  []*runner           // complete before the tree runs
	flows    map[string]*flowUse // by queue, complete before the tree runs

	slots     *slots.Slots
	renewer   *queue.Renewer
	watch     *queue.Watch
	ready     readiness
	settler   *queue.Settler
	failures  *failureLog
	problems  problemLog // of the one that writes statistics
	tree      *supervisor.Supervisor
	stopNow   chan struct{}
	abandoned atomic.Int64  // handlers given up that still run
	failed    chan struct{} // closed when the worker cannot go on
	failOnce  sync.Once
	failure   error // why, once failed is closed
}

// Grace of a worker that stops.
const (
	handlerGrace = 10 * time.Second // for a handler to return once its context ended
	pullGrace    = 10 * time.Second // for the last pull to be closed by the broker
	settleGrace  = 10 * time.Second // for what is settled to be confirmed
	openPause    = 500 * time.Millisecond
	openPauseMax = 5 * time.Second
)

// New returns a worker over a connection and the two stores that are on it, which stay the
// caller's to close.
func New(nc *nats.Conn, store *queue.Store, reg *registry.Store, cfg Config) (*Worker, error) {
	cfg.Queues = slices.SortedFunc(slices.Values(cfg.Queues), func(a, b Queue) int { return cmp.Compare(a.Name, b.Name) })
	if cfg.Instrument == nil {
		cfg.Instrument = func(c supervisor.Child) supervisor.Child { return c }
	}
	if cfg.Requests == nil {
		cfg.Requests = new(Requests)
	}
	host, _ := os.Hostname() // for people
	order := slots.ByWeight
	if cfg.Strict {
		order = slots.Strict
	}
	w := &Worker{
		nc: nc, cfg: cfg, types: slices.Sorted(maps.Keys(cfg.Types)),
		store: store, registry: reg, crons: reg.FollowCrons(), host: host, started: time.Now(), outcomes: newOutcomeCounts(), counts: newCounts(), log: cfg.Logger.With(slog.String("worker", cfg.ID)),
		slots:   cfg.slots(order),
		renewer: queue.NewRenewer(store),
		stopNow: make(chan struct{}, 1),
		failed:  make(chan struct{}),
	}
	w.flows = make(map[string]*flowUse)
	for _, q := range cfg.Queues {
		w.queues = append(w.queues, q.Name)
		w.flows[q.Name] = newFlowUse()
	}
	w.renewer.OnRenewed(cfg.Requests.renew.Observe)
	w.failures = newFailureLog(w.log)
	w.problems = problemLog{log: w.log}
	w.settler = queue.NewSettler(store, w.renewer)
	w.orders = w.newOrders()
	w.settler.Heed(w.orders)
	w.settler.OnSettled(w.settled)
	w.settler.Count(w.counts)
	w.watch = queue.NewWatch(store, w.slots, w.queues)
	var err error
	w.tree, err = w.build()
	return w, err
}

// slots are what the worker's pullers ask by.
func (c Config) slots(order slots.Order) *slots.Slots {
	if !c.Passes {
		return slots.New(c.Concurrency, order)
	}
	s := slots.New(0, order)
	s.Exactly()
	return s
}

// Run works until ctx ends and then drains. It may be called once. What it returns is described
// where it is public.
func (w *Worker) Run(ctx context.Context) error {
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
			w.log.InfoContext(ctx, "worker started", slog.Any("queues", w.queues),
				slog.Any("types", w.types), slog.Int("concurrency", w.cfg.Concurrency))
		})
	})

	closed := w.nc.StatusChanged(nats.CLOSED)
	defer w.nc.RemoveStatusListener(closed)
	var failure error
	select {
	case err := <-ended:
		return err
	case <-closed:
		stop()
		return errors.Join(nats.ErrConnectionClosed, <-ended)
	case <-w.failed:
		failure = w.failure
	case <-ctx.Done():
	}
	drained := w.drain(ctx)
	stop()
	err := cmp.Or(failure, w.result(drained, <-ended))
	if err == nil {
		w.log.InfoContext(ctx, "worker drained")
	}
	return err
}

// result is what a run returns after a drain, when the tree has ended with err.
func (w *Worker) result(drained bool, err error) error {
	left := w.settler.Left()
	switch {
	case !drained && left != nil:
		return fmt.Errorf("%w: %w", ErrDrainTimeout, left)
	case !drained:
		return ErrDrainTimeout
	}
	return cmp.Or(left, err)
}

// fail has the worker drain and end with err, for good.
func (w *Worker) fail(ctx context.Context, err error, why string, attr slog.Attr) {
	w.failOnce.Do(func() {
		w.failure = err
		w.log.LogAttrs(ctx, slog.LevelError, why, attr) //nolint:sloglint // each caller's is a constant
		close(w.failed)
	})
}

// onAbandoned counts a handler that was given up. With too many of them the worker ends, so that
// whatever runs the process starts it again.
func (w *Worker) onAbandoned() {
	if n := w.abandoned.Add(1); n > int64(w.cfg.MaxAbandoned) {
		w.fail(context.Background(), ErrAbandoned, "too many handlers ignore the end of their context: draining for good", slog.Int64("count", n))
	}
}

// StopNow ends a drain early: running handlers are cancelled now and their jobs handed back.
func (w *Worker) StopNow() {
	select {
	case w.stopNow <- struct{}{}:
	default:
	}
}

// drain reports whether everything in hand was finished.
func (w *Worker) drain(ctx context.Context) bool {
	w.log.InfoContext(ctx, "draining", slog.Int("in_hand", w.slots.InHand()))
	w.slots.Close()
	timeout := time.NewTimer(max(w.cfg.DrainTimeout, 0))
	defer timeout.Stop()
	select {
	case <-w.slots.Idle():
		return true
	case <-timeout.C:
	case <-w.stopNow:
	}
	n := w.slots.InHand()
	w.log.WarnContext(ctx, "handing running jobs back", slog.Int("in_hand", n))
	w.settler.Hurry()
	return n == 0
}
