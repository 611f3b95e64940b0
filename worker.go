package millhand

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/worker"
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
	Quotas       []Quota               // limits across all workers, set when this one starts unless a person set others: see [Client.SetQuota]
	PermitTTL    time.Duration         // how long the permits of a vanished worker stay taken; whole seconds from 2 s, default 10 s
	OnOverrun    func([]Ref)           // called with jobs whose handlers ignore that they lost their permit, when others may soon have it: end the process; default nil: they overrun the quota
	MaxAbandoned int                   // handlers that ignore the end of their context before the worker gives itself up; default Concurrency, negative: none
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

// MinAckWait is the shortest lease that a broker keeps: it counts in seconds.
const MinAckWait = queue.MinAckWait

// Bounds of a worker, far above what is of use and far below what its sums can hold.
const (
	maxConcurrency = 100_000
	maxWeight      = 1_000_000
)

// A Worker runs jobs.
type Worker struct {
	id     string // unique per start
	js     *stream.Client
	worker *worker.Worker
	ran    atomic.Bool
}

// NewWorker returns a worker over nc, which stays the caller's to close. It returns an
// [*InvalidError] for a configuration that breaks a rule, and for a connection that gives up
// reconnecting or that buffers while it is disconnected: connect with [ConnectOptions].
func NewWorker(nc *nats.Conn, cfg WorkerConfig) (*Worker, error) {
	if err := checkConnection(nc); err != nil {
		return nil, err
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
	w, err := worker.New(nc, store, reg, cfg.worker(id))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &Worker{id: id, js: js, worker: w}, nil
}

// worker returns c, whose defaults are filled in, as the worker itself knows it.
func (c WorkerConfig) worker(id string) worker.Config {
	w := worker.Config{
		ID: id, Name: c.Name, Queues: c.Queues, Strict: c.Strict, Concurrency: c.Concurrency,
		Types: make(map[string]worker.Type), Limits: make(map[registry.PoolKey]registry.Limit), Keys: make(map[string]string),
		PermitTTL: c.PermitTTL, MaxAbandoned: c.MaxAbandoned, DrainTimeout: c.DrainTimeout, Logger: c.Logger,
	}
	for typ, handler := range c.Mux.handlers {
		t := c.Types[typ]
		w.Types[typ] = worker.Type{Handler: handler, Settings: worker.Settings{
			Timeout: t.Timeout, MaxAttempts: t.MaxAttempts, Backoff: job.Backoff(t.Backoff), SilentSuccess: t.SilentSuccess,
		}}
	}
	for _, q := range c.Quotas { // of two for the same jobs the last one counts
		w.Limits[q.pool()] = q.limit()
		for _, t := range q.Types {
			w.Keys[t] = q.Key
		}
	}
	if c.OnOverrun != nil {
		w.OnOverrun = func(jobs []job.Record) {
			refs := make([]Ref, 0, len(jobs))
			for _, j := range jobs {
				refs = append(refs, refOf(&j))
			}
			c.OnOverrun(refs)
		}
	}
	return w
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
	if c.MaxAbandoned == 0 {
		c.MaxAbandoned = c.Concurrency
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

// ID names this worker, this start of it.
func (w *Worker) ID() string { return w.id }

// Run works until ctx ends and then drains: no new job is pulled, and running ones may
// finish until the drain timeout. What then still runs has its context cancelled with
// [ErrHandedBack] and runs again elsewhere, with no attempt counted. Run returns nil
// after a clean drain, [ErrDrainTimeout] if jobs were handed back, an error that says so if the
// broker did not take the ends of jobs, [ErrAbandoned] after too many
// handlers ignored the end of their context, and another error if the worker cannot go on. It waits for the broker however long it is away. A worker
// runs once: the second time is [ErrInvalid].
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return fmt.Errorf("%w: a worker runs once: make a new one", ErrInvalid)
	}
	defer w.js.Close()
	err := w.worker.Run(ctx)
	if errors.Is(err, ErrDrainTimeout) || errors.Is(err, ErrAbandoned) {
		return err
	}
	return publicError(err)
}

// StopNow ends a drain early: running handlers are cancelled now and their jobs handed back.
func (w *Worker) StopNow() { w.worker.StopNow() }
