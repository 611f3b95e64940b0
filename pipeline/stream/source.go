package stream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// SourceConfig says what a [Source] reads, and what becomes of what fails. Stream, Durable and Dead are
// needed.
type SourceConfig struct {
	Stream  string
	Durable string // the consumer that all processes share: made if it is missing, never changed if it is there

	// Dead is given what has failed for good: [Drop], a function, or what millhand.DeadJobs returns.
	Dead DeadFunc

	// Attempts is how often a message may be delivered before it has failed for good, as the broker
	// counts, which is also when a process dies or hands it back. 0: 10.
	Attempts int

	// Backoff is how long the broker waits with a message that has failed, after the given delivery, from
	// 1. nil: a second, twice as long each time up to a minute, less a random part of up to a fifth.
	Backoff func(attempt int) time.Duration

	// InFlight is how many messages the consumer has to let be in hand, of all processes: one that is there
	// and lets fewer is refused. 0: any will do. How many are in hand here is the pipeline's InFlight.
	InFlight int

	// Group, Priority and MinPending go with each request to a consumer that has priority groups.
	Group      string
	Priority   int   // 0 to 9, 0 first
	MinPending int64 // ask only while more than these wait

	// What a consumer is made with. One that is there has its own; another Subject is refused.
	Subject string        // wildcards allowed; empty: all
	FromSeq uint64        // the first sequence; 0: from the oldest message
	Since   time.Time     // leaves out what was stored before; zero: nothing. Not with FromSeq
	AckWait time.Duration // how long the broker waits for a process that has died. 0: 30 s; at least 5 s

	// Namespace is where Millhand keeps its registry, in which the pipeline shows itself. Empty: millhand.
	Namespace string

	Domain string       // of JetStream; empty: the connection's own
	Logger *slog.Logger // nil: slog.Default()
}

const (
	defaultAttempts = 10
	defaultAckWait  = 30 * time.Second
	minAckWait      = 5 * time.Second
	maxParked       = 1000 // of one process; each costs the broker a look at all of them
)

// A Source is what is stored in a JetStream stream, shared by all processes that read through one durable
// consumer, in no order: see [NewSource].
type Source[T any] struct {
	shared
	decode func(Message) (T, error)
}

// shared is a source but for its values' type.
type shared struct {
	cfg      SourceConfig
	nc       *nats.Conn
	log      *slog.Logger
	parked   parked
	renewals *renewals
	came     chan struct{} // something is ready; capacity 1
	wake     chan struct{} // there is room; capacity 1

	mu     sync.Mutex
	user   pipeline.User
	drains bool          // by an order: nothing is taken
	wait   waiting       // in the broker
	paused bool          // nobody pulls: what comes goes back
	room   int           // for more than what is ready
	ready  []*held       // and not taken by the pipeline yet
	over   chan struct{} // closed when no further message is taken in this run
	isOver bool
}

// NewSource returns a source of messages that are handled by any number of processes, each at least once:
// their consumer is a durable one with explicit acks. It does no I/O; what does not fit is refused by the
// pipeline's Run, which names what to change. A source is of one pipeline at a time.
//
// A message in hand is renewed every third of AckWait. If the broker does not confirm that in time its
// context ends with [ErrLeaseLost], and it is not settled. What ends is settled so:
//
//   - handled: an ack. Those that end together are confirmed by one answer; without it they may come again;
//   - failed: it comes again after Backoff, or after what the error's RetryAfter() says; on its last
//     attempt, or if the error is permanent, Dead gets it, and it is acknowledged after that;
//   - cannot be decoded: Dead gets it at once;
//   - handed back: it comes again after a little more than a second.
//
// Its Message.ID is "<stream>/<sequence>".
//
// The user of nc needs, of the JetStream API, STREAM.INFO, CONSUMER.INFO, CONSUMER.CREATE if the consumer is
// missing, CONSUMER.MSG.NEXT, and to publish to the $JS.ACK subjects of the consumer.
func NewSource[T any](nc *nats.Conn, cfg SourceConfig, decode func(Message) (T, error)) (*Source[T], error) {
	if nc == nil || decode == nil {
		return nil, fmt.Errorf("%w: NewSource needs a connection and a decoder", ErrInvalid)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = defaultAttempts
	}
	if cfg.Backoff == nil {
		cfg.Backoff = backoff
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = defaultAckWait
	}
	s := &Source[T]{shared: newShared(nc, cfg), decode: decode}
	client, err := s.dial()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	client.Close() // each run has its own
	return s, nil
}

func newShared(nc *nats.Conn, cfg SourceConfig) shared {
	return shared{
		cfg: cfg, nc: nc, log: logger(cfg.Logger).With(slog.String("stream", cfg.Stream), slog.String("consumer", cfg.Durable)),
		renewals: newRenewals(nc), parked: parked{room: make(chan struct{}, maxParked)},
		came: make(chan struct{}, 1), wake: make(chan struct{}, 1), over: make(chan struct{}),
	}
}

func (s *shared) dial() (*internal.Client, error) {
	return internal.New(s.nc, internal.Config{Namespace: s.cfg.Namespace, Domain: s.cfg.Domain, Logger: s.log})
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.Default() //nolint:forbidigo // as a pipeline does
	}
	return l
}

func backoff(attempt int) time.Duration {
	d := min(time.Second<<min(attempt-1, 10), time.Minute)
	return d - rand.N(d/5) //nolint:gosec // no secret
}

