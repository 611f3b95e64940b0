package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// The parts of a pipeline.
const (
	partSource     = "source"
	partProcessors = "processors"
	partBatchers   = "batchers"
)

// How often a pipeline begins anew whose parts crash: as Broadway's, and as a supervisor in general.
const (
	maxRestarts   = 3
	restartWithin = 5 * time.Second
	restartAfter  = 100 * time.Millisecond
)

// A PartError is what Run returns if a part of the pipeline has crashed more than three times within five
// seconds. That is a bug of this package: what functions, sources, limiters and ackers do is contained.
type PartError struct {
	Part string // source, processors or batchers
	Err  error  // what it ended with
}

func (e *PartError) Error() string { return fmt.Sprintf("pipeline: its %s crashed: %v", e.Part, e.Err) }

// Unwrap returns what the part ended with.
func (e *PartError) Unwrap() error { return e.Err }

// errLost is the end of a message that a part had in hand when it crashed. Nobody is told of it.
var errLost = errors.New("pipeline: lost with a part that crashed")

// A Loser is an [Acker] that can let go of messages without settling them. Lose is called with what a part of
// the pipeline had in hand when it crashed: nobody knows how far it was handled. Its leases are to end, so that
// it is handed out again as after the crash of a process.
type Loser interface {
	Lose(refs []any)
}

// guard runs a part. If it crashes all of this run's parts end, and begin anew.
func (r *run) guard(part string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			r.crashed(part, v)
		}
	}()
	f()
}

// crashed ends the run, since nothing of what its parts share can be trusted any more.
func (r *run) crashed(part string, v any) {
	err := &PanicError{Value: v, Stack: debug.Stack()}
	r.log.Error("a part of the pipeline crashed, which is a bug: all of them begin anew, and what that one had in hand comes again as its source sees fit",
		slog.String("part", part), slog.Any("err", err), slog.String("stack", string(err.Stack)))
	r.stop(&PartError{Part: part, Err: err})
	r.abort(ErrHandedBack)
}

// lose lets go of messages that a part had in hand.
func (r *run) lose(es ...*envelope) {
	var ended []*envelope
	for _, e := range es {
		if e.end(errLost) {
			ended = append(ended, e)
		}
	}
	r.counts.lost.Add(int64(len(ended)))
	for _, e := range ended {
		letGo(e.acker, e.ref)
	}
}

// letGo tells an acker that nobody will settle a message.
func letGo(a Acker, ref any) {
	if l, ok := a.(Loser); ok {
		_ = contained(func() error { l.Lose([]any{ref}); return nil }) // its lease ends, or does not
	}
}

// restarts are those of the parts of a pipeline.
type restarts struct{ at []time.Time }

// allowed reports whether there may be one more now, and counts it.
func (r *restarts) allowed(now time.Time) bool {
	for len(r.at) > 0 && now.Sub(r.at[0]) >= restartWithin {
		r.at = r.at[1:]
	}
	if len(r.at) == maxRestarts {
		return false
	}
	r.at = append(r.at, now)
	return true
}

// supervise runs the parts, again if one of them has crashed.
func (p *Pipeline[T]) supervise(ctx context.Context, r *typedRun[T]) error {
	var again restarts
	for {
		if err := p.attach(); err != nil {
			r.log.ErrorContext(ctx, "the source does not want to know whose it is", slog.Any("err", err))
		}
		err := r.live(ctx)
		if _, crashed := errors.AsType[*PartError](err); !crashed || ctx.Err() != nil || !again.allowed(time.Now()) {
			return err
		}
		p.set(nil)
		if !wait(ctx, restartAfter) {
			return nil
		}
		if r, err = p.begin(ctx); err != nil {
			return err
		}
	}
}
