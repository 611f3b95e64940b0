package stages

import (
	"slices"
	"sync"
	"sync/atomic"
)

// outlet is the producing side of a stage: its subscribers, the dispatcher, and the buffer for what has no demand. The
// buffer survives a restart of the stage; subscribers and their demand do not.
type outlet[T any] struct {
	bell   bell
	config OutletConfig[T]
	buffer buffer[T]

	// Of the goroutine of Run.
	dispatcher Dispatcher[T]
	links      map[ConsumerID]*link[T]
	lastID     ConsumerID
	owed       int        // Events asked of the producer that have not been emitted.
	demands    []int      // What to ask of the producer, one entry an ask. GenStage does not merge them.
	reasks     []order[T] // Made by the dispatcher in the present call.
	desk       []order[T] // Taken from the mail.
	work       []order[T] // What of desk is not done yet.
	held       []order[T] // Asks and emissions that wait for Resume.
	paused     bool
	left       bool // A subscriber has cancelled during this Run.

	buffered atomic.Int64 // What buffer holds.

	mu    sync.Mutex
	mail  []order[T]
	state runState
}

type runState uint8

const (
	idle runState = iota // Run has not been called yet: orders wait for it.
	running
	stopped // Run has returned.
)

// OutletConfig is what producing stages have in common. The zero value is usable.
type OutletConfig[T any] struct {
	Dispatcher func() Dispatcher[T] // Makes the dispatcher of each Run; nil: a DemandDispatcher.
	Buffer     int                  // Events kept for lack of demand; 0: the stage's default; else Unlimited or Unbuffered.
	Keep       Keep                 // What to keep of too many.
	Paused     bool                 // Begin each Run paused.

	OnDiscard   func(events int) // A full buffer cost so many events; called once an emission.
	OnSubscribe func()           // A consumer has subscribed.
	OnCancel    func(error)      // A subscription has ended for this reason.
}

// order is a message to a producing stage.
type order[T any] struct {
	kind     orderKind
	n        int
	link     *link[T]
	err      error
	emission *emission[T]
}

type orderKind uint8

const (
	orderSubscribe orderKind = iota // Take link as a subscriber.
	orderAsk                        // link asks for n more events.
	orderCancel                     // link is to end for reason err.
	orderEmit                       // Dispatch the emission.
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

func newOutlet[T any](c OutletConfig[T], b bell, defaultBuffer int) (*outlet[T], error) {
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	if c.Buffer < Unbuffered || c.Keep > KeepFirst {
		return nil, invalid("buffer of %d events, keep %d", c.Buffer, c.Keep)
	}
	if c.Dispatcher == nil {
		c.Dispatcher = func() Dispatcher[T] { return new(DemandDispatcher[T]) }
	}
	limit := c.Buffer
	if limit == Unbuffered {
		limit = 0
	}
	return &outlet[T]{bell: b, config: c, buffer: buffer[T]{limit: limit, keep: c.Keep}}, nil
}

func (o *outlet[T]) source() *outlet[T] { return o }

// Buffered returns how many events wait for demand.
func (o *outlet[T]) Buffered() int { return int(o.buffered.Load()) }

// post leaves an order. It reports false if nobody will carry it out: the stage has stopped or, for a cancellation, is
// not running, in which case the link's earlier orders are withdrawn.
func (o *outlet[T]) post(m order[T]) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.state == running:
	case m.kind == orderCancel:
		o.mail = slices.DeleteFunc(o.mail, func(earlier order[T]) bool { return earlier.link == m.link })
		return false
	case o.state == stopped && (m.kind != orderSubscribe || !m.link.sub.options.Resubscribe):
		return false
	}
	o.mail = append(o.mail, m)
	o.bell.ring()
	return true
}

// open begins a Run, with a new dispatcher: whoever asked the last Run for events will ask again.
func (o *outlet[T]) open() {
	o.dispatcher = o.config.Dispatcher()
	o.links = make(map[ConsumerID]*link[T])
	o.owed, o.demands, o.left = 0, o.demands[:0], false
	o.paused = o.config.Paused
	o.mu.Lock()
	o.state = running
	o.mu.Unlock()
}

// close ends a Run, also one that panicked: subscribers are told the reason, emitters are refused, and subscriptions that
// wait for a restart stay in the mail.
func (o *outlet[T]) close(reason error) {
	o.mu.Lock()
	o.state = stopped
	left := slices.Concat(o.held, o.work, o.mail)
	o.held, o.work = nil, nil
	o.mail = slices.DeleteFunc(slices.Clone(left), func(m order[T]) bool {
		return m.kind != orderSubscribe || !m.link.sub.options.Resubscribe || cancels(left, m.link)
	})
	waiting := slices.Clone(o.mail)
	o.mu.Unlock()

	for _, l := range o.links {
		o.unsubscribe(l, reason)
	}
	o.release()
	for _, m := range left {
		switch {
		case m.kind == orderEmit:
			m.emission.refuse(ErrNotRunning)
		case m.kind == orderSubscribe && !slices.ContainsFunc(waiting, func(w order[T]) bool { return w.link == m.link }):
			m.link.sub.to.post(notice[T]{kind: noticeCancelled, link: m.link, err: reason})
		}
	}
}

func cancels[T any](orders []order[T], l *link[T]) bool {
	return slices.ContainsFunc(orders, func(m order[T]) bool { return m.kind == orderCancel && m.link == l })
}

