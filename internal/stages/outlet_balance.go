package stages

import (
	"log/slog"
	"slices"
)

// balance restores what holds between any two requests: the buffer is empty or nothing can be
// dispatched, and the producer owes, or has been asked for, as many events as are waited for.
//
// GenStage leaves the second half to its dispatchers, and takes out of the buffer no more than they
// ask for. So demand that was asked for on behalf of a consumer that has left hides the buffer,
// newer events overtake what is in it, and an event that is dropped leaves its consumer waiting.
// Here what the producer owes is counted where events come in.
func (o *outlet[T]) balance() {
	o.flush()
	if n := o.dispatcher.Waiting() - o.outstanding; n > 0 {
		o.outstanding += n
		o.demands = append(o.demands, n)
	}
}

// flush dispatches buffered events as far as there is demand.
func (o *outlet[T]) flush() {
	if o.buffer.size == 0 {
		return
	}
	for taken := 1; taken > 0; {
		events := o.buffer.front(o.untilMarker(o.dispatcher.Waiting()))
		taken = 0
		if len(events) > 0 {
			taken = o.dispatcher.Dispatch(events, o.outbox())
		}
		o.buffer.drop(taken)
		o.callMarkers()
	}
	o.buffered.Store(int64(o.buffer.size))
}

// emit dispatches events and buffers what has no demand. A refusable surplus is left to the caller
// if there is no buffer.
func (o *outlet[T]) emit(events []T, refusable bool) (err error) {
	o.outstanding = max(o.outstanding-len(events), 0)
	taken := o.dispatcher.Dispatch(events, o.outbox())
	switch surplus := events[taken:]; {
	case len(surplus) == 0:
	case refusable && o.buffer.limit == 0:
		err = &SurplusError{Events: len(surplus)}
	default:
		o.store(surplus)
	}
	o.balance() // not every event taken has met demand
	return err
}

func (o *outlet[T]) store(events []T) {
	n := o.buffer.store(events)
	o.buffered.Store(int64(o.buffer.size))
	if n > 0 && (o.config.OnDiscard == nil || o.config.OnDiscard(n)) {
		o.config.Log.Warn("events discarded: the buffer is full", slog.Int("count", n), slog.Int("buffer", o.buffer.limit))
	}
	o.callMarkers() // those that waited for what was discarded
}

// giveBack takes demand back that the producer cannot serve, first what nobody waits for any more.
func (o *outlet[T]) giveBack(n int) {
	o.outstanding = max(o.outstanding-n, 0)
	if short := o.dispatcher.Waiting() - o.outstanding; short > 0 {
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
		o.reasks = append(o.reasks, request[T]{kind: requestAsk, link: l, n: n})
	}
}

func (o *outbox[T]) Drop(c ConsumerID, reason error) {
	if l := o.links[c]; l != nil {
		o.config.Log.Error("subscription ended by the producer", slog.Any("err", reason))
		o.reasks = append(o.reasks, request[T]{kind: requestCancel, link: l, err: reason})
	}
}

func (o *outbox[T]) Return(c ConsumerID, n int) {
	if l := o.links[c]; l != nil {
		l.sub.to.post(notice[T]{kind: noticeReturned, link: l, n: n})
	}
}
