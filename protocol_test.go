package millhand_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/modeltest"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

// The protocol of a job's life, by whole workers and pipelines of jobs over one broker, while they crash
// between any two writes, freeze past their leases and wake, lose their connection and
// drain, and the broker restarts. The model is short, since it knows no protocol: it
// remembers which enqueues were accepted and which handlers run, and at the end it reads
// what the broker holds.
//
// Two rules hold at any time, checked when a handler starts:
//
//	P3  no other handler of the same job runs under an unexpired lease
//	P5  nor one of another life of its id
//
// The rest holds when all is quiet:
//
//	P1  every accepted enqueue has events, and the queue is empty but for its pin
//	P2  each life ended once, and nothing happened to it after that; who is dead is kept
//	P5  the lives of an id follow each other
//	P6  all that within a few leases of the last disturbance
//	P7  an attempt is counted for an error and nothing else; who only drains loses nothing
//	P8  each job that a pipeline was given is settled once, whatever its functions and its acker do

const (
	lease       = 6 * time.Second
	patience    = 20 * time.Minute // to quiet, in virtual time; the longest life has crashes and backoffs
	maxWorkers  = 3
	maxAttempts = 3
)

// world is the model and what it is about.
type world struct {
	*rapid.T
	server  *natstest.Server
	nc      *nats.Conn // of the test, over which nothing is lost
	js      jetstream.JetStream
	client  *millhand.Client
	workers []*process
	retired []*process
	violent bool // a lease may have been lost

	mu       sync.Mutex
	lives    map[string][]string // by id, in the order of their enqueue
	plans    map[string][]step   // by life: what its runs do
	runs     map[*run]bool       // handlers that run
	restarts []time.Time         // of the broker
	wrong    []string
}

// A step is what one run of a job does: it takes a while and ends in a way.
type step struct {
	took   time.Duration
	end    string
	bundle bool // in a batch, where jobs go through a pipeline
}

// run is a handler that has not returned.
type run struct {
	process *process
	job     *millhand.Job[millhand.Raw]
	began   time.Time
}

// process is a worker, or a pipeline of jobs, with what makes it a process of its own: a connection, and an end.
type process struct {
	name   string
	link   *natstest.Link
	nc     *nats.Conn
	worker *millhand.Worker // nil: it has a pipeline
	jobs   *audited         // of its pipeline
	cancel context.CancelFunc
	ended  chan error
	dead   bool // by crash: what its goroutines still do, nobody sees
	doomed bool // it crashes at one of its next writes
}

func newWorld(t *rapid.T, server *natstest.Server) *world {
	w := &world{
		T: t, server: server, nc: server.Link().Connect(t),
		lives: make(map[string][]string), plans: make(map[string][]step), runs: make(map[*run]bool),
	}
	var err error
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	if w.client, err = millhand.NewClient(w.nc, millhand.Config{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	return w
}

// start starts a process, which lives by the run that of makes.
func (w *world) start(of func(p *process) (run func(context.Context) error, err error)) {
	p := &process{name: fmt.Sprintf("w%d", len(w.workers)+len(w.retired)), link: w.server.Link(), ended: make(chan error, 1)}
	p.nc = p.link.Connect(w)
	run, err := of(p)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.ended <- run(ctx) }()
	w.workers = append(w.workers, p)
}

// protocolType is that of all jobs.
func protocolType() millhand.TypeConfig {
	return millhand.TypeConfig{MaxAttempts: maxAttempts, Backoff: millhand.Backoff{Initial: time.Second, Jitter: -1}}
}

func (w *world) newWorker(p *process) (run func(context.Context) error, err error) {
	mux := millhand.NewMux()
	mux.HandleFunc("t", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) { return w.handle(ctx, p, j) }, protocolType())
	p.worker, err = millhand.NewWorker(p.nc, millhand.WorkerConfig{
		Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)},
		Mux:    mux, Name: p.name, Concurrency: 2, AckWait: lease, DrainTimeout: 4 * time.Second,
	})
	return p.worker.Run, err
}

