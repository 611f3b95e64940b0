package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

const (
	testQueue = "q"
	testType  = "t"
)

// testPlace is the place of an id, which must be a good one.
func testPlace(id string) job.Place {
	p, err := job.PlaceOf(testQueue, testType, id)
	if err != nil {
		panic(err)
	}
	return p
}

func queueName() job.Name { return testPlace("any").Queue }

func typeName() job.Name { return testPlace("any").Type }

// subjectOf is where anybody can publish a job, whatever the id is.
func subjectOf(id string) string { return "millhand." + testQueue + ".ready." + testType + "." + id }

// scene is a broker with a queue of one type, in a bubble.
type scene struct {
	t       natstest.TB
	ctx     context.Context //nolint:containedctx // a scene has one, which never ends
	server  *natstest.Server
	store   *Store // the test's own, over a connection that nothing befalls
	logs    io.Writer
	lives   int // made so far
	zombies int // so far

	mu  sync.Mutex
	ran map[string]int // how often a life's first message ran, guarded by mu
}

func newScene(t natstest.TB, server *natstest.Server) *scene {
	t.Helper()
	s := &scene{t: t, ctx: context.Background(), server: server, logs: natstest.Output(t)}
	s.store = s.open(server.Link().Connect(t), Config{AckWait: testWait})
	if err := s.store.Open(s.ctx, testQueue); err != nil {
		t.Fatalf("open queue: %v", err)
	}
	if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
		t.Fatalf("make consumer: %v", err)
	}
	return s
}

// inScene is a test in a scene.
func inScene(t *testing.T, f func(t *testing.T, s *scene)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) { f(t, newScene(t, server)) })
}

func (s *scene) open(nc *nats.Conn, cfg Config) *Store {
	s.t.Helper()
	cfg.Logger = natstest.Logger(s.logs)
	c, err := stream.New(nc, stream.Config{Logger: cfg.Logger})
	if err != nil {
		s.t.Fatalf("client: %v", err)
	}
	store := NewStore(c, cfg)
	store.useQueue(queueName())
	return store
}

// record is a job of a fresh life.
func (s *scene) record(id string) *job.Record {
	s.lives++
	return &job.Record{
		Queue: testQueue, Type: testType, ID: id, Life: fmt.Sprintf("life-%d", s.lives),
		Attempt: 1, Payload: []byte(`{"to":"` + id + `"}`),
	}
}

// sleep passes the bubble's time.
func (s *scene) sleep(d time.Duration) { time.Sleep(d) }

// enqueueOf is the enqueue of a job whose names are fine.
func enqueueOf(r *job.Record, once bool, below int) Enqueue {
	e, err := NewEnqueue(r)
	if err != nil {
		panic(err)
	}
	e.Once, e.Below = once, below
	return e
}

// enqueue stores a job under the condition that its id is free, and returns it.
func (s *scene) enqueue(id string) *job.Record {
	s.t.Helper()
	r := s.record(id)
	if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
		s.t.Fatalf("enqueue %s: %v", id, err)
	}
	return r
}

// publish is what any NATS client can do: it checks nothing.
func (s *scene) publish(id string, header nats.Header, data string) (seq uint64) {
	s.t.Helper()
	m := &nats.Msg{Subject: subjectOf(id), Header: header, Data: []byte(data)}
	seq, err := s.store.client.Publish(s.ctx, m)
	if err != nil {
		s.t.Fatalf("publish %s: %v", id, err)
	}
	return seq
}

