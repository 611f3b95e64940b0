package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/window"
)

const (
	foldTick     = time.Second // late values change a window, and are handled, this often at most
	foldRetry    = time.Second // after the first failure of a Handle
	foldRetryMax = time.Minute
	sayAfter     = 10 // failures of a window
)

// folding is a fold in one run.
type folding[K comparable, V, A any] struct {
	config *FoldConfig[K, V, A]
	late   *atomic.Int64
	run    *run
	commit func(partition int) // nil: there is no State

	mu      sync.Mutex
	work    *sync.Cond // there may be a window to handle
	values  map[*envelope][]V
	parts   map[int]*foldPart[K, V, A]
	keys    int // accumulators of all of them
	pending int // windows of all of them that are not handled
	closed  bool
	ended   bool // nothing more comes
	timer   *time.Timer
}

func (f *Fold[K, V, A]) start(r *run) batching {
	fs := &folding[K, V, A]{config: &f.config, late: &f.late, run: r, values: map[*envelope][]V{}, parts: map[int]*foldPart[K, V, A]{}}
	fs.work = sync.NewCond(&fs.mu)
	if f.config.State != nil {
		fs.commit = f.config.State.Keep(fs)
	}
	all := batching{
		stage:    func() staging { return &foldStaging[V]{values: map[*envelope][]V{}, take: fs.take} },
		handlers: make([]func(), f.config.Concurrency),
		oldest:   func() (time.Time, bool) { return time.Time{}, false }, flushOldest: func() {},
		flush: fs.flush, open: fs.open, close: fs.close, pulled: fs.pulled, left: fs.left,
	}
	for i := range all.handlers {
		all.handlers[i] = fs.handle
	}
	fs.timer = time.AfterFunc(foldTick, func() { r.guard(partBatchers, fs.tick) })
	return all
}

// take keeps the values of a message until it is its turn.
func (f *folding[K, V, A]) take(e *envelope, vs []V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[e] = vs
}

// part returns what the fold has of a partition. With State it begins with Begin.
func (f *folding[K, V, A]) part(n int) *foldPart[K, V, A] {
	p := f.parts[n]
	if p == nil && f.commit == nil {
		p = newFoldPart(f, n)
		f.parts[n] = p
	}
	return p
}

// pulled notes messages in their order.
func (f *folding[K, V, A]) pulled(es []*envelope) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range es {
		if f.isOthers(e) || e.life != nil && e.life.Err() != nil {
			continue
		}
		n, seq := f.position(e)
		p := f.part(n)
		if p == nil { // which was lost since the message was handed out
			continue
		}
		w := &foldWaiting[V]{of: e, seq: seq}
		p.queue = append(p.queue, w)
		p.waiting[e] = w
	}
}

// left notes messages that are out of Process, folds what is next in order, and settles what is out of hand
// with that.
func (f *folding[K, V, A]) left(es []*envelope) {
	var ended []*envelope
	f.mu.Lock()
	emitted := map[int]bool{}
	for _, e := range es {
		vs := f.values[e]
		delete(f.values, e)
		if f.isOthers(e) {
			if len(vs) > 0 {
				e.fail(ErrOtherState)
			}
			ended = append(ended, forget(e, len(vs))...)
			continue
		}
		n, _ := f.position(e)
		p := f.parts[n]
		if p == nil || p.waiting[e] == nil { // its partition is lost
			e.fail(ErrHandedBack)
			ended = append(ended, forget(e, len(vs))...)
			continue
		}
		w := p.waiting[e]
		delete(p.waiting, e)
		w.values, w.left = vs, true
		before := len(p.windows)
		ended = append(ended, p.advance()...)
		ended = append(ended, p.takeReleased()...)
		emitted[n] = emitted[n] || len(p.windows) > before
	}
	f.mu.Unlock()
	f.tellStore(emitted)
	f.run.settle(ended)
}

// tellStore has windows kept that are to be handled then.
func (f *folding[K, V, A]) tellStore(emitted map[int]bool) {
	for n, yes := range emitted {
		switch {
		case !yes:
		case f.commit != nil:
			f.commit(n)
		default:
			f.work.Broadcast()
		}
	}
}

// tick handles late values and silence.
func (f *folding[K, V, A]) tick() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	emitted := map[int]bool{}
	var ended []*envelope
	for n, p := range f.parts {
		before := len(p.windows)
		p.pass(time.Now())
		p.count()
		ended = append(ended, p.takeReleased()...)
		emitted[n] = len(p.windows) > before
	}
	f.timer.Reset(foldTick)
	f.work.Broadcast() // some windows may be due again
	f.mu.Unlock()
	f.tellStore(emitted)
	f.run.settle(ended)
}

