package millhand

import (
	"cmp"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/notify"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/worker"
)

// A WorkerConfig says what belongs to the process: which queues it serves, how much it does at
// once and how it stops. What belongs to a type of job stands beside its handler, in a
// [TypeConfig]. Only Mux is needed.
type WorkerConfig struct {
	Config

	// Mux has the handlers. It must have at least one.
	Mux *Mux

	// Name names the worker in logs and in [Client.Workers], beside a part that is unique to
	// each start. Characters other than A-Z a-z 0-9 _ - become -, and it is cut at 40.
	// Defaults to the host's name.
	Name string

	// Queues are the queues that the worker takes jobs from, each named once. Defaults to the
	// queue "default" alone.
	Queues []Queue

	// Strict gives a queue no slot while jobs wait in a queue of more weight. By default slots
	// are shared by weight.
	Strict bool

	// Concurrency is how many jobs run at once, from 1 to 100,000. Defaults to 4 × GOMAXPROCS,
	// which heeds a container's share of the CPUs. Negative is invalid.
	Concurrency int

	// AckWait is for how long a job is this worker's without a renewal, and so how soon the
	// jobs of a crashed worker run elsewhere. At least [MinAckWait]. It is used for a queue
	// that this worker is the first to take jobs from. Defaults to 30 s there, and to
	// what was chosen before elsewhere. Less than the minimum is invalid, negative included.
	AckWait time.Duration

	// Quotas are limits across all workers of keys and queues; those of a type stand in its
	// TypeConfig. They are set when the worker starts, and replace what a worker's
	// configuration said before, but not what a person set with [Client.SetQuota].
	Quotas []Quota

	// Crons are entries of schedules, which are put when the worker starts as [Client.PutCron] does.
	// They stay when the worker ends, and are everybody's: each worker enqueues the jobs of all.
	Crons []Cron

	// RemovedCrons are names of entries that an earlier configuration had, and that are removed when
	// the worker starts.
	RemovedCrons []string

	// PermitTTL is how long the permits of a worker that vanished stay taken. Whole seconds,
	// from 2 s to 1 h. Defaults to 10 s.
	PermitTTL time.Duration

	// Retention is how long the broker keeps what is known of jobs that have ended. The worker sets
	// it when it starts, and leaves as it is what is zero.
	Retention Retention

	// NoStats has the worker keep its counts to itself: it writes no statistics, and sums up nobody's.
	// By default what it counts goes into a stream of the namespace every ten seconds.
	NoStats bool

	// Web is the address of a dashboard that the process serves, such as http://web-1:8080/ops, which
	// [WorkerInfo] has and other dashboards link to. Empty if there is none that others can reach.
	Web string

	// Objectives say how old the oldest ready job of a queue may be before that is a problem, by queue.
	// Defaults to 5 minutes each. The worker says them to all who look, such as the command millhand; of
	// workers that do not agree the one that started last counts.
	Objectives map[string]time.Duration

	// Notify has somebody told of problems. By default nobody is.
	Notify Notify

	// OnOverrun is called with jobs whose handlers are still running although their permit is
	// about to pass to another worker. It should end the process. If nil, such handlers may
	// exceed the quota.
	OnOverrun func([]Ref)

	// MaxAbandoned is how many handlers may ignore the end of their context and still run. With
	// one more, the worker drains and [Worker.Run] returns [ErrAbandoned], so that the process
	// is started again. Defaults to Concurrency. Negative allows none.
	MaxAbandoned int

	// DrainTimeout is how long a worker that stops waits for its running jobs before it hands
	// them back. Defaults to 30 s. Negative means not to wait.
	DrainTimeout time.Duration
}

// A Notify says who is told of problems, those of docs/problems.md. The workers that have one take turns: each
// begin and each end of a problem is told once, at most one of a problem in ten minutes.
type Notify struct {
	// URL gets a POST with JSON for each, tried again for ten minutes while it is not taken. It may hold
	// a secret, which is not logged. Empty: nobody is told.
	URL string

	// Min is how bad a problem is at least: "error", "warning" or "notice". Defaults to "error".
	Min string
}

// A Queue is a queue that a worker takes jobs from.
type Queue struct {
	// Name is the queue's: see [CheckQueue].
	Name string

	// Weight is the queue's share of the slots while jobs wait in several queues, beside the
	// weights of the others; with Strict it is their order. From 1 to 1,000,000. Defaults to 1.
	// Negative is invalid.
	Weight int

	// Concurrency is how many jobs of this queue this worker runs at once, within its own
	// Concurrency. For a limit across all workers use a [Quota]. Defaults to no limit of its
	// own. Negative is invalid.
	Concurrency int
}

// MinAckWait is the shortest lease that a broker keeps: it counts in seconds.
const MinAckWait = queue.MinAckWait

// MaxConcurrency is the largest Concurrency of a [WorkerConfig] and a [Queue]. It is far above
// what is of use, and far below what would cost a process its memory before the first job.
const MaxConcurrency = 100_000

const maxWeight = 1_000_000

// check returns the types as they run, or an error that names the rule which c breaks.
func (c WorkerConfig) check() (map[string]worker.Type, error) {
	if c.Mux == nil {
		return nil, noHandler()
	}
	types, err := c.Mux.build()
	if err != nil {
		return nil, err
	}
	if err := checkQueues(c.Queues); err != nil {
		return nil, err
	}
	if c.Concurrency < 0 || c.Concurrency > MaxConcurrency {
		return nil, job.Invalid("concurrency", c.Concurrency, "must be from 1 to %d", MaxConcurrency)
	}
	if c.AckWait != 0 && c.AckWait < MinAckWait {
		return nil, job.Invalid("ack wait", c.AckWait, "must be at least %v", MinAckWait)
	}
	if err := c.checkWaits(types); err != nil {
		return nil, err
	}
	for _, q := range c.Quotas {
		if err := q.check(); err != nil {
			return nil, err
		}
	}
	if err := queue.Retention(c.Retention).Check(); err != nil {
		return nil, err
	}
	if err := c.checkSeen(); err != nil {
		return nil, err
	}
	return types, c.checkCrons()
}

