package stages

import (
	"errors"
	"slices"
)

// ErrAlreadySubscribed ends a second subscription of one stage to a producer that broadcasts, and
// nothing else: whatever its cancel mode, the stage lives on with the first.
var ErrAlreadySubscribed = errors.New("stages: already subscribed")

// BroadcastDispatcher gives every event to every consumer, in the same order, at the pace of the
// slowest. A consumer that subscribes later gets what is dispatched from then on, and holds the
// others up until it asks. One that has a Selector gets what it selects; the rest counts as
// received. One whose Selector panics loses its subscription, and nobody else's.
type BroadcastDispatcher[T any] struct {
	consumers []broadcastConsumer[T]
	waiting   int // events that all consumers want: what can be dispatched now
	selected  []T
}

type broadcastConsumer[T any] struct {
	id       ConsumerID
	stage    any
	selector func(T) bool
	surplus  int // demand beyond waiting; invariant: the smallest surplus is 0
}

// Subscribe gives what could be dispatched back to the consumers' own demand: nothing flows until
// the newcomer asks.
func (d *BroadcastDispatcher[T]) Subscribe(c ConsumerID, o SubscribeOptions[T]) error {
	for i := range d.consumers {
		if o.stage != nil && d.consumers[i].stage == o.stage {
			return ErrAlreadySubscribed
		}
	}
	for i := range d.consumers {
		d.consumers[i].surplus += d.waiting
	}
	d.waiting = 0
	d.consumers = append(d.consumers, broadcastConsumer[T]{id: c, stage: o.stage, selector: o.Selector})
	return nil
}

// Cancel lets the others go on if they were waiting for this consumer.
func (d *BroadcastDispatcher[T]) Cancel(c ConsumerID) {
	d.consumers = slices.DeleteFunc(d.consumers, func(known broadcastConsumer[T]) bool { return known.id == c })
	if len(d.consumers) == 0 {
		d.waiting = 0
		return
	}
	d.raise()
}

// Ask counts for all as far as this consumer was the one the others were waiting for.
func (d *BroadcastDispatcher[T]) Ask(c ConsumerID, n int, _ Outbox[T]) {
	for i := range d.consumers {
		if d.consumers[i].id == c {
			d.consumers[i].surplus += n
		}
	}
	d.raise()
}

// raise makes the demand that all consumers share available.
func (d *BroadcastDispatcher[T]) raise() {
	shared := d.consumers[0].surplus
	for _, c := range d.consumers {
		shared = min(shared, c.surplus)
	}
	for i := range d.consumers {
		d.consumers[i].surplus -= shared
	}
	d.waiting += shared
}

// Dispatch delivers to every consumer what it selects.
func (d *BroadcastDispatcher[T]) Dispatch(events []T, out Outbox[T]) int {
	taken := min(d.waiting, len(events))
	d.waiting -= taken
	if taken == 0 {
		return 0
	}
	for _, c := range d.consumers {
		if c.selector == nil {
			out.Deliver(c.id, events[:taken])
			continue
		}
		if err := d.choose(c.selector, events[:taken]); err != nil {
			out.Drop(c.id, err)
		}
		out.Deliver(c.id, d.selected)
		if rejected := taken - len(d.selected); rejected > 0 {
			out.Reask(c.id, rejected)
		}
		clear(d.selected)
	}
	return taken
}

// choose makes selected what a consumer selects of events. A selector that panics has selected what
// came before.
func (d *BroadcastDispatcher[T]) choose(selector func(T) bool, events []T) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = crash(v)
		}
	}()
	d.selected = d.selected[:0]
	for _, event := range events {
		if selector(event) {
			d.selected = append(d.selected, event)
		}
	}
	return nil
}

// Return takes from everyone alike.
func (d *BroadcastDispatcher[T]) Return(n int, out Outbox[T]) {
	n = min(n, d.waiting)
	d.waiting -= n
	for _, c := range d.consumers {
		out.Return(c.id, n)
	}
}

// Waiting returns how many events all consumers want.
func (d *BroadcastDispatcher[T]) Waiting() int { return d.waiting }