// flush ends the windows when nothing more comes, if they are nowhere else. What is open of messages that come
// again is handed back.
func (f *folding[K, V, A]) flush() {
	over, sourceEnded := f.run.account.over()
	if !over {
		return
	}
	var back []*envelope
	f.mu.Lock()
	waits := f.crowded() && f.commit == nil && sourceEnded // for windows to be handled, and is folded then
	if f.crowded() && !waits {
		back = f.refuse()
	}
	if f.commit == nil && !f.ended && !waits {
		f.ended = true
		for _, p := range f.parts {
			back = append(back, p.end(sourceEnded)...)
			back = append(back, p.takeReleased()...)
			p.count()
		}
		f.work.Broadcast()
	}
	f.mu.Unlock()
	f.run.settle(back)
}

func (f *folding[K, V, A]) open() (windows int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.parts {
		windows += p.op.Accumulators()
	}
	return windows
}

func (f *folding[K, V, A]) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.timer.Stop()
	f.work.Broadcast()
}

// handle handles windows, one at a time, until close.
func (f *folding[K, V, A]) handle() {
	for {
		p, w := f.next()
		if w == nil {
			return
		}
		f.call(p, w)
	}
}

// next waits for a window that may be handled.
func (f *folding[K, V, A]) next() (*foldPart[K, V, A], *foldWindow[K, A]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed {
		for _, p := range f.parts {
			if w := p.due(time.Now()); w != nil && (f.commit == nil || f.run.account.begin()) {
				w.running = true
				return p, w
			}
		}
		f.work.Wait()
	}
	return nil, nil
}

// call handles one window.
func (f *folding[K, V, A]) call(p *foldPart[K, V, A], w *foldWindow[K, A]) {
	r := f.run
	returned := false
	defer func() {
		if !returned {
			r.lose(w.holds...)
		}
	}()
	s := r.span("batch/"+f.config.Name, w.n)
	ctx, done := r.during(p.life)
	given := Window[K, A]{
		Key: w.Key, Start: time.Unix(0, w.Start).UTC(), End: time.Unix(0, w.End).UTC(), Value: copied(w.value),
		Revision: w.Revision, Final: w.Final, name: f.config.Name,
	}
	err := r.verdict(contained(func() error {
		if r.around == nil {
			return f.config.Handle(ctx, &given)
		}
		of := &Call{Batcher: f.config.Name, Attempt: w.failures + 1, Values: w.n, last: &w.traced}
		return r.through(ctx, of, func(ctx context.Context) error { return f.config.Handle(ctx, &given) })
	}))
	done()
	s.end(0, err)
	f.mu.Lock()
	w.running = false
	var ended []*envelope
	var emitted map[int]bool
	if err == nil {
		p.windows = slices.DeleteFunc(p.windows, func(o *foldWindow[K, A]) bool { return o == w })
		p.changed = true
		crowded := f.crowded()
		if p.count(); crowded && !f.crowded() {
			ended, emitted = f.resume()
		}
		for _, e := range w.holds {
			if e.done() {
				ended = append(ended, e)
			}
		}
	} else {
		w.failures++
		w.retry = time.Now().Add(min(foldRetry<<min(w.failures-1, 10), foldRetryMax))
		if !errors.Is(err, ErrHandedBack) {
			level := slog.LevelWarn
			if w.failures >= sayAfter {
				level = slog.LevelError
			}
			r.log.Log(r.settles, level, "a window was not handled: it is kept, and tried again", slog.String("batcher", f.config.Name),
				slog.String("id", given.ID()), slog.Int("attempt", w.failures), slog.Any("err", err))
		}
	}
	f.mu.Unlock()
	f.tellStore(emitted)
	r.settle(ended)
	if f.commit != nil || err == nil {
		r.account.update(func() { r.account.calls-- })
	}
	returned = true
}

// foldPart is what a fold has of one partition of the source.
type foldPart[K comparable, V, A any] struct {
	fold    *folding[K, V, A]
	n       int
	life    context.Context //nolint:containedctx // of the partition; nil: the run's
	op      *window.Operator[K, V, folded[A]]
	queue   []*foldWaiting[V]
	waiting map[*envelope]*foldWaiting[V]
	windows []*foldWindow[K, A] // emitted, and not handled
	holders map[windowKey[K]][]*envelope
	holes   []uint64 // up to upTo, of messages that failed: they may come again
	upTo    uint64   // what was folded last
	blocked bool     // one was handed back: what is behind it is not folded here
	touched bool     // late values may have changed something
	changed bool     // since the last checkpoint
	seen    time.Time
	silent  bool
	dropped bool // it is another process's
	keys    int  // accumulators, as the fold has counted them
	pending int  // windows, likewise

	released []*envelope // out of hand, and to be settled
}

type foldWaiting[V any] struct {
	of     *envelope
	seq    uint64
	values []V
	left   bool
}

type windowKey[K comparable] struct {
	key   K
	start int64
}

