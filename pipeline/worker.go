package pipeline

import (
	"context"

	"github.com/millhand/millhand/internal/stages"
)

// worker is one processor: a consumer stage, and what it has in work.
//
// Functions may end their goroutine by runtime.Goexit, which nothing can stop. To give each message a
// goroutine of its own costs more than most messages do. So a worker notes what it is about to call, and
// as its result that the goroutine ended; when that is so, another goroutine goes on from there.
type worker[T any] struct {
	run      *typedRun[T]
	consumer *stages.Consumer[*Message[T]]
	group    group
	stop     context.CancelFunc

	messages []*Message[T] // of the group; none: nothing is in work
	prepared bool
	next     int // the message that is, or comes next, in Process
	calling  bool
	attempt  int
	result   error
	failed   []bool // by message
	ended    []*envelope
}

// live works until ctx ends and what was delivered has been handled.
func (w *worker[T]) live(ctx context.Context) {
	returned := false
	defer func() {
		if !returned {
			w.run.parts.Go(func() { w.live(ctx) })
		}
	}()
	w.work()
	_ = w.consumer.Run(ctx)
	returned = true
}

func (w *worker[T]) handle(_ context.Context, batch []*Message[T]) error { //nolint:unparam // as a consumer calls it
	w.messages = append(w.messages[:0], batch...)
	w.work()
	return nil
}

// work brings the group to its end, from wherever it is.
func (w *worker[T]) work() {
	if len(w.messages) == 0 {
		return
	}
	if !w.prepared {
		w.prepared = true
		w.prepare()
	}
	for w.next < len(w.messages) {
		w.process(w.messages[w.next])
	}
	w.finish()
}

func (w *worker[T]) prepare() {
	c := w.run.config
	if c.Prepare == nil || w.run.work.Err() != nil {
		return
	}
	s := w.run.span("prepare", len(w.messages))
	err := w.run.verdict(contained(func() error { return c.Prepare(w.run.work, w.messages) }))
	if err != nil {
		for _, m := range w.messages {
			m.Fail(err)
		}
	}
	s.end(0, err)
}

// process calls Process for a message, once more than it has been called, and goes on to the next message
// when there is to be no further attempt.
func (w *worker[T]) process(m *Message[T]) {
	e := &m.envelope
	if !w.calling {
		e.fail(e.lost())
		if err := e.failure(); err != nil || w.run.work.Err() != nil {
			w.done(true) // it failed in Prepare, or is handed back
			return
		}
		w.calling, w.result = true, ErrExited
		w.attempt++
		w.group.enter(e)
		s := w.run.span("process", 1)
		ctx, done := w.run.during(e.life)
		w.result = caught(func() error {
			if w.attempt == 1 {
				e.started()
			}
			if w.run.around == nil {
				return w.run.config.Process(ctx, m)
			}
			return w.around(ctx, m)
		})
		done()
		s.end(0, w.result)
	}
	w.calling = false
	err := w.run.verdict(w.result)
	if lost := e.lost(); lost != nil {
		e.forgive()
		err = lost
	}
	e.fail(err)
	err = e.failure()
	w.group.leave(e, err != nil)
	if err != nil && w.triesAgain(e, err) {
		e.forgive()
		return
	}
	w.done(err != nil)
}

// around calls Process through all middleware.
func (w *worker[T]) around(ctx context.Context, m *Message[T]) error {
	c := Call{Attempt: w.attempt, Values: 1, messages: []*envelope{&m.envelope}, last: &m.envelope.traced}
	return w.run.through(ctx, &c, func(ctx context.Context) error { return w.run.config.Process(ctx, m) })
}

func (w *worker[T]) triesAgain(e *envelope, err error) bool {
	f := e.failures()
	if w.attempt >= f.Attempts || e.ended.Load() || !triesAgain(err) || !w.run.pause(f, w.attempt) {
		return false
	}
	return w.run.config.Limit == nil || contained(func() error {
		_, err := w.run.config.Limit.Take(w.run.work, 1)
		return err
	}) == nil
}

// done goes on to the next message.
func (w *worker[T]) done(failed bool) {
	w.failed = append(w.failed, failed)
	w.next++
	w.attempt = 0
}

// finish settles what has ended, hands on what was added, and lets the next messages of the keys go. So
// values reach their batches in the order of Process, no message overtakes an earlier one that has failed,
// and what has only values left to wait for ends with them.
func (w *worker[T]) finish() {
	r := w.run.run
	w.ended = w.ended[:0]
	for i, m := range w.messages {
		e := &m.envelope
		switch {
		case !w.failed[i]:
			if e.done() {
				w.ended = append(w.ended, e)
			}
		case r.work.Err() != nil && e.failure() == nil:
			e.fail(ErrHandedBack) // with all the others
		case r.stops(e, e.failure()):
		case e.end(e.failure()):
			w.ended = append(w.ended, e)
		}
	}
	added := w.group.holds()
	if !added {
		w.pass(false)
	}
	r.settle(w.ended)
	if added {
		w.group.commit(r.work)
		w.pass(false)
	}
	w.pass(true)
	w.tellFolds()
	n := len(w.messages)
	clear(w.messages)
	clear(w.ended)
	w.messages, w.failed, w.next, w.prepared = w.messages[:0], w.failed[:0], 0, false
	r.account.update(func() { r.account.before -= n })
}

// tellFolds lets folds go on with the messages.
func (w *worker[T]) tellFolds() {
	if len(w.run.folds) == 0 {
		return
	}
	all := make([]*envelope, len(w.messages))
	for i, m := range w.messages {
		all[i] = &m.envelope
	}
	for _, f := range w.run.folds {
		f.left(all)
	}
}

// pass lets those who wait for messages that failed, or did not, go.
func (w *worker[T]) pass(failed bool) {
	if w.run.passed == nil {
		return
	}
	for i, m := range w.messages {
		if w.failed[i] == failed && m.envelope.key != "" {
			w.run.passed(m.envelope.key)
		}
	}
}
