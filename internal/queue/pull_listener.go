package queue

import (
	"context"
	"hash/fnv"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A Listener hears of jobs that are put into a queue while this worker has free slots and more types
// than requests may stand. A type without a standing request is then asked at once instead of in its
// turn. Nobody hears of a retry that is due: the worker that put it off remembers it, and other
// workers pick it up in the type's turn.
//
// It hears of jobs by listening to their publishing, which costs nothing while none come. Of the
// workers that run the same types, one hears of each job. Messages come whole, and nobody has asked
// whether this worker's link has room for them, so it listens for a few jobs at a time.
type Listener struct {
	store *Store
	slots *slots.Slots
	queue job.Name
	wake  <-chan struct{} // whether to listen may have changed
	log   *slog.Logger
}

// listenPause is how long a worker goes on listening when its slots are taken for a moment, and how
// long it waits before it begins when they are free for a moment.
const listenPause = 250 * time.Millisecond

// listenWindow is how many jobs are heard before more are listened for. The broker cuts off a
// connection for which 64 MiB wait, half of which pulls may have.
const listenWindow = 16

// NewListener returns a listener at a queue for the types that have a source when it runs.
func NewListener(s *Store, sl *slots.Slots, queue string) (*Listener, error) {
	name, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	return &Listener{store: s, slots: sl, queue: name, wake: sl.ListenChanges(), log: s.log.With(slog.String("queue", queue))}, nil
}

// Run listens until ctx ends. No job depends on it, so what fails is only logged.
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
		switch listen := l.slots.Listens(); {
		case listen && sub == nil:
			if sub, spent, err = l.listen(group); err == nil {
				l.slots.Listening(true)
			}
		case !listen && sub != nil:
			err = sub.Unsubscribe()
			sub, spent = nil, nil
			l.slots.Listening(false)
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

// listen subscribes for listenWindow jobs. The broker ends the subscription by itself, so no more than
// those are ever on their way.
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
	if r, ok := l.store.names.parseJobSubject(m.Subject); ok {
		l.slots.Call(r.Queue, r.Type)
	}
}

// group names the workers of which one hears of each job: those that run the same types.
func (l *Listener) group() string {
	h := fnv.New64a()
	for _, t := range l.slots.Types(l.queue.String()) {
		_, _ = h.Write([]byte(t + ".")) // never fails
	}
	return "millhand-" + strconv.FormatUint(h.Sum64(), 36)
}
