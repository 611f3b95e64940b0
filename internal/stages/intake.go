package stages

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/millhand/millhand/internal/supervisor"
)

// Hooks tell a consuming stage about its subscriptions. They are called from the goroutine of Run,
// between batches; any may be nil, and all may call the methods of a Subscription.
type Hooks[T any] struct {
	OnSubscribe func(*Subscription[T])        // the producer accepted: it may be asked now
	OnCancel    func(*Subscription[T], error) // the subscription ended for this reason, before the cancel mode is applied
	OnReturn    func(*Subscription[T], int)   // this many events of a manual subscription's demand will not come
}

// intake is the consuming side of a stage: its subscriptions, and what has been delivered and not
// handled yet. Events stay in it when Run fails, and the next Run handles them first: what was
// delivered is never lost.
type intake[T any] struct {
	waker waker
	hooks Hooks[T]

	// Of the goroutine of Run.
	subs    []*Subscription[T] // all that are to be open while the stage runs
	ready   []notice[T]        // deliveries and ends of subscriptions, in the order they came
	next    int                // index of the first of ready that has not been dealt with
	reading []notice[T]        // the mail taken last; its memory is used again
	events  []T                // the events of ready's deliveries
	used    int                // how many of events have been handled
	ending  bool               // no new events are wanted; reason says why
	reason  error

	mu         sync.Mutex
	mail       []notice[T] // bound: an entry at least an event, and the calls of Subscription's methods
	mailEvents []T         // the events of mail's deliveries; bound: the demand of all subscriptions
}

func newIntake[T any](w waker, h Hooks[T]) *intake[T] {
	return &intake[T]{waker: w, hooks: h}
}

// Subscribe asks src for events on the given terms, before or while the stage runs. A producer that
// has not run yet is waited for; one that has stopped ends the subscription with ErrNotRunning,
// unless Resubscribe is set. The error wraps ErrInvalidOption.
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
	in.waker.wake()
}

// deliver copies events into the mail. It is called by producers.
func (in *intake[T]) deliver(l *link[T], events []T) {
	in.mu.Lock()
	in.mail = append(in.mail, notice[T]{kind: noticeEvents, link: l, n: len(events)})
	in.mailEvents = append(in.mailEvents, events...)
	in.mu.Unlock()
	in.waker.wake()
}

// open begins a Run. What the last one asked for at its end is void, as all its demand is.
func (in *intake[T]) open() {
	in.ending, in.reason = false, nil
	in.mu.Lock()
	in.mail = slices.DeleteFunc(in.mail, func(n notice[T]) bool { return n.kind == noticeAsk })
	in.mu.Unlock()
	for _, s := range in.subs {
		in.attach(s)
	}
}

// close ends a Run, also one that panicked, without waiting for anybody. Producers that have not
// heard of it may deliver until they do; those events wait for the next Run.
func (in *intake[T]) close(reason error) {
	for _, s := range in.subs {
		if s.link != nil {
			s.from.post(request[T]{kind: requestCancel, link: s.link, err: reason})
			s.link = nil
		}
	}
}

// end makes the stage take no further events. What was delivered, or is until the producers have
// confirmed, is still handled; finished tells when that is done.
func (in *intake[T]) end(reason error) {
	if in.ending {
		return
	}
	in.ending, in.reason = true, reason
	for _, s := range slices.Clone(in.subs) {
		in.detach(s, reason)
	}
}

// finished reports whether the stage has begun to end, all producers have confirmed, and nothing is
// left to handle: also not in the mail, where a producer that has stopped meanwhile may have left
// its last delivery.
func (in *intake[T]) finished() bool {
	if !in.ending || in.next < len(in.ready) || slices.ContainsFunc(in.subs, (*Subscription[T]).attached) {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mailEvents) == 0
}

func (s *Subscription[T]) attached() bool { return s.link != nil }

// attach opens a subscription. One to a producer that has stopped ends at once.
func (in *intake[T]) attach(s *Subscription[T]) {
	s.link = &link[T]{sub: s, account: s.account}
	s.asked = 0
	if !s.from.post(request[T]{kind: requestSubscribe, link: s.link}) {
		in.ready = append(in.ready, notice[T]{kind: noticeCancelled, link: s.link, err: ErrNotRunning})
	}
}

// detach asks the producer to end a subscription; its answer, or what stands in for it if it does
// not run, is noticeCancelled.
func (in *intake[T]) detach(s *Subscription[T], reason error) {
	if s.link == nil || s.link.closing {
		return
	}
	s.link.closing = true
	if !s.from.post(request[T]{kind: requestCancel, link: s.link, err: reason}) {
		in.ready = append(in.ready, notice[T]{kind: noticeCancelled, link: s.link, err: reason})
	}
}

func (in *intake[T]) accepted(l *link[T]) {
	s := l.sub
	if s.link != l {
		s.from.post(request[T]{kind: requestCancel, link: l, err: supervisor.ErrShutdown}) // of a Run that has ended
		return
	}
	if l.closing {
		return
	}
	l.open = true
	s.resolve(nil)
	if in.hooks.OnSubscribe != nil {
		in.hooks.OnSubscribe(s)
	}
	s.finished = 0
	if n := l.account.open(s.running); n > 0 && !s.options.Manual {
		s.from.post(request[T]{kind: requestAsk, link: l, n: n})
	}
}

func (in *intake[T]) ask(s *Subscription[T], n int) {
	s.asked += n
	switch {
	case s.link == nil || !s.link.open:
		in.giveBack(s, n)
	case s.link.closing: // all that was asked for comes back together, when OnCancel has said why
	default:
		s.from.post(request[T]{kind: requestAsk, link: s.link, n: n})
	}
}

// returned deals with demand that the producer could not serve. A subscription that asks by itself
// keeps its demand up.
func (in *intake[T]) returned(l *link[T], n int) {
	switch {
	case l.sub.link != l:
	case l.sub.options.Manual:
		in.giveBack(l.sub, n)
	case !l.closing:
		l.sub.from.post(request[T]{kind: requestAsk, link: l, n: n})
	}
}

func (in *intake[T]) giveBack(s *Subscription[T], n int) {
	s.asked -= n
	if in.hooks.OnReturn != nil {
		in.hooks.OnReturn(s, n)
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
	duplicate := errors.Is(reason, ErrAlreadySubscribed) // GenStage lets this reason pass: the first subscription lives
	if !duplicate && (s.options.Cancel == Permanent || s.options.Cancel == Transient && !Clean(reason)) {
		in.end(reason)
	}
	switch {
	case s.cancelled || duplicate:
		in.forget(s)
	case s.options.Resubscribe && !in.ending:
		in.attach(s)
		return
	}
	s.resolve(cmp.Or(reason, supervisor.ErrShutdown))
}

func (in *intake[T]) forget(s *Subscription[T]) {
	in.subs = slices.DeleteFunc(in.subs, func(known *Subscription[T]) bool { return known == s })
}
