package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// ErrCrashed is what a message has failed with that was delivered more often than Attempts says, and that
// nobody has failed: every process that had it died, or handed it back.
var ErrCrashed = errors.New("pipeline/stream: every process that had the message ended before it")

// A Dead is a message that has failed for good.
type Dead struct {
	Message
	Stream  string
	Reason  Reason
	Attempt int               // the delivery that was the last; 0 of an ordered source, which has one
	Err     error             // what it has failed with
	Meta    map[string]string // of the pipeline's message, as Failed has left it
}

// ID returns what the message is called, "<stream>/<sequence>": a function that is called twice with one
// message knows it by that.
func (d *Dead) ID() string { return fmt.Sprintf("%s/%d", d.Stream, d.Seq) }

// A Reason is why a message has failed for good.
type Reason string

// The reasons. They are those of dead jobs.
const (
	Exhausted Reason = "exhausted" // it has failed as often as Attempts says
	Permanent Reason = "permanent" // its error says that no further attempt helps
	Malformed Reason = "malformed" // the decoder does not take it
	Crashed   Reason = "crashed"   // see [ErrCrashed]
)

// A DeadFunc is given what has failed for good. Only when it has returned nil is the message done with; as
// long as it fails it is called again, and the message stays in hand. It may be called twice with one
// message.
type DeadFunc func(ctx context.Context, d *Dead) error

// Drop is the DeadFunc of those who do not want what has failed for good: its end is a line in the log.
func Drop(context.Context, *Dead) error { return nil }

// The errors of jobs are recognised by their methods.
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

// reason returns why a message has failed for good with err, if it has whatever its attempt.
func reason(err error) (Reason, bool) {
	if _, ok := errors.AsType[*DecodeError](err); ok {
		return Malformed, true
	}
	if errors.Is(err, ErrCrashed) {
		return Crashed, true
	}
	if p, ok := errors.AsType[permanent](err); ok && p.Permanent() {
		return Permanent, true
	}
	return Exhausted, false
}

// bury calls a DeadFunc until it takes the message. It gives up when ctx ends, or when over does.
func bury(ctx context.Context, over <-chan struct{}, log *slog.Logger, dead DeadFunc, d *Dead) error {
	for pause := reopenPause; ; pause = min(2*pause, buryPauseMax) {
		err := contained(func() error { return dead(ctx, d) })
		if err == nil {
			return nil
		}
		log.ErrorContext(ctx, "what has failed for good was not taken: it stays in hand, and is offered again",
			slog.String("id", d.ID()), slog.String("reason", string(d.Reason)), slog.Any("err", err))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-over:
			timer.Stop()
			return err
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

const buryPauseMax = 10 * time.Second

// contained is caught of what is called rarely, and may end its goroutine: it gives f one of its own.
func contained(f func() error) error {
	err := pipeline.ErrExited
	var call sync.WaitGroup
	call.Go(func() { err = caught(f) })
	call.Wait()
	return err
}

// caught calls f and returns its panic as an error.
func caught(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}
