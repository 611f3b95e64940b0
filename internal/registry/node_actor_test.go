package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/supervisor"
)

// node is a worker without a queue: it starts jobs whenever its limiters let it.
type node struct {
	*scene
	id    string
	cfg   nodeConfig
	link  *natstest.Link
	agent *Agent
	stop  context.CancelFunc
	ended chan error

	// Guarded by scene.mu.
	limiters  map[slots.Key]*limiter
	free      int  // slots
	idle      bool // there are no jobs at the moment
	serial    int
	jobs      map[string]*work
	paused    map[string]bool
	suspended bool
	keys      map[string]string
	frozen    chan struct{} // closed when it thaws; nil: it runs
	since     time.Time     // when it was frozen
	dead      bool
	sent      map[string]int // messages by what they begin with
}

type nodeConfig struct {
	concurrency int
	queue       string              // default "default"
	types       []string            // default import and email
	jobs        time.Duration       // how long a job takes, on average; 0: there are none
	ttl         time.Duration       // default 10 s
	look        time.Duration       // how often it looks for jobs; default 2 ms
	deaf        bool                // hints do not reach it, nor leave it
	limits      map[slots.Key]Limit // its configuration
	configKeys  map[string]string   // by type
	instrument  func(supervisor.Child) supervisor.Child
}

// work is a job that runs.
type work struct {
	Running
	keys []slots.Key
}

const lookForJobs = 2 * time.Millisecond

// node starts one and returns when it is ready.
func (s *scene) node(id string, cfg nodeConfig) *node {
	s.t.Helper()
	n := s.newNode(id, cfg)
	ready := make(chan struct{})
	n.start(func() { close(ready) })
	select {
	case <-ready:
	case err := <-n.ended:
		s.t.Fatalf("node %s: %v", id, err)
	}
	return n
}

func (s *scene) newNode(id string, cfg nodeConfig) *node {
	s.t.Helper()
	return s.newFarNode(id, 0, cfg)
}

