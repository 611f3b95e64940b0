package flow

import (
	"reflect"
	"runtime"
	"strings"
)

// step is a node that turns events into others, on the goroutines of the stream above it.
type step[S, T any] struct {
	in       node[S]
	settings settings
	fails    bool // its function may: OnError has something to see
	make     func(l lane, s settings, next sink[T]) sink[S]
}

// settings are what methods of a stream say about the step before them.
type settings struct {
	name    string
	problem string // "": none.
	onError func(*ItemError) error
}

// configurable is a node that has settings.
type configurable[T any] interface {
	node[T]
	configure(change func(s *settings, fails bool)) node[T]
}

func (n step[S, T]) lanes() int { return lanesOf(n.in) }

func (n step[S, T]) plan(e env, to func(lane) sink[T]) {
	if n.settings.problem != "" {
		e.refuse("%s", n.settings.problem)
	}
	planAbove(n.in, e, func(l lane) sink[S] { return n.make(l, n.settings, to(l)) })
}

func (n step[S, T]) configure(change func(*settings, bool)) node[T] {
	change(&n.settings, n.fails)
	return n
}

// lanesOf and planAbove also take the node of a zero Stream.
func lanesOf[T any](n node[T]) int {
	if n == nil {
		return 1
	}
	return n.lanes()
}

func planAbove[T any](n node[T], e env, to func(lane) sink[T]) {
	if n == nil {
		e.refuse("a stream without a source: begin with From, FromErr, FromChan, FromFunc or Merge")
		return
	}
	n.plan(e, to)
}

// describe makes the settings of a step from its function.
func describe(step string, f any) settings {
	v := reflect.ValueOf(f)
	if v.IsNil() {
		return settings{name: step, problem: step + " needs a function"}
	}
	name := runtime.FuncForPC(v.Pointer()).Name()
	name = name[strings.LastIndexByte(name, '/')+1:]
	return settings{name: strings.TrimSuffix(name, "-fm")}
}

// Named gives the step right before it a name, for [ItemError] and [PanicError]. Without it a step is
// named as its function is.
func (s Stream[T]) Named(name string) Stream[T] {
	return s.configure("Named", func(s *settings, _ bool) { s.name = name })
}

// OnError has f decide what a failure of the [Try], [FlatTry] or [MapBatch] right before it means. If
// f returns nil the event is dropped, or the batch, or the rest of what FlatTry makes of the event, and
// the flow goes on. An error, the same or another, ends the flow. f runs in the goroutines of the step;
// with several of them it is called from all, so what it keeps needs a lock.
func (s Stream[T]) OnError(f func(*ItemError) error) Stream[T] {
	return s.configure("OnError", func(s *settings, fails bool) {
		switch {
		case f == nil:
			s.problem = "OnError needs a function"
		case !fails:
			s.problem = "OnError stands right behind a Try, a FlatTry or a MapBatch; " + s.name + " cannot fail"
		}
		s.onError = f
	})
}

func (s Stream[T]) configure(method string, change func(*settings, bool)) Stream[T] {
	if n, ok := s.node.(configurable[T]); ok {
		return Stream[T]{n.configure(change)}
	}
	return Stream[T]{step[T, T]{
		in:       s.node,
		settings: settings{problem: method + " stands right behind the step that it is about"},
		make:     func(_ lane, _ settings, next sink[T]) sink[T] { return next },
	}}
}

// worker is what the sinks of all steps have in common.
type worker[T any] struct {
	settings settings
	lane     lane
	next     sink[T]
	out      []T
}

func newWorker[T any](l lane, s settings, next sink[T]) worker[T] {
	return worker[T]{settings: s, lane: l, next: next}
}

// begin says that this step is at work now.
func (w *worker[T]) begin() { w.lane.g.step = w.settings.name }

// flush hands on what the step has made. Its memory is used again.
func (w *worker[T]) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	err := w.next.push(w.out)
	clear(w.out)
	w.out = w.out[:0]
	return err
}

func (w *worker[T]) end() error { return w.next.end() }

// finish ends a step that has results when all events have been there. If it was interrupted, what it has
// is no result.
func (w *worker[T]) finish(results func() error) error {
	err := w.lane.interrupted()
	if err == nil {
		err = results()
	}
	return first(err, w.next.end())
}

// failed asks OnError what is to become of the flow.
func (w *worker[T]) failed(item any, err error) error {
	e := &ItemError{Step: w.settings.name, Item: item, Err: err}
	if w.settings.onError == nil {
		return e
	}
	return w.settings.onError(e)
}
