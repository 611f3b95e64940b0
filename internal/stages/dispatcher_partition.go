package stages

import (
	"errors"
	"fmt"
)

var (
	// ErrPartitionTaken ends a subscription to a partition that has a consumer already.
	ErrPartitionTaken = errors.New("stages: partition is taken")

	// ErrNoPartition ends a subscription to a partition that does not exist.
	ErrNoPartition = errors.New("stages: no such partition")
)

// PartitionConfig describes a PartitionDispatcher.
type PartitionConfig[T any] struct {
	Partitions int // >= 1; they are numbered from 0.

	// Hash returns an event as it is to be delivered, and its partition; or false, to drop it. It
	// is called once an event, by the producer, when there is demand.
	Hash func(T) (event T, partition int, ok bool)

	// OnStray is called with an event whose Hash is not a partition, and which is dropped.
	OnStray func(event T, partition int)

	// OnOrphans gets the events that wait for a partition's consumer when it leaves, and as many
	// are asked for again. Nil means that they wait for the partition's next consumer.
	OnOrphans func(partition int, events []T)
}

// PartitionDispatcher gives each event to the consumer of its partition, in order. A partition has
// one consumer, chosen with SubscribeOptions.Partition; what comes for a partition without demand
// is queued for it. Demand is common, so a partition that stands still makes the others wait once
// its queue has used it up; it also bounds all queues together.
type PartitionDispatcher[T any] struct {
	config     PartitionConfig[T]
	partitions []partition[T]
	waiting    int // events that Dispatch will take: what was asked for, also by consumers that have left
	pending    int // the part of waiting that was asked for by consumers that have left
	held       int // events in all queues
}

type partition[T any] struct {
	consumer ConsumerID // 0: none.
	demand   int        // invariant: 0 if the queue is not empty
	queue    buffer[T]
	batch    []T // what the present call of Dispatch has for it
}

// NewPartitionDispatcher returns a dispatcher, or an error that wraps ErrInvalidOption.
func NewPartitionDispatcher[T any](c PartitionConfig[T]) (*PartitionDispatcher[T], error) {
	switch {
	case c.Partitions < 1:
		return nil, invalid("a partition dispatcher needs the number of partitions")
	case c.Hash == nil:
		return nil, invalid("a partition dispatcher needs a hash")
	}
	d := &PartitionDispatcher[T]{config: c, partitions: make([]partition[T], c.Partitions)}
	for i := range d.partitions {
		d.partitions[i].queue.limit = Unlimited
	}
	return d, nil
}

// Subscribe refuses with ErrPartitionTaken or ErrNoPartition.
func (d *PartitionDispatcher[T]) Subscribe(c ConsumerID, o SubscribeOptions[T]) error {
	if o.Partition < 0 || o.Partition >= len(d.partitions) {
		return fmt.Errorf("%w: %d of %d", ErrNoPartition, o.Partition, len(d.partitions))
	}
	p := &d.partitions[o.Partition]
	if p.consumer != 0 {
		return fmt.Errorf("%w: %d", ErrPartitionTaken, o.Partition)
	}
	p.consumer = c
	return nil
}

// Cancel keeps queued events for the next consumer of the partition, and room for as many as were
// asked for. GenStage drops the queue.
func (d *PartitionDispatcher[T]) Cancel(c ConsumerID) {
	i := d.find(c)
	if i < 0 {
		return
	}
	p := &d.partitions[i]
	d.pending += p.demand
	p.consumer, p.demand = 0, 0
	if d.config.OnOrphans == nil || p.queue.size == 0 {
		return
	}
	orphans := p.queue.all()
	p.queue.drop(len(orphans))
	d.held -= len(orphans)
	d.waiting += len(orphans)
	d.config.OnOrphans(i, orphans)
}

// Ask serves the partition's queue first. Those events have used up common demand, so all of n is
// asked for again.
func (d *PartitionDispatcher[T]) Ask(c ConsumerID, n int, out Outbox[T]) {
	i := d.find(c)
	if i < 0 {
		return
	}
	p := &d.partitions[i]
	p.demand += n
	if queued := min(p.queue.size, p.demand); queued > 0 {
		events := p.queue.all()[:queued]
		p.queue.drop(queued)
		p.demand -= queued
		d.held -= queued
		out.Deliver(c, events)
	}
	known := min(d.pending, n)
	d.pending -= known
	d.waiting += n - known
}

// Dispatch hands each partition what is for it, as one delivery.
func (d *PartitionDispatcher[T]) Dispatch(events []T, out Outbox[T]) int {
	taken := 0
	for taken < len(events) && d.waiting > 0 {
		event, i, ok := d.config.Hash(events[taken])
		taken++
		switch {
		case !ok:
		case i >= 0 && i < len(d.partitions):
			d.waiting--
			d.partitions[i].batch = append(d.partitions[i].batch, event)
		case d.config.OnStray != nil:
			d.config.OnStray(event, i)
		}
	}
	for i := range d.partitions {
		d.send(&d.partitions[i], out)
	}
	return taken
}

// send delivers what a partition got as far as it has demand, and queues the rest.
func (d *PartitionDispatcher[T]) send(p *partition[T], out Outbox[T]) {
	n := min(len(p.batch), p.demand)
	if n > 0 {
		out.Deliver(p.consumer, p.batch[:n])
		p.demand -= n
	}
	p.queue.store(p.batch[n:])
	d.held += len(p.batch) - n
	clear(p.batch)
	p.batch = p.batch[:0]
}

// Return takes from the partitions with the most demand, after what was asked for consumers that
// have left.
func (d *PartitionDispatcher[T]) Return(n int, out Outbox[T]) {
	d.waiting -= n
	orphaned := min(n, d.pending)
	d.pending -= orphaned
	for n -= orphaned; n > 0; {
		most := &d.partitions[0]
		for i := range d.partitions {
			if d.partitions[i].demand > most.demand {
				most = &d.partitions[i]
			}
		}
		k := min(n, most.demand)
		if k == 0 {
			break
		}
		most.demand -= k
		n -= k
		out.Return(most.consumer, k)
	}
}

// Waiting returns how many events may be taken for all partitions together.
func (d *PartitionDispatcher[T]) Waiting() int { return d.waiting }

// Held returns how many events wait in the partitions' queues.
func (d *PartitionDispatcher[T]) Held() int { return d.held }

// Release empties the queues.
func (d *PartitionDispatcher[T]) Release() []T {
	var events []T
	for i := range d.partitions {
		q := &d.partitions[i].queue
		events = append(events, q.all()...)
		q.drop(q.size)
	}
	d.held = 0
	return events
}

func (d *PartitionDispatcher[T]) find(c ConsumerID) int {
	for i := range d.partitions {
		if d.partitions[i].consumer == c {
			return i
		}
	}
	return -1
}