// newFarNode is a node that the broker is so far away from.
func (s *scene) newFarNode(id string, roundTrip time.Duration, cfg nodeConfig) *node {
	s.t.Helper()
	if cfg.types == nil {
		cfg.types = []string{imports.Name, mails.Name}
	}
	if cfg.queue == "" {
		cfg.queue = "default"
	}
	if cfg.look == 0 {
		cfg.look = lookForJobs
	}
	n := &node{
		scene: s, id: id, link: s.server.Link(), cfg: cfg, ended: make(chan error, 1),
		limiters: make(map[slots.Key]*limiter), free: cfg.concurrency, jobs: make(map[string]*work),
		paused: make(map[string]bool), keys: make(map[string]string), sent: make(map[string]int),
	}
	n.link.Watch(n.count)
	n.link.Far(roundTrip)
	store := s.open(n.link.Connect(s.t))
	if cfg.deaf {
		store.control = "deaf." + id + "."
	}
	var err error
	n.agent, err = NewAgent(store, AgentConfig{
		Node: id, TTL: cfg.ttl, Queues: []string{cfg.queue}, Types: cfg.types, Logger: s.logger().With(slog.String("node", id)),
		Slots: n, Snapshot: n.snapshot, Instrument: cfg.instrument,
		Limits: cfg.limits, Keys: cfg.configKeys,
	})
	if err != nil {
		s.t.Fatalf("agent: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[id] = n
	return n
}

func (n *node) start(ready func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	n.stop = cancel
	go func() {
		n.ended <- n.agent.RunReady(ctx, func() {
			if n.cfg.jobs > 0 {
				go n.work(ctx)
			}
			ready()
		})
	}()
}

// work starts jobs of every type, for as long as there are slots and permits.
func (n *node) work(ctx context.Context) {
	tick := time.NewTicker(n.cfg.look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.thawed()
			for _, typ := range n.cfg.types {
				for n.tryStart(typ) {
				}
			}
		}
	}
}

// keysOf are those of the limits that a type's jobs may belong to.
func (n *node) keysOf(typ string) []slots.Key {
	of := []slots.Key{{Kind: slots.OfType, Name: typ}, {Kind: slots.OfQueue, Name: n.cfg.queue}}
	if key := n.keys[typ]; key != "" {
		of = append(of, slots.Key{Kind: slots.OfKey, Name: key})
	}
	for _, p := range slices.Clip(of) {
		p.Rate = true
		of = append(of, p)
	}
	return of
}

// tryStart starts a job of a type if it may.
func (n *node) tryStart(typ string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.free <= 0 || n.idle || n.dead || n.frozen != nil || n.paused[n.cfg.queue] {
		return false
	}
	w := &work{keys: n.keysOf(typ)}
	for _, p := range w.keys {
		if v := n.limiters[p]; v != nil && !v.admits(now) {
			return false
		}
	}
	n.free--
	n.serial++
	w.Running = Running{ID: fmt.Sprintf("%s-%d", n.id, n.serial), Type: typ, Queue: n.cfg.queue, Since: now}
	n.jobs[w.ID] = w
	for _, p := range w.keys {
		n.observe(p, now)
		if v := n.limiters[p]; v != nil {
			v.started()
		}
	}
	time.AfterFunc(n.cfg.jobs/2+time.Duration(n.rand.Int64N(int64(n.cfg.jobs))), func() {
		n.thawed()
		n.mu.Lock()
		defer n.mu.Unlock()
		n.end(w)
	})
	return true
}

// end ends a job that still runs.
func (n *node) end(w *work) {
	if n.jobs[w.ID] == nil || n.dead {
		return
	}
	delete(n.jobs, w.ID)
	n.free++
	for _, p := range w.keys {
		n.running[p]--
		if v := n.limiters[p]; v != nil && !p.Rate {
			v.used--
		}
	}
}

// thawed waits while the node is frozen.
func (n *node) thawed() {
	n.mu.Lock()
	frozen := n.frozen
	n.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// freeze stops the node as SIGSTOP would. What it runs does nothing meanwhile.
func (n *node) freeze() {
	n.link.Hold()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen, n.since = make(chan struct{}), time.Now()
	n.tally(-1)
}

// thaw is SIGCONT. The guard of the permits is the first to run.
func (n *node) thaw() {
	n.mu.Lock()
	n.blinds = append(n.blinds, [2]time.Time{n.since, time.Now()})
	n.tally(1)
	for _, v := range n.limiters {
		v.guard(time.Now())
	}
	close(n.frozen)
	n.frozen = nil
	n.mu.Unlock()
	n.link.Release()
}

// crash ends the node as SIGKILL would.
func (n *node) crash() {
	n.link.Crash()
	n.mu.Lock()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	} else if !n.dead {
		n.tally(-1)
	}
	n.dead = true
	delete(n.nodes, n.id)
	n.mu.Unlock()
	n.stop()
	<-n.ended
	n.link.Release()
}

// tally adds the node's jobs to what runs, or takes them away.
func (n *node) tally(sign int) {
	for _, w := range n.jobs {
		for _, p := range w.keys {
			n.running[p] += sign
		}
	}
}

// leave stops the node in good order, after its jobs have ended.
func (n *node) leave() {
	n.t.Helper()
	n.mu.Lock()
	n.free = -1000
	for len(n.jobs) > 0 {
		n.mu.Unlock()
		time.Sleep(lookForJobs)
		n.mu.Lock()
	}
	delete(n.nodes, n.id)
	n.mu.Unlock()
	n.stop()
	if err := <-n.ended; err != nil {
		n.t.Errorf("node %s: %v", n.id, err)
	}
}

func (n *node) Limiter(p slots.Key, per time.Duration) slots.Limiter {
	n.thawed()
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.limiters[p]
	if v == nil {
		v = &limiter{node: n, key: p}
		n.limiters[p] = v
		for _, w := range n.jobs {
			if slices.Contains(w.keys, p) && !p.Rate {
				v.used++
			}
		}
	}
	v.per = per
	return v
}

func (n *node) SetKey(typ, key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys[typ] = key
}

func (n *node) Pause(queue, typ string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if typ != "" {
		queue = LoadOf(queue, typ)
	}
	n.paused[queue] = on
}

func (n *node) Suspend(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.suspended = on
}

func (n *node) isSuspended() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.suspended
}

func (n *node) pauses() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.paused)
}

func (n *node) snapshot() Node {
	n.thawed()
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Node{
		ID: n.id, Name: "test", Host: "host", PID: 1, Queues: []string{n.cfg.queue}, Types: n.cfg.types,
		Concurrency: n.cfg.concurrency, State: Working,
	}
	if n.suspended {
		s.State = Draining
	}
	for _, w := range n.jobs {
		s.Running = append(s.Running, w.Running)
	}
	return s
}

// count notes what a node sends.
func (n *node) count(subject string) natstest.Fate {
	kind := "other"
	for _, k := range []string{"$KV.millhand-registry.grant", "$KV.millhand-registry.node", "$JS.API.DIRECT.GET", "$JS.API.CONSUMER", "millhand.control"} {
		if strings.HasPrefix(subject, k) {
			kind = k
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent[kind]++
	return natstest.Pass
}

var errInjected = errors.New("injected")

// failing is c, made to fail whenever fail says so.
func failing(c supervisor.Child, fail <-chan struct{}) supervisor.Child {
	run := c.RunReady
	if c.Part != nil {
		run, c.Part = c.Part.RunReady, nil
	}
	c.RunReady = func(ctx context.Context, ready func()) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, ready) }()
		select {
		case err := <-ended:
			return err
		case <-fail:
			cancel(errInjected)
			<-ended
			return errInjected
		}
	}
	return c
}
