package supervisor

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"time"
)

// Result is what became of one item of a stream.
type Result[I, O any] struct {
	Index int // of the item in the input, from 0
	Input I
	Value O
	Err   error // what the function returned, a *PanicError, or ErrTimeout
}

// OnTimeout says what the timeout of an item means for its stream.
type OnTimeout uint8

// The choices on a timeout.
const (
	EndStream  OnTimeout = iota // the stream ends with ErrTimeout
	ReportItem                  // the item is stopped, ErrTimeout stands in its place, and the stream goes on
)

// StreamOptions are the choices of a stream. The zero value is ordered, isolated, and ends on a
// timeout.
type StreamOptions struct {
	MaxConcurrency int           // how many items run at once; zero: GOMAXPROCS
	ItemTimeout    time.Duration // from the item's start; zero: 5 s, Forever: none
	OnTimeout      OnTimeout
	Linked         bool // the first item that fails ends the stream, and its error is the stream's
	Unordered      bool // results come as items end, instead of in the order of the input

	// Window bounds an ordered stream: how many items may have been started and not yet been
	// yielded. Behind a slow item others go on until this many results wait for it. Zero: 4 *
	// MaxConcurrency.
	Window int
}

// Stream applies f to the items of in, several at a time, each as a temporary child of d, and
// yields what becomes of them. Nothing is started, and nothing taken from in, before the result is
// iterated over; each iteration starts again. An item is taken only when there is room for it, so
// in may be endless; while in blocks, results wait.
//
// An error beside a Result is the last thing yielded: the timeout or failure of that item, if the
// options say so, ctx's end, or that of starting a child. However the iteration ends, it first
// stops the items that still run. An item that is stopped, also by its timeout, is waited for up to
// 5 s; one that ignores its context for longer is abandoned, and no longer counts for
// MaxConcurrency.
func Stream[I, O any](
	ctx context.Context, d *Dynamic, in iter.Seq[I], f func(ctx context.Context, item I) (O, error), opts StreamOptions,
) iter.Seq2[Result[I, O], error] {
	opts = opts.withDefaults()
	return func(yield func(Result[I, O], error) bool) {
		s := &stream[I, O]{
			StreamOptions: opts, owner: d, f: f, yield: yield,
			ended: make(chan *item[I, O], opts.MaxConcurrency), closed: make(chan struct{}),
			waiting: make(map[int]Result[I, O]),
		}
		defer s.close()
		for input := range in {
			if !s.start(input) {
				return
			}
			for !s.hasRoom() || len(s.ended) > 0 {
				if !s.step(ctx) {
					return
				}
			}
		}
		for len(s.running) > 0 {
			if !s.step(ctx) {
				return
			}
		}
	}
}

func (o StreamOptions) withDefaults() StreamOptions {
	if o.MaxConcurrency <= 0 {
		o.MaxConcurrency = runtime.GOMAXPROCS(0)
	}
	if o.ItemTimeout == 0 {
		o.ItemTimeout = DefaultTimeout
	}
	if o.Window <= 0 {
		o.Window = 4 * o.MaxConcurrency
	}
	return o
}

// stream is one iteration. It belongs to the goroutine of its consumer; items send themselves to
// ended.
type stream[I, O any] struct {
	StreamOptions
	owner *Dynamic
	f     func(context.Context, I) (O, error)
	yield func(Result[I, O], error) bool

	ended   chan *item[I, O] // capacity MaxConcurrency: only an item that was given up may have to wait
	closed  chan struct{}
	running []*item[I, O]        // those whose goroutine runs and that are not given up
	waiting map[int]Result[I, O] // results that earlier ones keep from being yielded
	started int
	yielded int
}

// item is one item that was started. Its result is the item's own until it is sent to ended.
type item[I, O any] struct {
	result Result[I, O]
	child  *dynamicChild
	due    time.Time // when to lose patience: to cancel it, or to give it up; zero: never
	late   bool      // it was cancelled, and its result is known to be ErrTimeout
}

