package stages

import (
	"context"
	"slices"
	"sync"
)

// Hooks tell a consuming stage about its subscriptions. They are called from the goroutine of Run, between batches; any
// may be nil, and all may call the methods of a Subscription.
type Hooks[T any] struct {
	OnSubscribe func(*Subscription[T])        // The producer accepted: it may be asked now.
	OnCancel    func(*Subscription[T], error) // The subscription ended for this reason, before the cancel mode is applied.
	OnReturn    func(*Subscription[T], int)   // So many events of a manual subscription's demand will not come.
}

// intake is the consuming side of a stage: its subscriptions, and what has been delivered and not handled yet. Events stay
// in it when Run fails, and the next Run handles them first: what was delivered is never lost.
type intake[T any] struct {
	bell  bell
	hooks Hooks[T]

	// Of the goroutine of Run.
	subs   []*Subscription[T] // All that are to be open while the stage runs.
	ready  []notice[T]        // Deliveries and ends of subscriptions, in the order they came.
	next   int                // Index of the first of ready that has not been dealt with.
	desk   []notice[T]        // The mail taken last.
	events []T                // The events of ready's deliveries.
	used   int                // How many of events have been handled.
	ending bool               // No new events are wanted; reason says why.
	reason error

	mu   sync.Mutex
	mail []notice[T] // Bound: an entry at least an event, and the calls of Subscription's methods.
	slab []T         // The events of mail's deliveries. Bound: the demand of all subscriptions.
}

// notice is a message to a consuming stage.
type notice[T any] struct {
	kind  noticeKind
	n     int
	link  *link[T]         // From a producer.
	sub   *Subscription[T] // From a Subscription's method.
	child *child[T]
	err   error
}

type noticeKind uint8

const (
	noticeEvents    noticeKind = iota // n events were delivered.
	noticeCancelled                   // The link ended for reason err: its last notice.
	noticeAccepted                    // The producer took the link.
	noticeReturned                    // n events of the link's demand will not come.
	noticeSubscribe                   // Open sub.
	noticeAsk                         // Ask n events of sub.
	noticeCancel                      // End sub for reason err.
	noticeEnded                       // The child ended with err.
)

func newIntake[T any](b bell, h Hooks[T]) *intake[T] {
	return &intake[T]{bell: b, hooks: h}
}

// Subscribe asks src for events on the given terms, before or while the stage runs. A producer that has not run yet is
// waited for; one that has stopped ends the subscription with ErrNotRunning, unless Resubscribe is set. The error wraps
// ErrInvalidOption.
func (in *intake[T]) Subscribe(src Source[T], o SubscribeOptions[T]) (*Subscription[T], error) {
	s, err := newSubscription(src.source(), in, o)
	if err != nil {
		return nil, err
	}
	in.post(notice[T]{kind: noticeSubscribe, sub: s})
	return s, nil
}

func (in *intake[T]) post(n notice[T]) {
	in.mu.Lock()
	in.mail = append(in.mail, n)
	in.mu.Unlock()
	in.bell.ring()
}

// deliver copies events into the mail. It is called by producers.
func (in *intake[T]) deliver(l *link[T], events []T) {
	in.mu.Lock()
	in.mail = append(in.mail, notice[T]{kind: noticeEvents, link: l, n: len(events)})
	in.slab = append(in.slab, events...)
	in.mu.Unlock()
	in.bell.ring()
}

// open begins a Run.
func (in *intake[T]) open() {
	in.ending, in.reason = false, nil
	for _, s := range in.subs {
		in.attach(s)
	}
}

// close ends a Run, also one that panicked, without waiting for anybody. Producers that have not heard of it may deliver
// until they do; those events wait for the next Run.
func (in *intake[T]) close(reason error) {
	for _, s := range in.subs {
		if s.link != nil {
			s.from.post(order[T]{kind: orderCancel, link: s.link, err: reason})
			s.link = nil
		}
	}
}

// end makes the stage take no further events. What was delivered, or is until the producers have confirmed, is still
// handled; finished tells when that is done.
func (in *intake[T]) end(reason error) {
	if in.ending {
		return
	}
	in.ending, in.reason = true, reason
	for _, s := range slices.Clone(in.subs) {
		in.detach(s, reason)
	}
}

// finished reports whether the stage has begun to end, all producers have confirmed, and nothing is left to handle.
func (in *intake[T]) finished() bool {
	return in.ending && in.next == len(in.ready) && !slices.ContainsFunc(in.subs, (*Subscription[T]).attached)
}

func (s *Subscription[T]) attached() bool { return s.link != nil }

// absorb takes the mail: messages about subscriptions are acted on at once, deliveries and cancellations queue up in order.
func (in *intake[T]) absorb(ctx context.Context) {
	if !in.ending && ctx.Err() != nil {
		in.end(ErrShutdown)
	}
	in.compact()
	clear(in.desk)
	in.mu.Lock()
	in.desk, in.mail = in.mail, in.desk[:0]
	if len(in.events) == 0 {
		in.events, in.slab = in.slab, in.events
	} else {
		in.events = append(in.events, in.slab...)
		clear(in.slab)
		in.slab = in.slab[:0]
	}
	in.mu.Unlock()
	for _, n := range in.desk {
		in.act(n)
	}
}

// compact drops what has been handled, so that its memory can be used again and its events are not kept alive. It moves
// the rest only if that is the smaller part.
func (in *intake[T]) compact() {
	if 2*in.next >= len(in.ready) {
		in.ready = slices.Delete(in.ready, 0, in.next)
		in.next = 0
	}
	if 2*in.used >= len(in.events) {
		in.events = slices.Delete(in.events, 0, in.used)
		in.used = 0
	}
}

