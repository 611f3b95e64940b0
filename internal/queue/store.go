package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of what is kept. Events must outlive the longest lease and backoff, since
// they are what keeps two holders of one job apart.
const (
	eventsMaxAge       = 7 * 24 * time.Hour
	eventsMaxMsgs      = 2_000_000 // about 200 B of the broker's memory each
	eventsPerSubject   = 64        // the attempts of one id that stay readable
	deadMaxAge         = 30 * 24 * time.Hour
	DedupWindow        = 30 * time.Second // for so long the broker takes a message for one that it has stored
	maxWaitingPulls    = 4_096            // one per worker and type
	DefaultAckWait     = 30 * time.Second // of a queue whose workers name none
	maxHeaderOverhead  = 64 << 10         // what a successor or dead record may add to a payload
	maxErrorText       = 8 << 10
	maxStackText       = 16 << 10
	maxErrorsInDeadJob = 32 << 10
)

// Config says how a [Store] names and keeps things. The zero value is usable.
type Config struct {
	Node    string        // who writes; unique per process start; empty for those who only enqueue
	AckWait time.Duration // lease of a running job where the queue has none yet; 0: 30 s, and whatever exists is fine
	Logger  *slog.Logger  // never nil

	Patience time.Duration // of an enqueue whose answer does not come; 0: 4 s; negative: until its context ends

	Registry *stream.Bucket // where the reserve is; nil: none is laid

	Retention Retention // of streams that are made
}

// A Store is the jobs of a namespace: its queues, events and dead jobs, over one client. It is
// safe for concurrent use.
type Store struct {
	client *stream.Client
	nc     *nats.Conn
	js     jetstream.JetStream
	names  names
	cfg    Config
	log    *slog.Logger

	steps      Steps    // see CountSteps
	refused    refusals // ends that do not get through
	waiters    waiters
	ackBody    []byte
	deliveries atomic.Uint64 // numbers what this node was handed
	rebuilt    atomic.Int64  // pull subscriptions that stopped delivering

	doubts chan struct{} // a write did not get through
	mended chan struct{} // guarded by mu; closed and replaced when the broker stores again
	litter atomic.Bool   // a probe may have been left in a stream

	// refusedAt is when the broker was last seen not to store, by its clock as far as known, in
	// Unix nanoseconds; 0: never. Jobs whose time came then are overdue.
	refusedAt atomic.Int64

	historySince atomic.Int64 // see HistorySince, in Unix nanoseconds; 0: longer than it is worth to tell

	mu        sync.Mutex
	tenures   map[consumerPlace]*tenure
	queues    map[job.Name]bool  // those in use, true once their streams were seen: if missing then, the broker lost them
	common    map[string]bool    // so of the streams that they share
	paces     map[job.Name]*pace // of bulk enqueues into them
	mayNotEnd atomic.Bool        // jobs that have expired, for want of a permission

	clocks     map[job.Name]*clock
	reconnects reconnects
	clockTold  atomic.Bool // that this machine's is off

	lacking map[string]*stream.LackingError // what streams lack, by their names; nil: nothing
}

// NewStore returns a store over a client, which stays the caller's. It does no I/O.
func NewStore(c *stream.Client, cfg Config) *Store {
	s := &Store{
		client: c, nc: c.Conn(), js: c.JetStream(), names: names(c.Namespace()), cfg: cfg, log: cfg.Logger,
		refused: refusals{log: cfg.Logger}, ackBody: []byte("+ACK"), queues: make(map[job.Name]bool), paces: make(map[job.Name]*pace), common: make(map[string]bool), tenures: make(map[consumerPlace]*tenure),
		clocks: make(map[job.Name]*clock), lacking: make(map[string]*stream.LackingError),
		doubts: make(chan struct{}, 1), mended: make(chan struct{}),
	}
	s.waiters.store = s
	return s
}

// useQueue notes that a queue is used, so that its stream is made when it is found missing.
func (s *Store) useQueue(queue job.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.queues[queue]; !known {
		s.queues[queue] = false
	}
}

// Open makes a queue's stream and the namespace's common ones where they do not
// exist, and leaves those that do as their operator configured them, but for what an earlier
// version made them without.
func (s *Store) Open(ctx context.Context, queue string) error {
	name, err := job.QueueName(queue)
	if err != nil {
		return err
	}
	s.useQueue(name)
	if err := s.ensure(ctx, name); err != nil || s.cfg.Node == "" {
		return err
	}
	_, err = s.Now(ctx, name) // which the ends of jobs need
	return err
}