// handle is the handler of all jobs: it does as the job's plan says for this run.
func (w *world) handle(ctx context.Context, p *process, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	r := w.began(p, j)
	defer w.left(r)
	if err := w.next(j.Life).do(ctx); err != nil {
		return nil, err
	}
	return []byte(`"done"`), nil
}

// began notes a run that starts, and what it breaks.
func (w *world) began(p *process, j *millhand.Job[millhand.Raw]) *run {
	r := &run{process: p, job: j, began: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !r.process.dead {
		for other := range w.runs {
			if other.job.ID == r.job.ID && !other.process.dead && !w.blind(other) && time.Now().Before(other.job.LeaseUntil()) {
				w.wrong = append(w.wrong, fmt.Sprintf("%s of %s runs on %s, and on %s until %v from now", r.job.Life, r.job.ID,
					r.process.name, other.process.name, time.Until(other.job.LeaseUntil())))
			}
		}
		if r.job.Attempt > maxAttempts {
			w.wrong = append(w.wrong, fmt.Sprintf("%s runs as attempt %d of %d", r.job.Life, r.job.Attempt, maxAttempts))
		}
	}
	w.runs[r] = true
	return r
}

func (w *world) left(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, r)
}

// next is what the next run of a life does.
func (w *world) next(life string) step {
	w.mu.Lock()
	defer w.mu.Unlock()
	plan := w.plans[life]
	if len(plan) == 0 {
		return step{took: 100 * time.Millisecond}
	}
	w.plans[life] = plan[1:]
	return plan[0]
}

// blind reports whether the broker restarted just after r had begun. It stores when a
// message was published, not when it was handed out, until the first renewal: it may then
// give a job that had waited to a second worker.
func (w *world) blind(r *run) bool {
	return slices.ContainsFunc(w.restarts, func(at time.Time) bool { return !at.Before(r.began) && at.Sub(r.began) < lease/6 })
}

// enqueue puts a job into the queue that is not alive.
func (w *world) enqueue(id string, plan []step) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ref, err := w.client.Enqueue(ctx, millhand.Raw{Name: "t", Payload: []byte(id)}, millhand.WithID(id))
	if errors.Is(err, millhand.ErrDuplicate) {
		return
	}
	if err != nil {
		w.Fatalf("enqueue %s: %v", id, err)
	}
	w.accepted(id, ref.Life, plan)
}

// publish is an enqueue from a client that knows no Millhand, with an id of its own.
func (w *world) publish(plan []step) {
	id := fmt.Sprintf("plain-%d", len(w.lives))
	ack, err := w.js.Publish(context.Background(), "millhand.default.ready.t."+id, []byte(id))
	if err != nil {
		w.Fatalf("publish: %v", err)
	}
	w.accepted(id, fmt.Sprintf("seq-%d", ack.Sequence), plan)
}

func (w *world) accepted(id, life string, plan []step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives[id] = append(w.lives[id], life)
	w.plans[life] = plan
}

// kill ends a process as SIGKILL would. Its handlers are told, though no real one would be.
func (w *world) kill(p *process) {
	w.mu.Lock()
	p.dead = true
	w.mu.Unlock()
	p.link.Down()
	p.link.Cut()
	p.link.Release()
	p.nc.Close()
	w.retire(p)
}

// retire tells a worker to stop and no longer counts on it.
func (w *world) retire(p *process) {
	p.cancel()
	w.workers = slices.DeleteFunc(w.workers, func(q *process) bool { return p == q })
	w.retired = append(w.retired, p)
}

// doom has p crash at its n-th write from now.
func (w *world) doom(p *process, n int, fate natstest.Fate) {
	p.doomed = true
	p.link.Watch(func(subject string) natstest.Fate {
		if !strings.HasPrefix(subject, "millhand.") && !strings.HasPrefix(subject, "$JS.ACK.") {
			return natstest.Pass
		}
		if n--; n > 0 {
			return natstest.Pass
		}
		p.link.Down()
		return fate
	})
}

