package pipeline

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxTurn is for how long a processor goes on to further messages of a key, while other keys may wait for it.
const maxTurn = time.Millisecond

// A turn is a run of messages of one key on one processor. What of them has been processed is settled together
// when the turn ends; by a timer if that is not soon, since the next message may take for ever.
type turn struct {
	over atomic.Bool // the processor is to go on to what else there is

	mu    sync.Mutex
	run   *run
	going bool
	timer *time.Timer
	done  []*envelope // processed
	ended []*envelope // those of them that are to be settled
}

func (t *turn) begin(r *run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over.Store(false)
	t.run, t.going = r, true
	if t.timer == nil {
		t.timer = time.AfterFunc(maxTurn, t.late)
	} else {
		t.timer.Reset(maxTurn)
	}
}

// leave notes that a message is out of Process, and whether it has ended.
func (t *turn) leave(e *envelope, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = append(t.done, e)
	if ended {
		t.ended = append(t.ended, e)
	}
}

// late ends the turn before its time if a message takes long.
func (t *turn) late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over.Store(true)
	if t.going && len(t.done) > 0 { // so the processor is one of the parts, which are not over
		r, done, ended := t.run, t.done, t.ended
		t.done, t.ended = nil, nil
		r.parts.Go(func() { r.finish(done, ended) })
	}
}

// end finishes what has been processed.
func (t *turn) end() {
	t.mu.Lock()
	if !t.going {
		t.mu.Unlock()
		return
	}
	t.going = false
	t.timer.Stop()
	done, ended := t.done, t.ended
	t.mu.Unlock()
	t.run.finish(done, ended) // nobody else adds to them now
	clear(done)
	clear(ended)
	t.done, t.ended = done[:0], ended[:0]
}

// finish settles what has ended of messages that are out of Process.
func (r *run) finish(done, ended []*envelope) {
	if len(done) == 0 {
		return
	}
	r.settle(ended)
	r.tellFolds(done)
	r.account.update(func() { r.account.before -= len(done) })
}

// tellFolds lets folds go on with messages that are out of Process.
func (r *run) tellFolds(done []*envelope) {
	for _, f := range r.folds {
		f.left(done)
	}
}
