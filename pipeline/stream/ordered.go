package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

var (
	// ErrPartitionLost is the cause of the contexts of messages whose partition has, or may have, another
	// owner.
	ErrPartitionLost = errors.New("pipeline/stream: partition lost")

	// ErrStreamShorter is what Run returns if a stream ends before a cursor: it has lost messages, or is
	// another one. [ResetGroup] says where to go on.
	ErrStreamShorter = errors.New("pipeline/stream: the stream ends before the cursor")
)

// OrderedConfig says what an [Ordered] reads. Stream, Group and Dead are needed.
type OrderedConfig struct {
	Stream string // one that keeps messages whoever has handled them (limits)
	Group  string // of all processes that share the partitions, A-Z a-z 0-9 _ and -

	// Partitions is how many there are, fixed for the group's life. 0: 1.
	Partitions int

	// Subject is what a partition is: "{partition}" stands for its number, from 0. It is a token that the
	// broker has put there: see [Partitioned]. Without it there is one partition, unless PartitionBy is set.
	// Empty: all subjects.
	Subject string

	// PartitionBy, if set, gives each message of a stream without such a token the key that its partition is by, such as
	// a header of it. The owner of a partition then reads all of the stream, and passes the messages of others over:
	// so there are 4 partitions at most. It has to be the same in all processes, for the group's life, and to return
	// the same key whenever it is called; what it is given it must not change. A panic of it ends the pipeline.
	PartitionBy func(Message) string

	// Dead is given what has failed for good: [Drop], a function, or what millhand.DeadJobs returns.
	Dead DeadFunc

	// Commit is how often the cursor of a partition is written: what was settled since then is handled
	// again after a crash. 0: 1 s.
	Commit time.Duration

	// MaxBytes is how many bytes of messages this process has of all its partitions, read ahead or in hand; how many
	// messages, the pipeline's InFlight says. Of a partition of which it has nothing it takes a message in any
	// case, however large. 0: 64 MiB.
	MaxBytes int

	// FromSeq is the sequence at which a group that is new begins: at most the one that is stored next. 0: at the oldest
	// message.
	FromSeq uint64
	Since   time.Time // likewise, what was stored since then; zero: at the oldest message. Not with FromSeq

	Namespace string       // whose streams the cursors and owners are in. Empty: millhand
	Domain    string       // of JetStream; empty: the connection's own
	Logger    *slog.Logger // nil: slog.Default()
}

const (
	partitionToken = "{partition}"
	defaultCommit  = time.Second
	defaultBytes   = 64 << 20
	maxPartitions  = registry.MaxPartitions
	maxReaders     = 4 // of all of a stream
)

// Ordered is what is stored in a JetStream stream, in order within each partition: see [NewOrdered].
type Ordered[T any] struct {
	ordered
	decode func(Message) (T, error)
}

// ordered is an Ordered but for its values' type.
type ordered struct {
	cfg    OrderedConfig
	nc     *nats.Conn
	log    *slog.Logger
	came   chan struct{} // something is ready; capacity 1
	filled chan struct{} // full has changed; capacity 1

	mu     sync.Mutex
	user   pipeline.User
	drains bool         // by an order: it has no partitions
	owned  []*partition // in turn
	over   chan struct{}
	isOver bool
	folds  []pipeline.Checkpointed
	mine   map[int]*partition // by number
	budget budget
	full   bool // nothing comes until something is settled

	undecoded []*placed // were handed out, and have not come, since the decoder has ended the goroutine
}

