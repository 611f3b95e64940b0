package pipeline

import (
	"context"
	"slices"

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
	first    int // the first message that is left to finish
	next     int // the message that is, or comes next, in Process
	calling  bool
	attempt  int
	result   error
	failed   []bool // by message
	ended    []*envelope
	turn     turn // of a group that is of one key
}

// live works until ctx ends and what was delivered has been handled.
func (w *worker[T]) live(ctx context.Context) {
	returned := false
	defer func() {
		if v := recover(); v != nil {
			for _, m := range w.messages {
				w.run.lose(&m.envelope)
			}
			w.run.crashed(partProcessors, v)
		} else if !returned {
			w.run.parts.Go(func() { w.live(ctx) })
		}
	}()
	w.work()
	_ = w.consumer.Run(ctx)
	returned = true
}

func (w *worker[T]) handle(_ context.Context, batch []*Message[T]) error {
	w.messages = append(w.messages[:0], batch...)
	for _, m := range batch {
		w.messages = append(w.messages, m.behind...)
		m.behind = nil
	}
	w.work()
	return nil
}

// work brings the group to its end, from wherever it is.
func (w *worker[T]) work() {
	for len(w.messages) > 0 {
		if !w.prepared {
			w.prepared = true
			w.prepare()
		}
		run := w.messages[0].of != nil && len(w.messages) > 1
		if run && w.next == 0 {
			w.turn.begin(w.run.run)
		}
		for w.next < len(w.messages) && !w.pausesBefore(w.messages[w.next]) {
			w.process(w.messages[w.next])
			if run && w.first < w.next && !w.failed[w.first] {
				w.leave(&w.messages[w.first].envelope)
			}
		}
		w.finish()
	}
}

// pausesBefore reports whether what was processed before a message of the same key is to be finished first:
// it has failed, or the key is held, or has had its turn.
func (w *worker[T]) pausesBefore(m *Message[T]) bool {
	if m.of == nil || w.next == 0 || w.calling || w.attempt > 0 {
		return false
	}
	return w.failed[w.next-1] || m.of.blocked.Load() || w.turn.over.Load()
}

func (w *worker[T]) prepare() {
	c := w.run.config
	if c.Prepare == nil || w.run.work.Err() != nil {
		return
	}
	fresh := slices.DeleteFunc(slices.Clone(w.messages), func(m *Message[T]) bool { return m.prepared })
	if len(fresh) == 0 {
		return
	}
	s := w.run.span("prepare", len(fresh))
	err := w.run.verdict(contained(func() error { return c.Prepare(w.run.work, fresh) }))
	for _, m := range fresh {
		m.prepared = true
		m.Fail(err)
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

// leave hands on what a message of a run has added, at once: the next one may take long.
func (w *worker[T]) leave(e *envelope) {
	w.first++
	ended := e.done()
	if w.group.holds() {
		w.group.commit(w.run.work)
	}
	w.turn.leave(e, ended)
}

// finish settles what has ended of what was processed, hands on what was added, and lets the next messages of
// the key go. So values reach their batches in the order of Process, no message overtakes an earlier one that
// has failed, and what has only values left to wait for ends with them.
func (w *worker[T]) finish() {
	r := w.run.run
	done, rest := w.messages[w.first:w.next], w.messages[w.next:]
	w.ended = w.ended[:0]
	for i, m := range done {
		e := &m.envelope
		switch {
		case !w.failed[w.first+i]:
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
	failed, added := w.failed[w.next-1], w.group.holds()
	if !failed && !added {
		w.pass(rest)
	}
	w.turn.end()
	r.settle(w.ended)
	if added {
		w.group.commit(r.work)
	}
	goesOn := failed && len(rest) > 0 && !rest[0].of.blocked.Load()
	if (failed || added) && !goesOn {
		w.pass(rest)
	}
	w.left(done)
	kept := 0
	if goesOn {
		kept = copy(w.messages, rest)
	}
	clear(w.messages[kept:])
	clear(w.ended)
	w.messages, w.failed, w.first, w.next, w.prepared = w.messages[:kept], w.failed[:0], 0, 0, goesOn
}

// left notes that messages are out of Process, and lets folds go on with them.
func (w *worker[T]) left(done []*Message[T]) {
	if len(w.run.folds) > 0 {
		all := make([]*envelope, len(done))
		for i, m := range done {
			all[i] = &m.envelope
		}
		w.run.tellFolds(all)
	}
	n := len(done)
	w.run.account.update(func() { w.run.account.before -= n })
}

// pass lets those who wait for the key of the messages go: first the rest of what this processor was given.
func (w *worker[T]) pass(rest []*Message[T]) {
	switch {
	case w.run.passed == nil, w.messages[0].envelope.key == "":
	case len(rest) > 0:
		w.run.returnRest(slices.Clone(rest))
	default:
		w.run.passed(w.messages[0].envelope.key)
	}
}
