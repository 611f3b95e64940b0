package stages

import (
	"slices"
	"sync/atomic"
)

// order is a message to a producing stage.
type order[T any] struct {
	kind     orderKind
	n        int
	link     *link[T]
	err      error
	emission *emission[T]
	note     func()
}

type orderKind uint8

const (
	orderSubscribe orderKind = iota // Take link as a subscriber.
	orderAsk                        // link asks for n more events.
	orderCancel                     // link is to end for reason err.
	orderEmit                       // Dispatch the emission.
	orderNote                       // Call note when what is buffered now has left.
	orderGiveBack                   // n events that were asked of the producer will not come.
	orderPause                      // Hold asks and emissions.
	orderResume                     // Do what was held, in order.
)

// emission is one call of Emit. Who sets claimed first owns the events: the stage, or a caller whose context is done.
type emission[T any] struct {
	events  []T
	claimed atomic.Bool
	reply   chan error // Capacity 1: the stage never waits.
}

func (e *emission[T]) claim() bool { return e.claimed.CompareAndSwap(false, true) }

func (e *emission[T]) refuse(err error) {
	if e.claim() {
		e.reply <- err
	}
}

// step does one order, and reports false if there is none. What the producer is to be asked is in o.demands afterwards.
func (o *outlet[T]) step() bool {
	if len(o.work) == 0 && !o.collect() {
		return false
	}
	m := o.work[0]
	o.work = o.work[1:]
	if o.paused && (m.kind == orderAsk || m.kind == orderEmit || m.kind == orderNote) {
		o.held = append(o.held, m)
		return true
	}
	o.do(m)
	o.doReasks()
	return true
}

// collect takes the mail, and gives the memory of what was done before back to it.
func (o *outlet[T]) collect() bool {
	clear(o.desk)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.desk, o.mail = o.mail, o.desk[:0]
	o.work = o.desk
	return len(o.work) > 0
}

func (o *outlet[T]) do(m order[T]) {
	switch m.kind {
	case orderSubscribe:
		o.subscribe(m.link)
	case orderAsk:
		if o.links[m.link.id] == m.link { // Else it has left: nobody wants these events any more.
			o.dispatcher.Ask(m.link.id, m.n, o.outbox())
			o.balance()
		}
	case orderCancel:
		o.cancel(m.link, m.err)
	case orderEmit:
		if m.emission.claim() {
			o.accept(m.emission)
		}
	case orderNote:
		o.leaveNote(m.note)
	case orderGiveBack:
		o.giveBack(m.n)
	case orderPause:
		o.paused = true
	case orderResume:
		o.paused = false
		o.work = slices.Concat(o.held, o.work)
		o.held = nil
	}
}

// accept dispatches a claimed emission. Its emitter is answered also if a dispatcher's function panics.
func (o *outlet[T]) accept(e *emission[T]) {
	err := ErrCrashed
	defer func() { e.reply <- err }()
	err = o.emit(e.events, true)
}

// doReasks does what the dispatcher asked for on behalf of consumers. GenStage sends these asks to itself.
func (o *outlet[T]) doReasks() {
	done := 0
	for done < len(o.reasks) { // Each may make more.
		o.do(o.reasks[done])
		done++
	}
	clear(o.reasks)
	o.reasks = o.reasks[:0]
}