// NewOrdered returns a source of messages in the order of their stream, of partitions that all processes with
// the same Group share out among them. It does no I/O. A source is of one pipeline at a time.
//
// A partition is one process's at a time, by a lease of 10 s that is renewed; how far it has been handled is
// a cursor in the stream <namespace>-state. The consumers in the broker keep nothing and need no acks. A
// pipeline with OrderBy processes the messages of a key one after the other, else those of a partition.
//
// If a process ends, others have its partitions within a second or two, and nothing is handled twice. If it
// is killed they have them after 10 s, and what was settled since the last commit is handled again, in
// order. One that was stopped for longer than its lease has lost it: contexts end with [ErrPartitionLost],
// nothing of it is settled, and its cursor is refused by the broker.
//
// A failed message does not come again: it is tried in place by the Attempts of the pipeline's Failure, and
// then Dead gets it; the cursor passes it when that has returned nil.
//
// The user of nc needs, of the JetStream API, STREAM.INFO, STREAM.MSG.GET, CONSUMER.CREATE,
// CONSUMER.MSG.NEXT and CONSUMER.DELETE, and what a worker needs of the namespace's registry and of the
// stream <namespace>-state.
func NewOrdered[T any](nc *nats.Conn, cfg OrderedConfig, decode func(Message) (T, error)) (*Ordered[T], error) {
	if nc == nil || decode == nil {
		return nil, fmt.Errorf("%w: NewOrdered needs a connection and a decoder", ErrInvalid)
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = 1
	}
	if cfg.Commit == 0 {
		cfg.Commit = defaultCommit
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultBytes
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	o := &Ordered[T]{decode: decode, ordered: ordered{
		cfg: cfg, nc: nc, log: logger(cfg.Logger).With(slog.String("stream", cfg.Stream), slog.String("group", cfg.Group)),
		came: make(chan struct{}, 1), filled: make(chan struct{}, 1), over: make(chan struct{}), mine: map[int]*partition{},
		budget: budget{limit: amount{maxRequest, cfg.MaxBytes}},
	}}
	client, err := o.dial()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	client.Close() // each run has its own
	return o, nil
}

func (c *OrderedConfig) check() error {
	has := strings.Contains(c.Subject, partitionToken)
	switch {
	case c.Stream == "":
		return fmt.Errorf("%w: Stream is empty: name the stream to read", ErrInvalid)
	case job.CheckKey(c.Group) != nil:
		return fmt.Errorf("%w: Group: %w", ErrInvalid, job.CheckKey(c.Group))
	case c.Dead == nil:
		return fmt.Errorf("%w: Dead is missing: say what becomes of messages that fail for good, such as stream.Drop or millhand.DeadJobs", ErrInvalid)
	case c.Partitions < 1 || c.Partitions > maxPartitions:
		return fmt.Errorf("%w: Partitions %d: from 1 to %d", ErrInvalid, c.Partitions, maxPartitions)
	case c.PartitionBy != nil && has:
		return fmt.Errorf("%w: Subject %q has %s, and PartitionBy is set: the broker makes the partitions, or PartitionBy does", ErrInvalid, c.Subject, partitionToken)
	case c.PartitionBy != nil && c.Partitions > maxReaders:
		return fmt.Errorf("%w: %d Partitions by PartitionBy, which each read all of the stream: at most %d. For more, have the broker make them (Partitioned), or Publish into a stream that has them",
			ErrInvalid, c.Partitions, maxReaders)
	case c.PartitionBy == nil && c.Partitions > 1 && !has:
		return fmt.Errorf("%w: %d Partitions, and nothing says which messages are whose: have the broker put their numbers into the subjects (Partitioned) and write %s where they are in Subject, which is %q; or set PartitionBy",
			ErrInvalid, c.Partitions, partitionToken, c.Subject)
	case c.Commit < 0 || c.MaxBytes < 0:
		return fmt.Errorf("%w: Commit %v and MaxBytes %d must not be negative", ErrInvalid, c.Commit, c.MaxBytes)
	case c.FromSeq > 0 && !c.Since.IsZero():
		return fmt.Errorf("%w: FromSeq and Since are both set: set one", ErrInvalid)
	}
	return nil
}

// Store keeps the states of folds with the cursors of the partitions: it is their State.
func (o *Ordered[T]) Store() pipeline.Store { return &o.ordered }

// Keep implements [pipeline.Store]. What is to be kept soon is so at once.
func (o *ordered) Keep(f pipeline.Checkpointed) (commit func(partition int)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.folds = append(o.folds, f)
	return func(n int) {
		o.mu.Lock()
		p := o.mine[n]
		o.mu.Unlock()
		if p != nil {
			wake(p.soon)
		}
	}
}

func (o *ordered) dial() (*internal.Client, error) {
	return internal.New(o.nc, internal.Config{Namespace: o.cfg.Namespace, Domain: o.cfg.Domain, Logger: o.log})
}

// Ordered tells pipelines that the order is to be kept.
func (o *Ordered[T]) Ordered() bool { return true }

// Attach makes it ready for a run: the one before may have failed. The pipeline calls it.
func (o *Ordered[T]) Attach(u pipeline.User) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.user, o.drains = u, false
	o.isOver, o.over = false, make(chan struct{})
	o.budget.limit.messages = u.InFlight
}