func (in *intake[T]) act(n notice[T]) {
	switch n.kind {
	case noticeEvents, noticeCancelled, noticeEnded:
		in.ready = append(in.ready, n)
	case noticeSubscribe:
		in.subs = append(in.subs, n.sub)
		if !in.ending {
			in.attach(n.sub)
		}
	case noticeCancel:
		n.sub.cancelled = true
		if n.sub.link == nil {
			in.forget(n.sub)
		}
		in.detach(n.sub, n.err)
	case noticeAsk:
		in.ask(n.sub, n.n)
	case noticeAccepted:
		in.accepted(n.link)
	case noticeReturned:
		in.returned(n.link, n.n)
	}
}

// attach opens a subscription. One to a producer that has stopped ends at once.
func (in *intake[T]) attach(s *Subscription[T]) {
	s.link, s.asked = &link[T]{sub: s}, 0
	if !s.from.post(order[T]{kind: orderSubscribe, link: s.link}) {
		in.ready = append(in.ready, notice[T]{kind: noticeCancelled, link: s.link, err: ErrNotRunning})
	}
}

// detach asks the producer to end a subscription; its answer, or what stands in for it if it does not run, is noticeCancelled.
func (in *intake[T]) detach(s *Subscription[T], reason error) {
	if s.link == nil || s.link.closing {
		return
	}
	s.link.closing = true
	if !s.from.post(order[T]{kind: orderCancel, link: s.link, err: reason}) {
		in.ready = append(in.ready, notice[T]{kind: noticeCancelled, link: s.link, err: reason})
	}
}

func (in *intake[T]) ask(s *Subscription[T], n int) {
	s.asked += n
	if s.link == nil || !s.link.open || s.link.closing {
		in.giveBack(s, n)
		return
	}
	s.from.post(order[T]{kind: orderAsk, link: s.link, n: n})
}

func (in *intake[T]) accepted(l *link[T]) {
	s := l.sub
	if s.link != l {
		s.from.post(order[T]{kind: orderCancel, link: l, err: ErrShutdown}) // Of a Run that has ended.
		return
	}
	if l.closing {
		return
	}
	l.open = true
	if in.hooks.OnSubscribe != nil {
		in.hooks.OnSubscribe(s)
	}
	s.finished = 0
	if n := s.account.open(s.running); n > 0 && !s.options.Manual {
		s.from.post(order[T]{kind: orderAsk, link: l, n: n})
	}
}

// returned deals with demand that the producer could not serve. A subscription that asks by itself keeps its demand up.
func (in *intake[T]) returned(l *link[T], n int) {
	switch {
	case l.sub.link != l:
	case l.sub.options.Manual:
		in.giveBack(l.sub, n)
	case !l.closing:
		l.sub.from.post(order[T]{kind: orderAsk, link: l, n: n})
	}
}

func (in *intake[T]) giveBack(s *Subscription[T], n int) {
	s.asked -= n
	if in.hooks.OnReturn != nil {
		in.hooks.OnReturn(s, n)
	}
}

// head returns the next delivery or ended child, after dealing with the cancellations before it.
func (in *intake[T]) head() (notice[T], bool) {
	for in.next < len(in.ready) {
		n := in.ready[in.next]
		if n.kind != noticeCancelled {
			return n, true
		}
		in.next++
		in.cancelled(n.link, n.err)
	}
	return notice[T]{}, false
}

// whole takes all that is left of the delivery at the head.
func (in *intake[T]) whole() []T {
	n := in.ready[in.next]
	in.next++
	events := in.events[in.used : in.used+n.n]
	in.used += n.n
	if s := n.link.sub; s.link == n.link && s.options.Manual {
		s.asked -= n.n
	}
	return events
}

// batch is what a handler gets in one call.
type batch[T any] struct {
	events []T
	link   *link[T]
	ask    int  // What to ask for when it has been handled.
	last   bool // Of its delivery.
}

// batch takes the next batch out of the delivery at the head.
func (in *intake[T]) batch() batch[T] {
	n := &in.ready[in.next]
	b := batch[T]{link: n.link, last: true}
	if s := n.link.sub; s.options.Manual {
		b.events = in.whole()
		return b
	}
	var size int
	size, b.ask = n.link.sub.account.receive(n.n)
	b.events = in.events[in.used : in.used+size]
	in.used += size
	n.n -= size
	if b.last = n.n == 0; b.last {
		in.next++
	}
	return b
}

// settle sends the ask that became due with a batch, after its handler returned.
func (in *intake[T]) settle(b batch[T]) {
	if b.ask > 0 && b.link.sub.link == b.link && !b.link.closing {
		b.link.sub.from.post(order[T]{kind: orderAsk, link: b.link, n: b.ask})
	}
}

// cancelled applies the cancel mode. GenStage: consumer_cancel.
func (in *intake[T]) cancelled(l *link[T], reason error) {
	s := l.sub
	if s.link != l {
		return
	}
	s.link = nil
	if in.hooks.OnCancel != nil {
		in.hooks.OnCancel(s, reason)
	}
	if s.options.Manual && s.asked > 0 {
		in.giveBack(s, s.asked)
	}
	if s.options.Cancel == Permanent || s.options.Cancel == Transient && !Clean(reason) {
		in.end(reason)
	}
	switch {
	case s.cancelled:
		in.forget(s)
	case s.options.Resubscribe && !in.ending:
		in.attach(s)
	}
}

func (in *intake[T]) forget(s *Subscription[T]) {
	in.subs = slices.DeleteFunc(in.subs, func(known *Subscription[T]) bool { return known == s })
}
