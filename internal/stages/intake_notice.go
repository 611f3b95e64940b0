package stages

import (
	"cmp"
	"context"
	"slices"

	"github.com/millhand/millhand/internal/supervisor"
)

// notice is a message to a consuming stage.
type notice[T any] struct {
	kind  noticeKind
	n     int
	link  *link[T]         // from a producer
	sub   *Subscription[T] // from a Subscription's method
	child *child[T]
	err   error
}

type noticeKind uint8

const (
	noticeEvents    noticeKind = iota // n events were delivered.
	noticeCancelled                   // the link ended for reason err: its last notice
	noticeAccepted                    // the producer took the link
	noticeReturned                    // n events of the link's demand will not come.
	noticeSubscribe                   // open sub
	noticeAsk                         // ask n events of sub
	noticeCancel                      // end sub for reason err
	noticeEnded                       // the child ended with err
)

// takeMail takes the mail: messages about subscriptions are acted on at once, deliveries and
// cancellations queue up in order.
func (in *intake[T]) takeMail(ctx context.Context) {
	if !in.ending && ctx.Err() != nil {
		in.end(stopped(ctx))
	}
	in.compact()
	clear(in.reading)
	in.mu.Lock()
	in.reading, in.mail = in.mail, in.reading[:0]
	if len(in.events) == 0 {
		in.events, in.mailEvents = in.mailEvents, in.events
	} else {
		in.events = append(in.events, in.mailEvents...)
		clear(in.mailEvents)
		in.mailEvents = in.mailEvents[:0]
	}
	in.mu.Unlock()
	for _, n := range in.reading {
		in.act(n)
	}
}

// compact drops what has been handled, so that its memory can be used again and its events are not
// kept alive. It moves the rest only if that is the smaller part.
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
			n.sub.resolve(cmp.Or(n.err, supervisor.ErrShutdown))
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