// Run shares partitions out with other processes, and keeps those that are this one's. The pipeline calls it.
func (o *Ordered[T]) Run(ctx context.Context) error { return o.ordered.run(ctx) }

func (o *ordered) run(ctx context.Context) error {
	client, err := o.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	defer o.reset()
	g := &group{
		ordered: o, client: client, cursors: &cursors{client: client, group: o.cfg.Group},
		bucket: client.Bucket("registry", "nodes, limits, grants and pauses"),
		node:   shownAs(o.user.Name), wake: make(chan struct{}, 1), failed: make(chan error, 1),
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	showing, stop := context.WithCancel(ctx)
	defer stop()
	beside.Go(func() { show(showing, client, g.node, o.log, g) })
	beside.Go(func() { g.measure(showing) })
	beside.Go(func() { g.tellFull(showing) })
	return g.run(ctx)
}

// reset makes it ready for the next run.
func (o *ordered) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
	o.owned, o.undecoded, o.isOver, o.over = nil, nil, false, make(chan struct{})
	o.folds, o.mine = nil, map[int]*partition{}
	o.budget.used, o.full = amount{}, false
}

// expect notes how many partitions there are to be messages of.
func (o *ordered) expect(partitions int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.budget.partitions = partitions
}

// share has those partitions ask for messages that may, and notes whether nothing comes before something is settled. It is
// called, with the mutex, when a partition has more, less or nothing.
func (o *ordered) share() {
	o.budget.busy, o.budget.idle = 0, 0
	for _, p := range o.owned {
		if p.usage.isBusy() {
			o.budget.busy++
		}
		if p.usage.isIdle() && !p.leaving {
			o.budget.idle++
		}
	}
	o.budget.idle += max(o.budget.partitions-len(o.owned), 0) // they are about to come
	waits, comes := false, false
	for _, p := range o.owned {
		idle := p.usage.asked.messages == 0 && !p.leaving
		asks := idle && o.budget.request(&p.usage).messages > 0
		if asks {
			wake(p.more)
		}
		comes = comes || asks || len(p.ready) > 0 || p.usage.asked.messages > 0 && p.usage.behind > 0
		waits = waits || idle && !asks
	}
	if full := waits && !comes; full != o.full {
		o.full = full
		wake(o.filled)
	}
}

// tellFull tells the pipeline whether there is room for more, until ctx ends: what waits for more in open batches may be
// what takes it up.
func (o *ordered) tellFull(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.filled:
		}
		o.mu.Lock()
		full, tell := o.full, o.user.Full
		o.mu.Unlock()
		if tell != nil {
			tell(full)
		}
	}
}

func (o *ordered) end() {
	if !o.isOver {
		o.isOver = true
		close(o.over)
	}
}

// Release has nothing more read. The pipeline calls it.
func (o *Ordered[T]) Release(context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
}

