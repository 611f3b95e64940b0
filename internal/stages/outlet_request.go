package stages

import (
	"slices"
	"sync/atomic"
)

// request is a message to a producing stage.
type request[T any] struct {
	kind     requestKind
	n        int
	link     *link[T]
	err      error
	emission *emission[T]
	call     func()
}

type requestKind uint8

const (
	requestSubscribe requestKind = iota // take link as a subscriber
	requestAsk                          // link asks for n more events.
	requestCancel                       // link is to end for reason err.
	requestEmit                         // dispatch the emission
	requestMark                         // call when what is buffered now has left
	requestCall                         // call now
	requestGiveBack                     // n events that were asked of the producer will not come.
	requestPause                        // hold asks and emissions
	requestResume                       // do what was held, in order
)

// waitsForResume tells what may emit, or is to come after what was emitted before.
func (k requestKind) waitsForResume() bool {
	return k == requestAsk || k == requestEmit || k == requestMark || k == requestCall
}

// emission is one call of Emit. Whichever sets claimed first owns the events: the stage, or the
// caller if its context is done.
type emission[T any] struct {
	events  []T
	claimed atomic.Bool
	reply   chan error // capacity 1: the stage never waits
}

func (e *emission[T]) claim() bool { return e.claimed.CompareAndSwap(false, true) }

func (e *emission[T]) refuse(err error) {
	if e.claim() {
		e.reply <- err
	}
}

// step does one request, and reports false if there is none. What the producer is to be asked is in
// o.demands afterwards.
func (o *outlet[T]) step() bool {
	if len(o.work) == 0 && !o.collect() {
		return false
	}
	m := o.work[0]
	o.work = o.work[1:]
	if o.paused && m.kind.waitsForResume() {
		o.held = append(o.held, m)
		return true
	}
	o.do(m)
	o.doReasks()
	return true
}

// collect takes the mail, and gives the memory of what was done before back to it.
func (o *outlet[T]) collect() bool {
	clear(o.reading)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reading, o.mail = o.mail, o.reading[:0]
	o.work = o.reading
	return len(o.work) > 0
}

func (o *outlet[T]) do(m request[T]) {
	switch m.kind {
	case requestSubscribe:
		o.subscribe(m.link)
	case requestAsk:
		if o.links[m.link.id] == m.link { // else it has left: nobody wants these events any more
			o.dispatcher.Ask(m.link.id, m.n, o.outbox())
			o.balance()
		}
	case requestCancel:
		o.cancel(m.link, m.err)
	case requestEmit:
		if m.emission.claim() {
			o.accept(m.emission)
		}
	case requestMark:
		o.mark(m.call)
	case requestCall:
		m.call()
	case requestGiveBack:
		o.giveBack(m.n)
	case requestPause:
		o.paused = true
	case requestResume:
		o.paused = false
		o.work = slices.Concat(o.held, o.work)
		o.held = nil
	}
}

// accept dispatches a claimed emission. Its emitter is answered also if a dispatcher's function
// panics.
func (o *outlet[T]) accept(e *emission[T]) {
	err := ErrCrashed
	defer func() { e.reply <- err }()
	err = o.emit(e.events, true)
}

// doReasks does what the dispatcher asked for on behalf of consumers. GenStage sends these asks to
// itself.
func (o *outlet[T]) doReasks() {
	done := 0
	for done < len(o.reasks) { // each may make more
		o.do(o.reasks[done])
		done++
	}
	clear(o.reasks)
	o.reasks = o.reasks[:0]
}