func newFoldPart[K comparable, V, A any](f *folding[K, V, A], n int) *foldPart[K, V, A] {
	p := &foldPart[K, V, A]{fold: f, n: n, waiting: map[*envelope]*foldWaiting[V]{}, holders: map[windowKey[K]][]*envelope{}, seen: time.Now()}
	c := f.config
	p.op = window.NewOperator(windowsOf(c), window.Funcs[K, V, folded[A]]{
		Zero: func(k K) folded[A] { return folded[A]{Value: c.Zero(k)} },
		Fold: func(a folded[A], v V) folded[A] {
			a.Value, a.Changed, a.n = c.Fold(a.Value, v), true, a.n+1
			return a
		},
		Emit: p.emit,
	})
	return p
}

// advance folds the messages at the head of the queue that are out of Process, and returns those that are out
// of hand with that.
func (p *foldPart[K, V, A]) advance() (ended []*envelope) {
	n := 0
	for ; n < len(p.queue) && p.queue[n].left && !p.blocked && !p.fold.crowded(); n++ {
		w := p.queue[n]
		err := w.of.failure()
		switch {
		case errors.Is(err, ErrHandedBack) || err == nil && p.life != nil && p.life.Err() != nil:
			p.blocked = true
		case w.seq <= p.upTo && !slices.Contains(p.holes, w.seq):
			ended = append(ended, forget(w.of, len(w.values))...) // it was folded before this process had the partition
			continue
		}
		if p.blocked {
			break
		}
		switch {
		case err != nil && len(w.values) == 0 && p.fold.commit != nil:
			p.holes = append(p.holes, w.seq)
		case len(p.holes) > 0:
			p.holes = slices.DeleteFunc(p.holes, func(seq uint64) bool { return seq == w.seq })
		}
		ended = append(ended, p.fold1(w)...)
		p.upTo, p.changed = max(p.upTo, w.seq), true
		p.bound()
	}
	clear(p.queue[:n])
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil
	}
	if p.blocked {
		ended = append(ended, p.giveUp()...)
	}
	return ended
}

// giveUp hands back the messages that are out of Process and will not be folded here.
func (p *foldPart[K, V, A]) giveUp() (ended []*envelope) {
	p.queue = slices.DeleteFunc(p.queue, func(w *foldWaiting[V]) bool {
		if w.left {
			w.of.fail(ErrHandedBack)
			ended = append(ended, forget(w.of, len(w.values))...)
		}
		return w.left
	})
	return ended
}

// forget ends the shares of values that are not folded.
func forget(e *envelope, values int) (ended []*envelope) {
	for range values {
		if e.done() {
			ended = append(ended, e)
		}
	}
	return ended
}

// takeReleased returns messages that are out of hand.
func (p *foldPart[K, V, A]) takeReleased() (ended []*envelope) {
	ended, p.released = p.released, nil
	return ended
}

// errEventTime is why a message fails that has a value without a time that can be told: taken for another one, it would
// have all that follows come late.
var errEventTime = errors.New("its time, or the start of its window, is outside of the years 1678 to 2262: is it set?")

// fold1 folds the values of a message.
func (p *foldPart[K, V, A]) fold1(w *foldWaiting[V]) (ended []*envelope) {
	c := p.fold.config
	holds := p.fold.commit == nil && w.of.acker != nil
	for _, v := range w.values {
		taken := false
		err := contained(func() error {
			at, ok := window.Nanoseconds(c.At(v))
			if !ok || at < math.MinInt64+int64(c.Size) {
				return errEventTime
			}
			key := c.Key(v)
			p.op.Observe(0, at)
			taken = p.op.Add(key, v, at)
			if taken && holds {
				k := windowKey[K]{key, floor(at, int64(c.Size))}
				p.holders[k] = append(p.holders[k], w.of)
			}
			if !taken {
				p.fold.late.Add(1)
				if c.OnLate != nil {
					c.OnLate(v)
				}
			}
			return nil
		})
		p.seen, p.silent, p.touched = time.Now(), false, true
		w.of.fail(err)
		if (!holds || !taken) && w.of.done() {
			ended = append(ended, w.of)
		}
	}
	return ended
}

func floor(at, step int64) int64 {
	r := at % step
	if r < 0 {
		r += step
	}
	return at - r
}

// pass lets time pass.
func (p *foldPart[K, V, A]) pass(now time.Time) {
	c := p.fold.config
	if p.touched && c.Late > 0 {
		p.op.Revise()
	}
	p.touched = false
	if c.IdleAfter > 0 && !p.silent && len(p.queue) == 0 && now.Sub(p.seen) >= c.IdleAfter {
		p.silent, p.changed = true, true
		p.op.Silence(0)
	}
}

// end handles all windows, since nothing more comes; unless messages are in hand that come again, which are
// handed back.
func (p *foldPart[K, V, A]) end(sourceEnded bool) (back []*envelope) {
	if !sourceEnded && len(p.holders) > 0 {
		for _, es := range p.holders {
			for _, e := range es {
				if e.end(ErrHandedBack) {
					back = append(back, e)
				}
			}
		}
		return back
	}
	p.op.End()
	return nil
}