// Pull waits for messages. The pipeline calls it.
func (o *Ordered[T]) Pull(ctx context.Context, n int, out []pipeline.Delivery[T]) ([]pipeline.Delivery[T], error) {
	for {
		if taken := o.take(n); len(taken) > 0 {
			return o.deliveries(taken, out), nil
		}
		select {
		case <-o.came:
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}

// take hands out up to n messages, of all partitions in turn.
func (o *ordered) take(n int) (taken []*placed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := min(n, len(o.undecoded)); k > 0 {
		taken, o.undecoded = o.undecoded[:k:k], o.undecoded[k:]
		return taken
	}
	for i, p := range o.owned {
		left := len(o.owned) - i
		taken = p.handOut(taken, (n-len(taken)+left-1)/left)
	}
	for _, p := range o.owned { // what some had too little of
		taken = p.handOut(taken, n-len(taken))
	}
	if len(o.owned) > 1 {
		o.owned = append(o.owned[1:], o.owned[0])
	}
	if len(taken) > 0 {
		o.share()
	}
	return taken
}

// deliveries decodes messages. If the decoder ends the goroutine the next call has them.
func (o *Ordered[T]) deliveries(taken []*placed, out []pipeline.Delivery[T]) []pipeline.Delivery[T] {
	next := 0
	defer func() {
		if next < len(taken) {
			taken[next].exited = true
			o.mu.Lock()
			defer o.mu.Unlock()
			o.undecoded = append(taken, o.undecoded...)
		}
	}()
	for ; next < len(taken); next++ {
		out = append(out, o.delivery(taken[next]))
	}
	return out
}

// delivery decodes a message.
func (o *Ordered[T]) delivery(m *placed) pipeline.Delivery[T] {
	d := pipeline.Delivery[T]{Key: m.of.key, At: m.Time, Attempt: 1, Acker: &o.ordered, Ref: m, Context: m.of.lease}
	err := pipeline.ErrExited
	if !m.exited {
		err = caught(func() (err error) { d.Value, err = o.decode(m.Message); return err })
	}
	if err != nil {
		d.Err = &DecodeError{Stream: o.cfg.Stream, Seq: m.Seq, Subject: m.Subject, Err: err}
	}
	return d
}

// placed is a message of a partition.
type placed struct {
	Message
	of      *partition
	size    int  // bytes of it, with its subjects and headers
	settled bool // under the mutex of the source
	exited  bool // the decoder has ended its goroutine over it
}

func (m *placed) amount() amount { return amount{1, m.size} }

// ID is the message's: where it is stored.
func (m *placed) ID() string { return fmt.Sprintf("%s/%d", m.of.group.cfg.Stream, m.Seq) }

// Trace is where the message comes from, as its headers say.
func (m *placed) Trace() pipeline.Trace { return traceOf(m.Header) }

// Position is where the message is among those that a fold keeps the order of.
func (m *placed) Position() (partition int, seq uint64) { return m.of.n, m.Seq }

// Settle notes how far the partitions are. What failed goes to Dead before.
func (o *ordered) Settle(ctx context.Context, ends []pipeline.End) error {
	var failed error
	for i := range ends {
		m, ok := ends[i].Ref.(*placed)
		if !ok {
			continue
		}
		err := ends[i].Err
		if m.of.lease.Err() != nil {
			err = pipeline.ErrHandedBack
		}
		if err != nil && !errors.Is(err, pipeline.ErrHandedBack) {
			o.again() // it may take long
			err = o.bury(ctx, m, &ends[i])
			failed = errors.Join(failed, err)
		}
		m.of.settle(m, err == nil)
	}
	o.again()
	return failed
}

// again has partitions ask for what there is room for since messages were settled.
func (o *ordered) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.share()
}

// Lose implements [pipeline.Loser]: the partitions are given up as they are, and read again from their cursors.
func (*ordered) Lose(refs []any) {
	for _, ref := range refs {
		if m, ok := ref.(*placed); ok {
			m.of.settle(m, false)
		}
	}
}

func (o *ordered) bury(ctx context.Context, m *placed, end *pipeline.End) error {
	why, _ := reason(end.Err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.of.lease, cancel)() //nolint:contextcheck // the lease is a second end of it
	o.mu.Lock()
	over := o.over
	o.mu.Unlock()
	err := bury(ctx, over, o.log, o.cfg.Dead, &Dead{Message: m.Message, Stream: o.cfg.Stream, Reason: why, Err: end.Err, Meta: end.Meta})
	if err == nil {
		o.log.WarnContext(ctx, "a message has failed for good", slog.String("id", m.ID()), slog.String("reason", string(why)), slog.Any("err", end.Err))
	}
	return err
}