// hasRoom reports whether another item may start.
func (s *stream[I, O]) hasRoom() bool {
	return len(s.running) < s.MaxConcurrency && (s.Unordered || s.started-s.yielded < s.Window)
}

// start starts an item. Like step it reports whether the stream goes on.
func (s *stream[I, O]) start(input I) bool {
	it := &item[I, O]{result: Result[I, O]{Index: s.started, Input: input}}
	if s.ItemTimeout != Forever {
		it.due = time.Now().Add(s.ItemTimeout)
	}
	it.child = &dynamicChild{
		Child: Child{Name: fmt.Sprintf("item %d", s.started), Restart: Temporary, Run: func(ctx context.Context) (err error) {
			it.result.Value, err = s.f(ctx, input)
			return err
		}},
		onLeave: func(err error) { s.deliver(it, err) },
	}
	if err := s.owner.start(it.child); err != nil {
		it.result.Err = err
		return s.fail(it.result, err)
	}
	s.started++
	s.running = append(s.running, it)
	return true
}

// deliver is the last act of an item's goroutine.
func (s *stream[I, O]) deliver(it *item[I, O], err error) {
	it.result.Err = err
	select {
	case s.ended <- it:
	case <-s.closed:
	}
}

// step waits for the next thing to happen: an item ends or times out, or ctx is done.
func (s *stream[I, O]) step(ctx context.Context) bool {
	var first *item[I, O] // to time out
	var expired <-chan time.Time
	if s.ItemTimeout != Forever && len(s.running) > 0 {
		first = slices.MinFunc(s.running, func(a, b *item[I, O]) int { return a.due.Compare(b.due) })
		timer := time.NewTimer(time.Until(first.due))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case it := <-s.ended:
		return s.onEnd(it)
	case <-expired:
		return s.onTimeout(first)
	case <-ctx.Done():
		return s.fail(Result[I, O]{Index: s.yielded}, context.Cause(ctx))
	}
}

func (s *stream[I, O]) onEnd(it *item[I, O]) bool {
	s.remove(it)
	if it.late {
		return true
	}
	if s.Linked && it.result.Err != nil {
		return s.fail(it.result, it.result.Err)
	}
	return s.give(it.result)
}

// onTimeout cancels an item, which keeps its place until it has ended; or, the second time, gives
// it up.
func (s *stream[I, O]) onTimeout(it *item[I, O]) bool {
	if it.late {
		s.remove(it)
		_ = s.owner.stop(it.child, 0, abandoned) // its supervisor reports it, and counts it until it is gone
		return true
	}
	it.late, it.due = true, time.Now().Add(DefaultStopTimeout)
	it.child.cancel(ErrShutdown)
	result := Result[I, O]{Index: it.result.Index, Input: it.result.Input, Err: ErrTimeout}
	if s.OnTimeout == EndStream {
		return s.fail(result, fmt.Errorf("item %d: %w", result.Index, ErrTimeout))
	}
	return s.give(result)
}

func (s *stream[I, O]) remove(it *item[I, O]) {
	s.running = slices.DeleteFunc(s.running, func(o *item[I, O]) bool { return o == it })
}

// give yields a result, and those that waited for it.
func (s *stream[I, O]) give(r Result[I, O]) bool {
	if s.Unordered {
		s.yielded++
		return s.yield(r, nil)
	}
	s.waiting[r.Index] = r
	for {
		r, ok := s.waiting[s.yielded]
		if !ok {
			return true
		}
		delete(s.waiting, s.yielded)
		s.yielded++
		if !s.yield(r, nil) {
			return false
		}
	}
}

// fail yields the end of the stream.
func (s *stream[I, O]) fail(r Result[I, O], err error) bool {
	s.yield(r, err)
	return false
}

// close stops what still runs.
func (s *stream[I, O]) close() {
	close(s.closed)
	for _, it := range s.running {
		it.child.cancel(ErrShutdown)
	}
	begin := time.Now()
	for _, it := range s.running {
		_ = s.owner.stop(it.child, remaining(DefaultStopTimeout, begin), abandoned) // reported by its supervisor
	}
}