// step does one order, and reports false if there is none. What the producer is to be asked is in o.demands afterwards.
func (o *outlet[T]) step() bool {
	if len(o.work) == 0 && !o.collect() {
		return false
	}
	m := o.work[0]
	o.work = o.work[1:]
	if o.paused && (m.kind == orderAsk || m.kind == orderEmit) {
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
		if o.links[m.link.id] == m.link {
			o.left = true
			o.unsubscribe(m.link, m.err)
			o.balance()
		}
	case orderEmit:
		if m.emission.claim() {
			m.emission.reply <- o.emit(m.emission.events, true)
		}
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

// doReasks does what the dispatcher asked for on behalf of consumers. GenStage sends these asks to itself.
func (o *outlet[T]) doReasks() {
	for len(o.reasks) > 0 {
		m := o.reasks[0]
		o.reasks = o.reasks[1:]
		o.do(m)
	}
}

func (o *outlet[T]) subscribe(l *link[T]) {
	o.lastID++
	l.id = o.lastID
	if err := o.dispatcher.Subscribe(l.id, l.sub.options); err != nil {
		l.sub.to.post(notice[T]{kind: noticeCancelled, link: l, err: err})
		return
	}
	o.links[l.id] = l
	l.sub.to.post(notice[T]{kind: noticeAccepted, link: l})
	if o.config.OnSubscribe != nil {
		o.config.OnSubscribe()
	}
}

func (o *outlet[T]) unsubscribe(l *link[T], reason error) {
	o.dispatcher.Cancel(l.id)
	delete(o.links, l.id)
	l.sub.to.post(notice[T]{kind: noticeCancelled, link: l, err: reason})
	if o.config.OnCancel != nil {
		o.config.OnCancel(reason)
	}
}

// balance restores what holds between any two orders: buffered events have gone where there is demand, and the producer
// has been asked for as many events as are waited for.
//
// GenStage leaves the second half to its dispatchers, and takes out of the buffer no more than they ask for. So demand that
// was asked for on behalf of a consumer that has left hides the buffer, newer events overtake what is in it, and an event
// that is dropped leaves its consumer waiting. Here what the producer owes is counted where events come in.
func (o *outlet[T]) balance() {
	o.flush()
	if n := o.dispatcher.Waiting() - o.owed; n > 0 {
		o.owed += n
		o.demands = append(o.demands, n)
	}
}

// flush dispatches buffered events as far as there is demand.
func (o *outlet[T]) flush() {
	if o.buffer.size == 0 {
		return
	}
	for {
		events := o.buffer.front(o.dispatcher.Waiting())
		taken := 0
		if len(events) > 0 {
			taken = o.dispatcher.Dispatch(events, o.outbox())
		}
		o.buffer.drop(taken)
		if taken == 0 {
			break
		}
	}
	o.buffered.Store(int64(o.buffer.size))
}

// emit dispatches events and buffers what has no demand. A refusable surplus is left to the caller if there is no buffer.
func (o *outlet[T]) emit(events []T, refusable bool) (err error) {
	o.owed = max(o.owed-len(events), 0)
	taken := o.dispatcher.Dispatch(events, o.outbox())
	switch surplus := events[taken:]; {
	case len(surplus) == 0:
	case refusable && o.config.Buffer == Unbuffered:
		err = &SurplusError{Events: len(surplus)}
	default:
		o.store(surplus)
	}
	o.balance() // Not every event taken has met demand.
	return err
}

// giveBack takes demand back that the producer cannot serve, first what nobody waits for any more.
func (o *outlet[T]) giveBack(n int) {
	o.owed = max(o.owed-n, 0)
	if short := o.dispatcher.Waiting() - o.owed; short > 0 {
		o.dispatcher.Return(short, o.outbox())
	}
}

// backlog returns how many events wait for demand.
func (o *outlet[T]) backlog() int {
	if h, ok := o.dispatcher.(Holder[T]); ok {
		return o.buffer.size + h.Held()
	}
	return o.buffer.size
}

// release puts what the dispatcher holds back into the buffer, ahead of what has not been dispatched yet.
func (o *outlet[T]) release() {
	h, ok := o.dispatcher.(Holder[T])
	if !ok || h.Held() == 0 {
		return
	}
	newer := o.buffer.all()
	o.buffer.drop(len(newer))
	o.store(slices.Concat(h.Release(), newer))
}

func (o *outlet[T]) store(events []T) {
	n := o.buffer.store(events)
	o.buffered.Store(int64(o.buffer.size))
	if n > 0 && o.config.OnDiscard != nil {
		o.config.OnDiscard(n)
	}
}

// demanded takes the next number of events to ask of the producer.
func (o *outlet[T]) demanded() int {
	n := o.demands[0]
	o.demands = slices.Delete(o.demands, 0, 1)
	return n
}

// outbox is an outlet as its dispatcher sees it.
type outbox[T any] outlet[T]

func (o *outlet[T]) outbox() Outbox[T] { return (*outbox[T])(o) }

func (o *outbox[T]) Deliver(c ConsumerID, events []T) {
	if l := o.links[c]; l != nil && len(events) > 0 {
		l.sub.to.deliver(l, events)
	}
}

func (o *outbox[T]) Reask(c ConsumerID, n int) {
	if l := o.links[c]; l != nil {
		o.reasks = append(o.reasks, order[T]{kind: orderAsk, link: l, n: n})
	}
}

func (o *outbox[T]) Return(c ConsumerID, n int) {
	if l := o.links[c]; l != nil {
		l.sub.to.post(notice[T]{kind: noticeReturned, link: l, n: n})
	}
}