// ensureCommon makes what the queues of the namespace share.
func (s *Store) ensureCommon(ctx context.Context) error {
	for _, c := range []struct {
		jetstream.StreamConfig
		content string
	}{
		{s.eventsConfig(), "history and results of jobs"},
		{s.deadConfig(), "dead jobs"},
	} {
		info, made, err := s.client.EnsureWith(ctx, c.StreamConfig, commonAdditions())
		if err != nil {
			return err
		}
		s.complete(ctx, info.Config, commonAdditions())
		s.mu.Lock()
		lost := made && s.common[c.Name]
		s.common[c.Name] = true
		s.mu.Unlock()
		if lost {
			s.log.WarnContext(ctx, "the broker had lost a stream: made it again, without what was in it", slog.String("stream", c.Name), slog.String("content", c.content))
		}
	}
	return nil
}

// ensure makes what is missing of a queue.
func (s *Store) ensure(ctx context.Context, queue job.Name) error {
	if err := s.ensureCommon(ctx); err != nil {
		return err
	}
	info, made, err := s.client.EnsureWith(ctx, s.queueConfig(queue), s.queueAdditions(queue))
	if err != nil {
		return err
	}
	s.complete(ctx, info.Config, s.queueAdditions(queue))
	s.mu.Lock()
	lost := made && s.queues[queue]
	s.queues[queue] = true
	s.mu.Unlock()
	if made {
		s.voidLeases(queue.String(), info.Created)
	}
	if lost {
		s.log.WarnContext(ctx, "the broker had lost a queue's stream: made it again, without the jobs that were in it", slog.String("queue", queue.String()), slog.String("stream", s.names.queueStream(queue)))
	}
	if err := s.drivePin(ctx, queue); err != nil || !made || s.cfg.Registry == nil {
		return err
	}
	if _, err := s.cfg.Registry.Open(ctx); err == nil {
		(&reserve{store: s}).fill(ctx) // before jobs can take its place
	}
	return nil
}

func (s *Store) eventsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.names.eventStream(),
		Description: "what happened to each job; the last message of a subject is the job's state",
		Subjects:    []string{s.names.allEvents()},
		Storage:     jetstream.FileStorage,
		MaxAge:      cmp.Or(s.cfg.Retention.Results, eventsMaxAge), MaxMsgs: cmp.Or(s.cfg.Retention.Events, eventsMaxMsgs),
		MaxMsgsPerSubject: eventsPerSubject,
		Duplicates:        DedupWindow,
		AllowBatchPublish: true, // without it, workers confirm each event by itself
	}
}

func (s *Store) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.names.deadStream(),
		Description: "dead jobs, whole, until they are requeued, or too old",
		Subjects:    []string{s.names.allDead()},
		Storage:     jetstream.FileStorage,
		MaxAge:      cmp.Or(s.cfg.Retention.Dead, deadMaxAge),
		Duplicates:  DedupWindow,
	}
}

// queueConfig has no limits on purpose: a full stream would drop its oldest jobs.
// Back-pressure is the broker's own storage limit, which refuses new ones.
func (s *Store) queueConfig(queue job.Name) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.names.queueStream(queue),
		Description:       "jobs of queue " + queue.String(),
		Subjects:          s.names.queueSubjects(queue),
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		AllowMsgSchedules: true,
		Duplicates:        DedupWindow,
	}
}

// drivePin puts the message in place that stays at the head of the queue's stream.
func (s *Store) drivePin(ctx context.Context, queue job.Name) error {
	pin := s.names.pin(queue)
	m := &nats.Msg{Subject: pin, Header: nats.Header{}, Data: []byte("keeps deliveries fast; do not remove")}
	stream.Expect(m, 0, pin)
	_, err := s.confirm(ctx, m, stream.Within(stream.SetupTimeout))
	if errors.Is(err, stream.ErrConflict) {
		return nil // it is there
	}
	return wrap(err, "pin of queue %s", queue)
}

// restore makes the streams of all queues in use where they are missing.
func (s *Store) restore(ctx context.Context) error {
	s.mu.Lock()
	queues := slices.SortedFunc(maps.Keys(s.queues), func(a, b job.Name) int { return strings.Compare(a.String(), b.String()) })
	s.mu.Unlock()
	for _, q := range queues {
		if err := s.ensure(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