// node is a worker's hands without its head: it pulls and settles what the test says.
type node struct {
	*scene
	name    string
	link    *natstest.Link
	nc      *nats.Conn
	store   *Store
	slots   *slots.Slots
	renewer *Renewer
	settler *Settler
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// node starts a renewer and a settler over a connection of their own.
func (s *scene) node(name string) *node { return s.nodeOf(name, 1) }

// nodeOf is node with this many slots.
func (s *scene) nodeOf(name string, concurrency int) *node {
	s.t.Helper()
	n := &node{scene: s, name: name, link: s.server.Link()}
	n.nc = n.link.Connect(s.t)
	n.store = s.open(n.nc, Config{AckWait: testWait, Node: name})
	n.slots = slots.New(concurrency, slots.ByWeight)
	n.renewer = NewRenewer(n.store)
	n.settler = NewSettler(n.store, n.renewer)
	ctx, cancel := context.WithCancel(s.ctx)
	n.stop = cancel
	watched := n.slots // a test may have others
	n.ended.Go(func() { _ = watched.WatchPermits(ctx) })
	n.ended.Go(func() { _ = n.renewer.Run(ctx) })
	n.ended.Go(func() { _ = n.settler.Run(ctx) })
	s.t.Cleanup(n.crash)
	return n
}

// crash ends the node as SIGKILL would: nothing more leaves it.
func (n *node) crash() {
	n.link.Crash()
	n.nc.Close()
	n.stop()
	n.ended.Wait()
}

// tryPull asks for one job and waits for it for so long; nil if none came.
func (n *node) tryPull(wait, ackWait time.Duration) *Delivery {
	n.t.Helper()
	inbox := n.nc.NewInbox()
	msgs := make(chan *nats.Msg, 4)
	sub, err := n.nc.ChanSubscribe(inbox, msgs)
	if err != nil {
		n.t.Fatalf("subscribe: %v", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	sent := time.Now()
	body, _ := json.Marshal(map[string]any{"batch": 1, "expires": wait})
	subject := "$JS.API.CONSUMER.MSG.NEXT." + n.store.names.queueStream(queueName()) + "." + testType
	if err := n.nc.PublishRequest(subject, inbox, body); err != nil {
		n.t.Fatalf("pull: %v", err)
	}
	m := <-msgs
	if !isJob(m) {
		return nil
	}
	h, err := n.store.hold(m, queueName(), typeName(), ackWait, sent)
	if err != nil {
		n.t.Fatalf("hold: %v", err)
	}
	h.Issue(slots.New(1, slots.ByWeight).Source(1, testQueue, testType), &h.Record, m.Size(), h.lease)
	return h
}

// pull returns the next job, under lease.
func (n *node) pull() *Delivery {
	n.t.Helper()
	h := n.tryPull(9*time.Second, testWait)
	if h == nil {
		n.t.Fatalf("node %s got no job", n.name)
	}
	return h
}

// settle writes an outcome and returns when that has ended.
// settle returns when the broker has removed what it has confirmed as settled, which it does on a goroutine of its own.
func (n *node) settle(h *Delivery, o Outcome) error {
	defer synctest.Wait()
	return (&settlement{store: n.store, Delivery: h, Outcome: o}).run(n.ctx)
}

func (n *node) redelivered(h *Delivery) error {
	return (&settlement{store: n.store, Delivery: h, redelivered: true}).run(n.ctx)
}

// finishAll does what a healthy worker would until the queue is empty: it runs what comes
// fresh with the given outcome and settles what was lost. It returns what it ran.
func (n *node) finishAll(o Outcome) (ran []*Delivery) {
	n.t.Helper()
	for range 100 + len(n.waiting()) {
		if len(n.waiting()) == 0 {
			return ran
		}
		h := n.tryPull(9*time.Second, testWait)
		if h == nil {
			continue
		}
		var err error
		if h.Delivered > 1 {
			err = n.redelivered(h)
		} else {
			t := &settlement{store: n.store, Delivery: h, Outcome: o}
			if n.begin(n.store, t); !t.Ended {
				ran = append(ran, h)
			}
			err = t.run(n.ctx)
		}
		if err != nil && !errors.Is(err, errTaken) {
			n.t.Fatalf("settle %s: %v", h.ID, err)
		}
		time.Sleep(time.Millisecond) // acks are not confirmed
	}
	n.t.Fatalf("the queue does not get empty: %v", n.waiting())
	return nil
}

// isWrite tells the writes of a settlement from reads and requests.
func isWrite(subject string) bool {
	return strings.HasPrefix(subject, "$JS.ACK.") || strings.HasPrefix(subject, "millhand.")
}

// count counts the messages with a part of their subject that leave over a link, and says what becomes
// of them.
func count(l *natstest.Link, part string, fate natstest.Fate) *atomic.Int64 {
	var n atomic.Int64
	l.Watch(func(subject string) natstest.Fate {
		if !strings.Contains(subject, part) {
			return natstest.Pass
		}
		n.Add(1)
		return fate
	})
	return &n
}

// crashAt has the node crash at its n-th write from now, counted from 1: before the
// broker sees it, or after.
func (n *node) crashAt(write int, fate natstest.Fate) {
	count := 0
	n.link.Watch(func(subject string) natstest.Fate {
		if !isWrite(subject) {
			return natstest.Pass
		}
		if count++; count != write {
			return natstest.Pass
		}
		n.link.Down()
		return fate
	})
}

// all returns what a stream holds, in order.
func (s *scene) all(name string) (msgs []*stream.Message) {
	s.t.Helper()
	for from := uint64(1); ; {
		m, err := s.store.client.Next(s.ctx, name, ">", from)
		if errors.Is(err, ErrNotFound) {
			return msgs
		}
		if err != nil {
			s.t.Fatalf("read %s: %v", name, err)
		}
		msgs, from = append(msgs, m), m.Seq+1
	}
}

// waiting returns the messages of the jobs in the queue, newest last.
func (s *scene) waiting() (msgs []*stream.Message) {
	s.t.Helper()
	pinned := false
	for _, m := range s.all(s.store.names.queueStream(queueName())) {
		if m.Subject == s.store.names.pin(queueName()) {
			pinned = true
			continue
		}
		if s.store.names.isHold(m.Subject) || m.Subject == s.store.names.spent(queueName()) {
			continue
		}
		msgs = append(msgs, m)
	}
	if !pinned {
		s.t.Fatalf("the queue has lost its pin")
	}
	return msgs
}

// events returns the events of each life, in the order of the stream.
func (s *scene) events() map[string][]Event {
	s.t.Helper()
	lives := make(map[string][]Event)
	for _, m := range s.all(s.store.names.eventStream()) {
		e := readEvent(m)
		lives[e.Life] = append(lives[e.Life], *e)
	}
	return lives
}

// kinds returns the events of a life as words.
func (s *scene) kinds(life string) string {
	s.t.Helper()
	var words []string
	for _, e := range s.events()[life] {
		words = append(words, string(e.Kind))
	}
	return strings.Join(words, " ")
}

// records returns the dead records of each life.
func (s *scene) records() map[string][]*stream.Message {
	s.t.Helper()
	lives := make(map[string][]*stream.Message)
	for _, m := range s.all(s.store.names.deadStream()) {
		life := m.Header.Get(job.HeaderLife)
		lives[life] = append(lives[life], m)
	}
	return lives
}

// checkEnded fails the test unless each life has ended once and for all: one final event,
// the last; a dead record if and only if it is dead; nothing left in the queue.
func (s *scene) checkEnded(lives ...string) {
	s.t.Helper()
	events, records := s.events(), s.records()
	for _, life := range lives {
		final := 0
		for i, e := range events[life] {
			if e.Kind.Final() {
				final++
				if i != len(events[life])-1 {
					s.t.Errorf("%s has events after its end: %s", life, s.kinds(life))
				}
			}
		}
		if final != 1 {
			s.t.Errorf("%s has %d final events: %s", life, final, s.kinds(life))
			continue
		}
		want := 0
		if events[life][len(events[life])-1].Kind == job.EventDead {
			want = 1
		}
		if got := len(records[life]); got != want {
			s.t.Errorf("%s (%s) has %d dead records, want %d", life, s.kinds(life), got, want)
		}
	}
	for life := range events {
		if !slices.Contains(lives, life) {
			s.t.Errorf("events of an unknown life %q", life)
		}
	}
	for _, m := range s.waiting() {
		s.t.Errorf("left in the queue: %s, sequence %d, %v", m.Subject, m.Seq, m.Header)
	}
}
