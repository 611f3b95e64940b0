package stages

import (
	"math/rand/v2"
	"slices"
)

// DemandDispatcher gives each event to one consumer, the one with the most unmet demand first. It
// is the default. A consumer that asks for much starves the others: let all of them use one max
// demand.
type DemandDispatcher[T any] struct {
	Shuffle     *rand.Rand                    // if set, the order of the consumers is shuffled once, before the first dispatch
	MaxDemand   int                           // what OnExcessive compares with; 0: the first ask
	OnExcessive func(c ConsumerID, asked int) // told of an ask above MaxDemand, which is served all the same

	consumers []consumerDemand // sorted by demand, descending; of equals, the first to come is first
	waiting   int              // the sum of their demand
}

type consumerDemand struct {
	id     ConsumerID
	demand int
}

// Subscribe puts the consumer last: nobody has less demand than none.
func (d *DemandDispatcher[T]) Subscribe(c ConsumerID, _ SubscribeOptions[T]) error {
	d.consumers = append(d.consumers, consumerDemand{id: c})
	return nil
}

// Cancel forgets the consumer's demand: what the producer owes for it goes to others.
func (d *DemandDispatcher[T]) Cancel(c ConsumerID) {
	d.waiting -= d.remove(c)
}

// Ask moves the consumer ahead of those with less demand.
func (d *DemandDispatcher[T]) Ask(c ConsumerID, n int, _ Outbox[T]) {
	if d.MaxDemand == 0 {
		d.MaxDemand = n
	}
	if n > d.MaxDemand && d.OnExcessive != nil {
		d.OnExcessive(c, n)
	}
	d.insert(consumerDemand{id: c, demand: d.remove(c) + n})
	d.waiting += n
}

// Dispatch gives the consumer with the most demand all it wants, then the next.
func (d *DemandDispatcher[T]) Dispatch(events []T, out Outbox[T]) int {
	if d.Shuffle != nil {
		d.Shuffle.Shuffle(len(d.consumers), func(i, j int) {
			d.consumers[i], d.consumers[j] = d.consumers[j], d.consumers[i]
		})
		d.Shuffle = nil
	}
	taken := 0
	for taken < len(events) && d.waiting > 0 {
		i, n := d.next(len(events) - taken)
		out.Deliver(d.consumers[i].id, events[taken:taken+n])
		taken += n
		d.lower(i, n)
	}
	return taken
}

// Return takes from the consumers in the order in which they would have been served.
func (d *DemandDispatcher[T]) Return(n int, out Outbox[T]) {
	for n > 0 && d.waiting > 0 {
		i, k := d.next(n)
		out.Return(d.consumers[i].id, k)
		n -= k
		d.lower(i, k)
	}
}

// Waiting returns the demand of all consumers.
func (d *DemandDispatcher[T]) Waiting() int { return d.waiting }

// next returns the index of the consumer to serve next and how many of n events it wants. It is the
// first one that wants any: others are ahead of it only while a shuffled order wears off.
func (d *DemandDispatcher[T]) next(n int) (i, wants int) {
	for d.consumers[i].demand == 0 {
		i++
	}
	return i, min(n, d.consumers[i].demand)
}

// lower takes n from the demand of the consumer at index i and puts it where it belongs now.
func (d *DemandDispatcher[T]) lower(i, n int) {
	c := d.consumers[i]
	d.consumers = slices.Delete(d.consumers, i, i+1)
	c.demand -= n
	d.waiting -= n
	d.insert(c)
}

// insert puts a consumer behind its equals, so that equals take turns.
func (d *DemandDispatcher[T]) insert(c consumerDemand) {
	i := 0
	for i < len(d.consumers) && d.consumers[i].demand >= c.demand {
		i++
	}
	d.consumers = slices.Insert(d.consumers, i, c)
}

// remove takes a consumer out of the list and returns its demand.
func (d *DemandDispatcher[T]) remove(c ConsumerID) int {
	for i, known := range d.consumers {
		if known.id == c {
			d.consumers = slices.Delete(d.consumers, i, i+1)
			return known.demand
		}
	}
	return 0
}
