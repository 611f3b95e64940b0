package pipeline

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/millhand/millhand/internal/batch"
)

// A Source is where messages come from. One goroutine calls Pull, again and again.
type Source[T any] interface {
	// Pull waits for the first message and appends between 1 and n of them to out, which it returns.
	// It returns when ctx ends, as it does for a pause, and gives back by itself what comes too late
	// for that. What it
	// returns beside an error is in hand all the same. [io.EOF] says that nothing more comes; an
	// error that wraps it is what Run returns. After any other one Pull is called again, 100 ms later
	// and at longer intervals up to 5 s while it fails.
	Pull(ctx context.Context, n int, out []Delivery[T]) ([]Delivery[T], error)
}

// A Delivery is what a source hands out. Only Value is needed.
type Delivery[T any] struct {
	Value   T
	Key     string            // what its order goes by, unless OrderBy says something else
	At      time.Time         // when it happened
	Attempt int               // which delivery of the message this is, from 1; 0: not known
	Meta    map[string]string // what is known about it; Failed may change it
	Acker   Acker             // is told its end; nil: nobody is
	Ref     any               // what the Acker knows it by. If it has a method ID() string, that is the message's

	// Err, if set, is what the message has failed with before it came, such as that nobody can read it.
	// Process is not called for it. It is settled in its turn, as others that failed.
	Err error

	// Context, if set, ends when the message is no longer this process's to handle, with a cause that
	// says why. The contexts of Process and, once all of a batch's messages are lost, of Handle end with
	// it, and whatever they return the Acker is told [ErrHandedBack].
	Context context.Context //nolint:containedctx // it is the message's life
}

// hasStore reports whether a source, or one that it is made of, keeps the states of folds.
func hasStore(source any) bool {
	switch s := source.(type) {
	case interface{ Store() Store }:
		return true
	case interface{ hasStore() bool }:
		return s.hasStore()
	}
	return false
}

// A Runner is a [Source] that has something to do of its own while its pipeline runs, such as to renew what
// is in hand. Run is called when that begins, beside Pull. Its context ends when everything has been
// settled or handed back, and the pipeline waits until it has returned. An error ends the pipeline: what is
// in hand is handed back, and the pipeline's Run returns the error.
type Runner interface {
	Run(ctx context.Context) error
}

// A Releaser is a [Source] that keeps something between two calls of Pull. Release is called when no
// further call comes in this Run of the pipeline, before what is in hand has been settled.
type Releaser interface {
	Release(ctx context.Context)
}

// An Acker is told how messages ended, each once. Messages that end together are told in one call, in
// their order. What it returns is logged and counted: the messages have left the pipeline, and the source
// hands them out again as it sees fit. It may be called from several goroutines.
type Acker interface {
	Settle(ctx context.Context, ends []End) error
}

// An End is that of one message.
type End struct {
	Ref  any               // as in its Delivery
	Err  error             // nil: handled. [ErrHandedBack]: not tried to its end, to be handed out again, nothing counted
	Meta map[string]string // as it was left
}

// A Configurer is an Acker that can be told about one message: see [Message.ConfigureAck].
type Configurer interface {
	Configure(ref, option any) error
}

var (
	// ErrHandedBack is the end of a message that was in hand when its pipeline had to stop, and the
	// cause of the contexts that are cancelled then.
	ErrHandedBack = errors.New("pipeline: message is handed back, its pipeline stops")

	// ErrDrainTimeout is what Run returns if messages were still in hand when DrainTimeout had passed.
	ErrDrainTimeout = errors.New("pipeline: drain timeout has passed, what was in hand is handed back")

	// ErrInvalid is wrapped by every error about a configuration.
	ErrInvalid = errors.New("pipeline: invalid configuration")

	// ErrRunning is returned by Run while another Run of the same pipeline is in progress.
	ErrRunning = errors.New("pipeline: already running")

	// ErrExited is how a message fails whose function ended its goroutine by [runtime.Goexit].
	ErrExited = errors.New("pipeline: function ended its goroutine")

	errNothing = errors.New("pipeline: the source returned neither messages nor an error")
)

// All marks the error of a batch as nobody's own, such as "the database is down": a batch that fails so is
// not bisected, for halves of it would fail too. It returns nil for nil.
func All(err error) error { return batch.All(err) }

// The errors of jobs are recognised by their methods, so that nobody who uses a pipeline has to link the
// rest.
type (
	permanent interface {
		error
		Permanent() bool
	}
	later interface {
		error
		RetryAfter() time.Duration
	}
)

// triesAgain reports whether an error may go away by trying at once.
func triesAgain(err error) bool {
	if _, ok := errors.AsType[later](err); ok {
		return false
	}
	p, ok := errors.AsType[permanent](err)
	return (!ok || !p.Permanent()) && !cancelled(err)
}

// bisects reports whether halves of a batch might not fail.
func bisects(err error) bool {
	_, later := errors.AsType[later](err)
	return !batch.OfAll(err) && !later && !cancelled(err)
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrHandedBack)
}

// ended reports whether an error of Pull ends the source, and with what.
func ended(err error) (cause error, ok bool) { //nolint:revive // the error is what is asked for
	switch {
	case !errors.Is(err, io.EOF):
		return nil, false
	case err == io.EOF: //nolint:errorlint // one that wraps it says more
		return nil, true
	default:
		return err, true
	}
}