// bury kills who has crashed on the way.
func (w *world) bury() {
	for _, p := range slices.Clone(w.workers) {
		if p.doomed && p.nc.IsReconnecting() {
			w.kill(p)
		}
	}
}

func TestProtocol(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		w := newWorld(t, server)
		plan := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				took:   rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond, 2 * time.Second, 15 * time.Second}).Draw(t, "took"),
				end:    rapid.SampledFrom([]string{"succeed", "fail", "fail", "panic", "exit", "give up", "snooze", "hand back", "acknowledge"}).Draw(t, "end"),
				bundle: rapid.Bool().Draw(t, "in a batch"),
			}
		}), 0, 4)
		ids := rapid.SampledFrom([]string{"a", "b", "c"})
		some := func(t *rapid.T) *process {
			if len(w.workers) == 0 {
				t.Skip("no worker")
			}
			return w.workers[rapid.IntRange(0, len(w.workers)-1).Draw(t, "worker")]
		}
		pass := func(t *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 9 * time.Second}).Draw(t, "time"))
		}
		start := func(t *rapid.T) {
			if rapid.Bool().Draw(t, "with a pipeline") {
				w.start(w.newPipeline(t))
			} else {
				w.start(w.newWorker)
			}
		}
		start(t)
		time.Sleep(time.Second)
		steps := modeltest.Steps{
			"enqueue": func(t *rapid.T) { w.enqueue(ids.Draw(t, "id"), plan.Draw(t, "plan")) },
			"publish": func(t *rapid.T) { w.publish(plan.Draw(t, "plan")) },
			"worker starts": func(t *rapid.T) {
				if len(w.workers) == maxWorkers {
					t.Skip("enough")
				}
				start(t)
			},
			"worker drains": func(t *rapid.T) {
				p := some(t)
				w.retire(p)
				if rapid.Bool().Draw(t, "and hands back at once") && p.worker != nil {
					p.worker.StopNow()
				}
			},
			"worker crashes": func(t *rapid.T) { w.violent = true; w.kill(some(t)) },
			"worker crashes between writes": func(t *rapid.T) {
				w.violent = true
				w.doom(some(t), rapid.IntRange(1, 5).Draw(t, "write"),
					rapid.SampledFrom([]natstest.Fate{natstest.CutBefore, natstest.CutAfter}).Draw(t, "fate"))
			},
			"worker freezes":          func(t *rapid.T) { w.violent = true; some(t).link.Hold() },
			"worker wakes":            func(t *rapid.T) { some(t).link.Release() },
			"worker loses connection": func(t *rapid.T) { w.violent = true; some(t).link.Cut() },
			"broker restarts":         func(t *rapid.T) { w.violent = true; w.restart(t, pass) },
		}
		steps.Add("time passes", 2, pass)
		steps.Check(func(*rapid.T) { w.bury() })
		t.Repeat(steps)
		w.calmDown()
		w.check()
	})
}

func (w *world) restart(t *rapid.T, pass func(*rapid.T)) {
	w.mu.Lock()
	w.restarts = append(w.restarts, time.Now())
	w.mu.Unlock()
	w.server.Stop()
	pass(t)
	w.server.Start(t)
	time.Sleep(200 * time.Millisecond) // the test's own connection is back
}

// calmDown ends all disturbance, waits until everything is done and stops the workers.
func (w *world) calmDown() {
	w.bury()
	for _, p := range slices.Concat(w.workers, w.retired) {
		if !p.dead {
			p.link.Watch(nil)
			p.link.Release()
			p.link.Up()
		}
	}
	w.start(w.newWorker)
	began := time.Now()
	for time.Sleep(time.Second); w.queued() > 0; time.Sleep(time.Second) {
		if time.Since(began) > patience {
			w.Fatalf("not quiet after %v: %d messages wait", patience, w.queued())
		}
	}
	for _, p := range slices.Clone(w.workers) {
		w.retire(p)
	}
	for _, p := range w.retired {
		if err := <-p.ended; err != nil && !p.dead && !errors.Is(err, millhand.ErrDrainTimeout) && !errors.Is(err, pipeline.ErrDrainTimeout) {
			w.Errorf("worker %s: %v", p.name, err)
		}
		if p.jobs != nil {
			p.jobs.check(w)
		}
	}
}

