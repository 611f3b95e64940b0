package stages

import "context"

// batch is what a handler gets in one call.
type batch[T any] struct {
	events []T
	link   *link[T]
	ask    int  // what to ask for when it has been handled
	last   bool // of its delivery
}

// batch takes the next batch out of the delivery at the head.
func (in *intake[T]) batch() batch[T] {
	head := in.ready[in.next]
	b := batch[T]{link: head.link, last: true}
	if head.link.sub.options.Manual {
		b.events = in.whole()
		return b
	}
	var size int
	size, b.ask = head.link.account.receive(head.n)
	b.events, b.last = in.take(size), size == head.n
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
	return in.take(in.ready[in.next].n)
}

// one takes the next event of the delivery at the head.
func (in *intake[T]) one() T {
	return in.take(1)[0]
}

// take takes n events of the delivery at the head, which it ends with the last one.
func (in *intake[T]) take(n int) []T {
	head := &in.ready[in.next]
	if head.n -= n; head.n == 0 {
		in.next++
	}
	if s := head.link.sub; s.link == head.link && s.options.Manual {
		s.asked -= n
	}
	in.used += n
	return in.events[in.used-n : in.used]
}

// askAgain sends the ask that became due with a batch, after its handler returned. A stage that was
// told to stop asks for nothing more.
func (in *intake[T]) askAgain(ctx context.Context, b batch[T]) {
	if b.ask > 0 && b.link.sub.link == b.link && !b.link.closing && ctx.Err() == nil {
		b.link.sub.from.post(request[T]{kind: requestAsk, link: b.link, n: b.ask})
	}
}