func (c *SourceConfig) check() error {
	switch {
	case c.Stream == "" || c.Durable == "":
		return fmt.Errorf("%w: Stream %q and Durable %q: both are needed", ErrInvalid, c.Stream, c.Durable)
	case c.Dead == nil:
		return fmt.Errorf("%w: Dead is missing: say what becomes of messages that fail for good, such as stream.Drop or millhand.DeadJobs", ErrInvalid)
	case c.FromSeq > 0 && !c.Since.IsZero():
		return fmt.Errorf("%w: FromSeq and Since are both set: set one", ErrInvalid)
	case c.Attempts < 0 || c.InFlight < 0:
		return fmt.Errorf("%w: Attempts %d and InFlight %d must not be negative", ErrInvalid, c.Attempts, c.InFlight)
	case c.AckWait != 0 && c.AckWait < minAckWait:
		return fmt.Errorf("%w: AckWait %v must be at least %v", ErrInvalid, c.AckWait, minAckWait)
	}
	return nil
}

// Attach makes it ready for a run: the one before may have failed. The pipeline calls it.
func (s *Source[T]) Attach(u pipeline.User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.drains, s.wait = u, false, waiting{}
	s.room, s.paused, s.isOver, s.over = 0, false, false, make(chan struct{})
}

// Run keeps what is in hand. The pipeline calls it.
func (s *Source[T]) Run(ctx context.Context) error { return s.shared.run(ctx) }

func (s *shared) run(ctx context.Context) error {
	client, err := s.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	defer s.reset()
	r := &reader{
		client: client, log: s.log, wake: s.wake, acked: true,
		open: func(ctx context.Context) (consumer, error) { return s.open(ctx, client) }, final: refused, room: s.wanted,
		came: func(ms []*nats.Msg, sent time.Time) error { s.take(ms, sent); return nil },
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.run(ctx) })
	g.Go(func() error { return s.renewals.run(ctx) })
	g.Go(func() error { s.measure(ctx, client); return nil })
	g.Go(func() error { show(ctx, client, shownAs(s.user.Name), s.log, s); return nil })
	return g.Wait()
}

// reset makes it ready for the next run.
func (s *shared) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	s.room, s.isOver, s.over = 0, false, make(chan struct{})
}

// ending is closed when no further message is taken.
func (s *shared) ending() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wanted returns how many messages there is room for, of any size.
func (s *shared) wanted() (messages, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver {
		return 0, 0
	}
	return s.room, 0
}

// take makes messages ready, of which there may be more than there is room for.
func (s *shared) take(ms []*nats.Msg, sent time.Time) {
	all := make([]*held, 0, len(ms))
	for _, m := range ms {
		h, err := s.hold(m, sent)
		if err != nil {
			s.log.Error("a delivery cannot be read", slog.Any("err", err))
			continue
		}
		all = append(all, h)
	}
	s.renewals.keep(all)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, all...)
	s.room -= len(ms)
	if s.isOver || s.paused || s.drains {
		s.handBackReady()
		return
	}
	wake(s.came)
}

// Pull waits for messages. The pipeline calls it.
func (s *Source[T]) Pull(ctx context.Context, n int, out []pipeline.Delivery[T]) ([]pipeline.Delivery[T], error) {
	for {
		if taken := s.pull(n); len(taken) > 0 {
			return s.deliveries(taken, out), nil
		}
		select {
		case <-s.came:
		case <-ctx.Done():
			s.pause()
			return out, context.Cause(ctx)
		}
	}
}

// pull takes up to n messages that are ready, and has as many more asked for.
func (s *shared) pull(n int) []*held {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused = false; s.drains {
		return nil
	}
	k := min(n, len(s.ready))
	taken := s.ready[:k:k]
	if s.ready = s.ready[k:]; len(s.ready) == 0 {
		s.ready = nil
	}
	s.room = n - k - len(s.ready)
	wake(s.wake)
	return taken
}

// pause hands back what is ready, and what is on its way when it comes.
func (s *shared) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room, s.paused = 0, true
	s.handBackReady()
}

// Release hands back what is ready. The pipeline calls it.
func (s *Source[T]) Release(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// end lets nothing further be taken in this run.
func (s *shared) end() {
	if !s.isOver {
		s.isOver = true
		close(s.over)
	}
	s.handBackReady()
}

func (s *shared) handBackReady() {
	s.renewals.release(s.ready)
	for _, h := range s.ready {
		_ = s.nc.Publish(h.reply, handedBack()) // unheard: it comes again after AckWait
	}
	s.ready = nil
}

// deliveries decodes messages. If the decoder ends the goroutine they are ready again.
func (s *Source[T]) deliveries(taken []*held, out []pipeline.Delivery[T]) []pipeline.Delivery[T] {
	next := 0
	defer func() {
		if next < len(taken) {
			taken[next].exited = true
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ready = append(taken, s.ready...)
		}
	}()
	for ; next < len(taken); next++ {
		out = append(out, s.delivery(taken[next]))
	}
	return out
}

// delivery decodes a message.
func (s *Source[T]) delivery(h *held) pipeline.Delivery[T] {
	d := pipeline.Delivery[T]{At: h.Time, Attempt: h.attempt, Acker: &s.shared, Ref: h, Context: &h.lease}
	if h.attempt > s.cfg.Attempts {
		d.Err = ErrCrashed
		return d
	}
	err := pipeline.ErrExited
	if !h.exited {
		err = caught(func() (err error) { d.Value, err = s.decode(h.Message); return err })
	}
	if err != nil {
		d.Err = &DecodeError{Stream: s.cfg.Stream, Seq: h.Seq, Subject: h.Subject, Err: err}
	}
	return d
}
