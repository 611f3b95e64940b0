package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// Config describes a pipeline of messages with values T. Source and Process are needed.
type Config[T any] struct {
	// Name is what the pipeline is called in logs and events.
	Name string

	// Source is where the messages come from.
	Source Source[T]

	// Process handles one message: it returns nil if that is all, or adds values to batchers. An error or
	// a panic fails the message, and takes out again what it has added.
	Process func(context.Context, *Message[T]) error

	// Prepare, if set, is called before with the messages that were delivered to one processor at once:
	// what can be looked up for all of them is looked up once. Message.Fail fails one of them, an error
	// all.
	Prepare func(context.Context, []*Message[T]) error

	// Failed, if set, is called with messages that failed, before they are settled. It may change Meta;
	// it cannot save them. Its panic is logged.
	Failed func(context.Context, []*Message[T])

	// Batchers are all that Process adds values to.
	Batchers []AnyBatcher

	// Concurrency is how many messages are in Process at once. 0: twice the number of CPUs that may be
	// used (GOMAXPROCS).
	Concurrency int

	// InFlight is how many messages are in hand at most: pulled, and not settled. 0: ten for each of
	// Concurrency, and of each batcher its Size for each of its Concurrency, and once more.
	InFlight int

	// OrderBy, if set, gives each message a key: messages of one key are processed one after the other,
	// in the order they came in, and different keys do not wait for each other. Messages with an empty
	// key are in no order. nil: in no order, unless the source is ordered, which its method Ordered() bool
	// says; then by the Key of the delivery. If all that may be in hand waits for one key, the others wait
	// too. A processor of a pipeline with an order has messages of one key at a time, and goes on to another
	// key after a millisecond, if it is not within a message then.
	//
	// Values reach the batchers in the same order, and those of one key are handled in it.
	OrderBy func(*Message[T]) string

	// OnFailure is what is done before a message has failed for good.
	OnFailure Failure

	// Limit, if set, is asked how many messages may be started. Those that wait for it have not been
	// pulled.
	Limit Limiter

	// DrainTimeout is how long Run waits for what is in hand after its context has ended. 0: 30 s.
	DrainTimeout time.Duration

	// Observe, if set, is told what happens. What it is told of waits for it, so it should be quick.
	Observe func(Event)

	// Use is middleware around the calls of Process and Handle, the first the outermost. nil is none.
	Use []Middleware

	// Logger gets what costs somebody something. nil: slog.Default().
	Logger *slog.Logger
}

// Failure says what happens when a message or a batch fails. The zero value tells the source at once, and
// goes on.
type Failure struct {
	// Attempts is how often Process is called for a message, or Handle for what of a batch has not been
	// failed by index, before it has failed. The processor, or the batch's place, is held meanwhile. 0: 1.
	Attempts int

	// Backoff is how long to wait after the given attempt, from 1. nil: 100 ms, twice as long each time
	// up to 10 s, less a random part of up to a fifth.
	Backoff func(attempt int) time.Duration

	// HoldKey has the messages of a key wait while one of them fails in a batch, until that is settled.
	// What fails in Process is waited for in any case.
	HoldKey bool

	// Stop ends the pipeline when a message has failed: it, and all that is in hand, is handed back, and
	// Run returns the error.
	Stop bool

	// Bisect repeats a call of Handle that fails as a whole with halves of the batch, until values fail
	// alone. A batch of n costs 2n-1 calls at most. Not bisected are [All], the end of the context, and
	// errors that say when to try again.
	Bisect bool
}

func (f Failure) withDefaults() Failure {
	f.Attempts = max(f.Attempts, 1)
	if f.Backoff == nil {
		f.Backoff = backoff
	}
	return f
}

func backoff(attempt int) time.Duration {
	d := min(100*time.Millisecond<<min(attempt-1, 10), 10*time.Second)
	return d - rand.N(d/5) //nolint:gosec // no secret
}

const (
	defaultDemand = 10               // what one processor asks for: Broadway's
	drainTimeout  = 30 * time.Second // Broadway's
	abandonAfter  = 10 * time.Second // as a worker's handlers are
	settledWithin = time.Second      // of that, for what settles or hears of failures, once it is told to end
)

// New checks a configuration. Errors wrap [ErrInvalid].
func New[T any](c Config[T]) (*Pipeline[T], error) {
	if c.Name == "" {
		c.Name = "pipeline"
	}
	switch {
	case c.Concurrency < 0 || c.InFlight < 0 || c.DrainTimeout < 0 || c.OnFailure.Attempts < 0:
		return nil, invalid("%s: Concurrency %d, InFlight %d, DrainTimeout %v and Attempts %d must not be negative",
			c.Name, c.Concurrency, c.InFlight, c.DrainTimeout, c.OnFailure.Attempts)
	case c.Source == nil:
		return nil, invalid("%s: Source is missing", c.Name)
	case c.Process == nil:
		return nil, invalid("%s: Process is missing", c.Name)
	}
	if c.Concurrency == 0 {
		c.Concurrency = 2 * runtime.GOMAXPROCS(0)
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = drainTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default() //nolint:forbidigo // as net/http does: nothing is lost in silence for lack of a setting
	}
	demand := defaultDemand
	if c.InFlight > 0 {
		demand = max(c.InFlight/c.Concurrency, 1)
	}
	inFlight := c.Concurrency * defaultDemand
	var names []string
	for _, b := range c.Batchers {
		if b == nil {
			return nil, invalid("%s: a batcher is nil", c.Name)
		}
		name, size, err := b.check()
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, name) {
			return nil, invalid("%s: two batchers are named %q", c.Name, name)
		}
		if f, ok := b.(interface{ stateless() bool }); ok && f.stateless() && hasStore(c.Source) {
			return nil, invalid("%s: fold %s has no State, and the messages of its source do not come again once those behind them are settled: set State to the Store of the source", c.Name, name)
		}
		names = append(names, name)
		inFlight += size
	}
	if c.InFlight == 0 {
		c.InFlight = inFlight
	}
	return &Pipeline[T]{config: c, demand: demand, concurrency: c.Concurrency}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
