package stages

import "context"

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
	if n.link.sub.options.Manual {
		b.events = in.whole()
		return b
	}
	var size int
	size, b.ask = n.link.account.receive(n.n)
	b.events = in.events[in.used : in.used+size]
	in.used += size
	n.n -= size
	if b.last = n.n == 0; b.last {
		in.next++
	}
	return b
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

// settle sends the ask that became due with a batch, after its handler returned. A stage that was told to stop asks for
// nothing more.
func (in *intake[T]) settle(ctx context.Context, b batch[T]) {
	if b.ask > 0 && b.link.sub.link == b.link && !b.link.closing && ctx.Err() == nil {
		b.link.sub.from.post(order[T]{kind: orderAsk, link: b.link, n: b.ask})
	}
}
