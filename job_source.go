package millhand

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/worker"
	"github.com/millhand/millhand/pipeline"
)

// A JobSourceConfig says which jobs a pipeline takes, and what belongs to its process as it does to that of a
// worker. The zero value is useful. How long a pipeline waits for what it has in hand when it stops is the
// DrainTimeout of its own configuration.
type JobSourceConfig struct {
	Config

	// Name names the process as [WorkerConfig] has it: in [Client.Workers] the source is a worker.
	Name string

	// Queues are the queues that jobs come from, each named once. Defaults to the queue "default"
	// alone.
	Queues []Queue

	// Strict gives a queue no room while jobs wait in a queue of more weight. By default room is shared
	// by weight.
	Strict bool

	// InFlight is how many jobs are in the pipeline at once, at most [MaxConcurrency]. Its own InFlight
	// holds beside it. Defaults to that. Negative is invalid.
	InFlight int

	// Types are the types of the jobs of a source of [Raw], which needs them; others have the type of
	// their arguments.
	Types []string

	// Job says how the jobs run: timeout, attempts, backoff, quotas. A job's time begins with Process
	// and ends when the job is settled.
	Job TypeConfig

	// Quotas, PermitTTL, AckWait, Retention, NoStats, OnOverrun and MaxAbandoned are those of a
	// [WorkerConfig].
	Quotas       []Quota
	PermitTTL    time.Duration
	AckWait      time.Duration
	Retention    Retention
	NoStats      bool
	OnOverrun    func([]Ref)
	MaxAbandoned int
}

// A JobSource is a [pipeline.Source] of jobs. What their message ends with decides as what a handler
// returns does: see [Handle]. Make it with [NewJobSource], for one pipeline.
type JobSource[T Args] struct {
	nc     *nats.Conn
	config WorkerConfig
	most   int // jobs in the pipeline; 0: as many as it has in flight

	mu      sync.Mutex
	user    pipeline.User
	worker  *worker.Worker // nil: it does not run
	drain   context.CancelFunc
	open    bool
	waiting []*sourceJob[T] // in hand, and not asked for yet
	out     int             // in the pipeline
	wanted  int             // asked for, and not there yet
	came    chan struct{}   // capacity 1
}

// NewJobSource returns a source of the jobs of one type or, of [Raw], of several. It asks the broker nothing
// before its pipeline runs. It returns an [*InvalidError] as [NewWorker] does.
//
// While the pipeline runs the source is a worker: it is among [Client.Workers], obeys quotas, rates and
// pauses, renews leases, and settles each job by its own attempts, backoff, dead letter, event and result
// ([Job.SetResult]). What is cancelled, times out, or loses its lease or permit ends the contexts of Process
// and, with all others of its batch, of Handle, with the causes that handlers know; before Process and before
// Handle it is taken out. A message that is handed back is a job that runs again, no attempt counted.
//
// Jobs are in order only within the process, by OrderBy of the pipeline. A retry comes when it is due.
func NewJobSource[T Args](nc *nats.Conn, c JobSourceConfig) (*JobSource[T], error) {
	if err := checkConnection(nc); err != nil {
		return nil, err
	}
	if c.InFlight < 0 || c.InFlight > MaxConcurrency {
		return nil, publicError(job.Invalid("in flight", c.InFlight, "must be from 1 to %d", MaxConcurrency))
	}
	s := &JobSource[T]{nc: nc, most: c.InFlight, came: make(chan struct{}, 1)}
	mux, err := s.mux(c)
	if err != nil {
		return nil, publicError(err)
	}
	s.config = WorkerConfig{
		Config: c.Config, Mux: mux, Name: c.Name, Queues: c.Queues, Strict: c.Strict, AckWait: c.AckWait, Quotas: c.Quotas,
		PermitTTL: c.PermitTTL, Retention: c.Retention, NoStats: c.NoStats, OnOverrun: c.OnOverrun, MaxAbandoned: c.MaxAbandoned,
	}
	if _, err := s.config.check(); err != nil {
		return nil, publicError(err)
	}
	return s, nil
}

// mux has the types, whose jobs are passed on.
func (s *JobSource[T]) mux(c JobSourceConfig) (*Mux, error) {
	m := NewMux()
	_, raw := any(*new(T)).(Raw)
	switch {
	case !raw && len(c.Types) > 0:
		return nil, job.Invalid("types", len(c.Types), "are those of a source of Raw")
	case raw && len(c.Types) == 0:
		return nil, &job.InvalidError{What: "a source of Raw", Rule: "needs Types"}
	case !raw:
		c.Types = []string{newArgs[T]().Type()}
	}
	for _, typ := range c.Types {
		switch err := job.CheckType(typ); {
		case err != nil:
			return nil, err
		case m.types[typ].pass != nil:
			return nil, job.Invalid("type", typ, "is named twice")
		}
		m.add(typ, []TypeConfig{c.Job}, registered{pass: s.pass})
	}
	return m, nil
}

