package queue

import (
	"context"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// An Listener hears of jobs that are put into a queue, while this worker has free slots and more
// types than requests may stand: then a job of a type that none stands for is asked for at
// once, instead of when that type's turn has come. Of a retry that is due nobody hears: the worker
// that put it off remembers it, and for another it waits for that turn.
//
// It hears of them by their publishing, which costs nothing while none come. Of the workers
// that run the same types, one hears of each job. What is published comes whole, and nobody asked
// whether this worker's link has room for it; so it is heard a few jobs at a time.
type Listener struct {
	store *Store
	gate  *Gate
	queue job.Name
	wake  chan struct{} // capacity 1: whether to listen has changed
	log   *slog.Logger
}

// listenPause is how long a worker goes on listening, or does not begin to, when its slots are
// taken or free for a moment.
const listenPause = 250 * time.Millisecond

// listenWindow is how many jobs are heard before more are listened for. The broker cuts off a
// connection for which 64 MiB wait, half of which pulls may have.
const listenWindow = 16

// NewListener returns a listener at a queue for the types that g has inlets for when it runs.
func NewListener(s *Store, g *Gate, queue string) (*Listener, error) {
	name, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	l := &Listener{store: s, gate: g, queue: name, wake: make(chan struct{}, 1), log: s.log.With(slog.String("queue", queue))}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listeners = append(g.listeners, l)
	return l, nil
}

// Run listens until ctx ends. It is not needed for any job to run: what it cannot do, it leaves.
func (l *Listener) Run(ctx context.Context) error {
	group := l.group()
	var sub *nats.Subscription
	var spent <-chan struct{} // closed when sub has ended by itself
	defer func() {
		if sub != nil {
			_ = sub.Unsubscribe() // gone with the connection otherwise
		}
	}()
	for {
		var err error
		switch listen := l.gate.listens(); {
		case listen && sub == nil:
			if sub, spent, err = l.listen(group); err == nil {
				l.gate.reserve(maxReserved)
			}
		case !listen && sub != nil:
			err = sub.Unsubscribe()
			sub, spent = nil, nil
			l.gate.reserve(0)
		}
		if err != nil {
			l.log.DebugContext(ctx, "cannot listen for jobs", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-spent:
			sub, spent = nil, nil
			continue
		case <-l.wake:
		}
		if stream.Sleep(ctx, listenPause) != nil {
			return nil
		}
	}
}

// listen subscribes for listenWindow jobs. The broker ends that by itself, before anything is said
// here; so no more than those are ever on their way.
func (l *Listener) listen(group string) (*nats.Subscription, <-chan struct{}, error) {
	left, spent := listenWindow, make(chan struct{})
	sub, err := l.store.nc.QueueSubscribe(l.store.names.allReady(l.queue), group, func(m *nats.Msg) {
		l.hear(m)
		if left--; left == 0 {
			close(spent)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return sub, spent, sub.AutoUnsubscribe(listenWindow)
}

func (l *Listener) hear(m *nats.Msg) {
	if r, ok := l.store.names.place(m.Subject); ok {
		l.gate.call(r.Queue, r.Type)
	}
}

// group names the workers of which one is to hear of a job: those that run the same types.
func (l *Listener) group() string {
	l.gate.mu.Lock()
	defer l.gate.mu.Unlock()
	var types []string
	for _, i := range l.gate.inlets {
		if i.queue == l.queue.String() {
			types = append(types, i.typ)
		}
	}
	slices.Sort(types)
	h := fnv.New64a()
	for _, t := range types {
		_, _ = h.Write([]byte(t + ".")) // never fails
	}
	return "millhand-" + strconv.FormatUint(h.Sum64(), 36)
}

// listens reports whether the listeners are to listen.
func (g *Gate) listens() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listening
}

// reserve leaves so many standing requests for calls.
func (g *Gate) reserve(n int) { g.do(func(d *demand) { d.reserved = n }) }

// setListening has the listeners listen, or not any more. It must be called with mu held.
func (g *Gate) setListening(listening bool) {
	g.listening = listening
	for _, l := range g.listeners {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// maxReminders is how many jobs that were put off a worker remembers.
const maxReminders = 1024

// remind has a type called when a job of it is due that this worker puts off.
func (g *Gate) remind(queue, typ string, delay time.Duration) {
	g.mu.Lock()
	few := len(g.inlets) <= 1+maxStanding // their requests stand all the time
	g.mu.Unlock()
	if few {
		return
	}
	if g.reminders.Add(1) > maxReminders {
		g.reminders.Add(-1)
		return
	}
	time.AfterFunc(delay, func() {
		g.reminders.Add(-1)
		g.call(queue, typ)
	})
}

// call tells that a job of a type was put into a queue.
func (g *Gate) call(queue, typ string) {
	g.mu.Lock()
	i := g.places[[2]string{queue, typ}]
	g.mu.Unlock()
	if i != nil {
		g.do(func(d *demand) { d.call(i.source) })
	}
}