func (c WorkerConfig) checkSeen() error {
	if u, err := url.Parse(c.Web); c.Web != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil) {
		return &job.InvalidError{What: "web", Rule: "must be an address such as http://web-1:8080, without a password"}
	}
	for name, d := range c.Objectives {
		if err := job.CheckQueue(name); err != nil {
			return about("objective", err)
		}
		if d <= 0 {
			return about("objective", job.Invalid("of queue "+name, d, "must be more than 0"))
		}
	}
	if err := c.Notify.check(c.NoStats); err != nil {
		return about("notify", err)
	}
	return nil
}

// Check returns an [*InvalidError] if n breaks a rule. [NewWorker] checks the same.
func (n Notify) Check() error { return publicError(n.check(false)) }

func (n Notify) check(noStats bool) error {
	if n.Min != "" && !slices.Contains(problem.Levels(), problem.Level(n.Min)) {
		return job.Invalid("least level", n.Min, "must be error, warning or notice")
	}
	switch {
	case n.URL == "":
		return nil
	case noStats:
		return &job.InvalidError{What: "a URL", Rule: "needs statistics, which remember what was told"}
	}
	if err := notify.Check(n.URL); err != nil {
		return &job.InvalidError{What: "the URL", Rule: err.Error()}
	}
	return nil
}

func (c WorkerConfig) checkCrons() error {
	named := make(map[string]bool)
	for _, e := range c.Crons {
		if _, err := e.entry(); err != nil {
			return about("cron "+e.Name, err)
		}
		if named[e.Name] {
			return job.Invalid("cron", e.Name, "is named twice")
		}
		named[e.Name] = true
	}
	for _, name := range c.RemovedCrons {
		if err := job.CheckCron(name); err != nil {
			return err
		}
		if named[name] {
			return job.Invalid("cron", name, "is both put and removed")
		}
	}
	return nil
}

// noHandler says that a worker has nothing to do.
func noHandler() error {
	return &job.InvalidError{What: "the mux", Rule: "must have at least one handler"}
}

func checkQueues(queues []Queue) error {
	named := make(map[string]bool)
	for _, q := range queues {
		if err := q.check(); err != nil {
			return err
		}
		if named[q.Name] {
			return job.Invalid("queue", q.Name, "is named twice")
		}
		named[q.Name] = true
	}
	return nil
}

// CheckQueue returns an [*InvalidError] if name cannot be a queue.
func CheckQueue(name string) error { return publicError(job.CheckQueue(name)) }

// Check returns an [*InvalidError] if q breaks a rule. [NewWorker] checks the same.
func (q Queue) Check() error { return publicError(q.check()) }

func (q Queue) check() error {
	if err := job.CheckQueue(q.Name); err != nil {
		return err
	}
	switch {
	case q.Weight < 0 || q.Weight > maxWeight:
		return about("queue "+q.Name, job.Invalid("weight", q.Weight, "must be from 1 to %d", maxWeight))
	case q.Concurrency < 0 || q.Concurrency > MaxConcurrency:
		return about("queue "+q.Name, job.Invalid("concurrency", q.Concurrency, "must be from 1 to %d", MaxConcurrency))
	}
	return nil
}

// withDefaults returns c with its zero fields filled.
func (c WorkerConfig) withDefaults() WorkerConfig {
	c.Logger = c.logger()
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a worker without a name is no reason to stop
	}
	c.Name = nodeName(c.Name)
	if len(c.Queues) == 0 {
		c.Queues = []Queue{{Name: job.DefaultQueue}}
	}
	c.Queues = slices.Clone(c.Queues)
	for i := range c.Queues {
		c.Queues[i].Weight = cmp.Or(c.Queues[i].Weight, 1)
	}
	c.Concurrency = cmp.Or(c.Concurrency, 4*runtime.GOMAXPROCS(0))
	c.MaxAbandoned = cmp.Or(c.MaxAbandoned, c.Concurrency)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	return c
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

// worker returns c, whose defaults are filled in, as the worker itself knows it.
func (c WorkerConfig) worker(id string, types map[string]worker.Type) worker.Config {
	w := worker.Config{
		ID: id, Name: c.Name, Strict: c.Strict, Concurrency: c.Concurrency, Types: types,
		Limits: make(map[slots.Key]registry.Limit), Keys: make(map[string]string),
		PermitTTL: c.PermitTTL, MaxAbandoned: c.MaxAbandoned, DrainTimeout: c.DrainTimeout, Logger: c.Logger,
		Retention: queue.Retention(c.Retention), Web: c.Web, Objectives: c.Objectives,
	}
	for _, q := range c.Queues {
		w.Queues = append(w.Queues, worker.Queue(q))
	}
	for _, q := range slices.Concat(c.Mux.quotas(), c.Quotas) { // of two for the same jobs the last one counts
		w.Limits[q.key()] = q.limit()
		for _, t := range q.Types {
			w.Keys[t] = q.Key
		}
	}
	w.NoCrons = c.RemovedCrons
	for _, e := range c.Crons {
		entry, _ := e.entry() // which was checked
		w.Crons = append(w.Crons, entry)
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