// Attach implements [pipeline.Attacher].
func (s *JobSource[T]) Attach(u pipeline.User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.open, s.drain = u, true, nil
}

// Run implements [pipeline.Runner]: it is the worker.
func (s *JobSource[T]) Run(ctx context.Context) error {
	s.mu.Lock()
	c := s.config
	c.Concurrency = s.inFlight()
	c.DrainTimeout = s.user.DrainTimeout + time.Minute // the pipeline hands back what takes too long
	s.mu.Unlock()
	w, err := newWorker(s.nc, c, func(c *worker.Config) { //nolint:contextcheck // a worker settles beyond the end of ctx
		c.Passes = true
		c.Pipelines = s.seen
	})
	if err != nil {
		return err
	}
	running, drain := context.WithCancel(ctx)
	defer drain()
	s.mu.Lock()
	s.worker, s.drain = w.worker, drain
	if !s.open { // the pipeline has ended already
		drain()
	}
	s.resize()
	s.mu.Unlock()
	var telling sync.WaitGroup
	defer telling.Wait()
	told, stop := context.WithCancel(ctx)
	defer stop()
	telling.Go(func() { s.tellShut(told, w.worker) })
	err = w.Run(running)
	s.mu.Lock()
	s.worker = nil
	s.mu.Unlock()
	return err
}

// tellShut tells the pipeline whether anything can come.
func (s *JobSource[T]) tellShut(ctx context.Context, w *worker.Worker) {
	for {
		shut, changed := w.Shut()
		s.user.Shut(shut)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// inFlight is how many jobs are in the pipeline at most.
func (s *JobSource[T]) inFlight() int {
	most := MaxConcurrency
	if s.most > 0 {
		most = s.most
	}
	return min(most, s.user.InFlight)
}

// seen is what the pipeline does, for the registry.
func (s *JobSource[T]) seen() []registry.Pipeline {
	stats := s.user.Stats()
	return []registry.Pipeline{{
		Name: s.user.Name, State: string(stats.State), InHand: stats.InHand, Processed: stats.Handled, Failed: stats.Failed,
	}}
}

// resize has the worker ask for what the pipeline has asked for.
func (s *JobSource[T]) resize() {
	if s.worker != nil {
		s.worker.Resize(min(s.out+s.wanted, s.inFlight()))
	}
}

// Pull implements [pipeline.Source]. No more jobs are asked for than it was asked for.
func (s *JobSource[T]) Pull(ctx context.Context, n int, out []pipeline.Delivery[*Job[T]]) ([]pipeline.Delivery[*Job[T]], error) {
	for {
		s.mu.Lock()
		k := min(n, len(s.waiting))
		for _, j := range s.waiting[:k] {
			out = append(out, pipeline.Delivery[*Job[T]]{
				Value: j.job, At: j.job.EnqueuedAt, Attempt: j.job.Attempt, Meta: j.job.Meta,
				Acker: (*jobAcker[T])(s), Ref: j, Context: j.ctx,
			})
		}
		s.waiting = append(s.waiting[:0], s.waiting[k:]...)
		s.out += k
		s.wanted = n - k
		s.resize()
		s.mu.Unlock()
		if k > 0 {
			return out, nil
		}
		select {
		case <-s.came:
		case <-ctx.Done():
			s.shut(true)
			return out, ctx.Err()
		}
	}
}

// Release implements [pipeline.Releaser]: from now on the worker drains.
func (s *JobSource[T]) Release(context.Context) {
	s.shut(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain != nil {
		s.drain()
	}
}

// shut asks for nothing more, and hands back what was not asked for in time.
func (s *JobSource[T]) shut(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.wanted = s.open && open, 0
	s.resize()
	for _, j := range s.waiting {
		j.ended <- pipeline.ErrHandedBack
	}
	clear(s.waiting)
	s.waiting = s.waiting[:0]
}

// pass gives the pipeline a job, and returns what that has made of it.
func (s *JobSource[T]) pass(ctx context.Context, d *queue.Delivery, maxAttempts int, p *worker.Passed) ([]byte, error) {
	j := &sourceJob[T]{ctx: ctx, passed: p, ended: make(chan error, 1)}
	if err := j.decode(d, maxAttempts); err != nil {
		return nil, err
	}
	p.Await(ctx)
	s.mu.Lock()
	if s.open {
		s.waiting = append(s.waiting, j)
		select {
		case s.came <- struct{}{}:
		default:
		}
	} else {
		j.ended <- pipeline.ErrHandedBack
	}
	s.mu.Unlock()
	p.Gone()
	select {
	case err := <-j.ended:
		return j.end(err)
	case <-ctx.Done():
		if s.withdraw(j) {
			return nil, context.Cause(ctx)
		}
		return j.end(<-j.ended) // the pipeline's functions are told
	}
}

// withdraw takes out a job that the pipeline has not asked for.
func (s *JobSource[T]) withdraw(j *sourceJob[T]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range s.waiting {
		if w == j {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return true
		}
	}
	return false
}