// queued counts the messages of the queue, the pin apart.
func (w *world) queued() uint64 {
	st, err := w.js.Stream(context.Background(), "millhand-queue-default")
	if err != nil {
		w.Fatal(err)
	}
	return st.CachedInfo().State.Msgs - 1
}

// happened is an event as the wire has it.
type happened struct {
	Event, Life string
	Attempt     int
	Crashes     int
	Reason      string
}

// read returns what a stream holds, in order.
func (w *world) read(stream string) (msgs []*jetstream.RawStreamMsg) {
	st, err := w.js.Stream(context.Background(), stream)
	if err != nil {
		w.Fatal(err)
	}
	state := st.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		m, err := st.GetMsg(context.Background(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			w.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

func (w *world) check() {
	for _, what := range w.wrong {
		w.Error(what)
	}
	if pin := w.read("millhand-queue-default"); len(pin) != 1 || pin[0].Subject != "millhand.default.pin" {
		w.Errorf("the queue holds %d messages", len(pin))
	}
	events := make(map[string][]happened) // by id
	for _, m := range w.read("millhand-events") {
		var e happened
		if err := json.Unmarshal(m.Data, &e); err != nil {
			w.Fatalf("event %s: %v", m.Data, err)
		}
		id := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		events[id] = append(events[id], e)
	}
	dead := make(map[string]int)
	for _, m := range w.read("millhand-dead") {
		dead[m.Header.Get("Millhand-Life")]++
	}
	for id, lives := range w.lives {
		rest := events[id]
		for _, life := range lives {
			n := slices.IndexFunc(rest, func(e happened) bool { return e.Life != life })
			if n < 0 {
				n = len(rest)
			}
			w.checkLife(id, life, rest[:n], dead[life])
			rest = rest[n:]
		}
		if len(rest) > 0 {
			w.Errorf("%s has events out of turn: %v", id, rest)
		}
	}
}

// checkLife takes the events of one life, and how often it is kept as dead.
func (w *world) checkLife(id, life string, events []happened, dead int) {
	if len(events) == 0 {
		w.Errorf("%s of %s was accepted, and nothing happened", life, id)
		return
	}
	failed := make(map[int]bool) // attempts that ended in an error
	attempt, crashes := 1, 0
	for i, e := range events {
		last := i == len(events)-1
		final := e.Event == "succeeded" || e.Event == "dead" || e.Event == "cancelled"
		switch {
		case final != last:
			w.Errorf("%s of %s does not end once, at the end: %v", life, id, events)
		case e.Event == "cancelled":
			w.Errorf("%s of %s was cancelled: %v", life, id, events)
		case (e.Event == "dead") != (dead == 1) && last, dead > 1:
			w.Errorf("%s of %s has %d dead records: %v", life, id, dead, events)
		case e.Attempt != attempt && (e.Attempt != attempt+1 || !failed[attempt]):
			w.Errorf("%s of %s is at attempt %d with no error to count: %v", life, id, e.Attempt, events)
		case e.Crashes < crashes:
			w.Errorf("%s of %s has forgotten crashes: %v", life, id, events)
		case e.Event == "lost" && !w.violent:
			w.Errorf("%s of %s was lost though nobody vanished: %v", life, id, events)
		case e.Reason == "crashed" && crashes < 5:
			w.Errorf("%s of %s is dead after %d crashes: %v", life, id, crashes, events)
		}
		failed[e.Attempt] = failed[e.Attempt] || e.Event == "retrying"
		attempt, crashes = e.Attempt, e.Crashes
	}
}
