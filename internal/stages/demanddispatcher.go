package stages

import (
	"math/rand/v2"
	"slices"
)

// DemandDispatcher gives each event to one consumer, the one with the most unmet demand first. It is the default.
// A consumer that asks for much starves the others: let all of them use one max demand.
type DemandDispatcher[T any] struct {
	Shuffle     *rand.Rand                    // If set, the order of the consumers is shuffled once, before the first dispatch.
	MaxDemand   int                           // What OnExcessive compares with; 0: the first ask.
	OnExcessive func(c ConsumerID, asked int) // Told of an ask above MaxDemand, which is served all the same.

	consumers []consumerDemand // Invariant: sorted by demand, descending; behind equals stands who came later.
	pending   int              // Asked of the producer for consumers that have left.
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

func (d *DemandDispatcher[T]) Cancel(c ConsumerID, _ Outbox[T]) int {
	d.pending += d.remove(c)
	return 0
}

// Ask lets pending cover only what is not buffered. GenStage lets it cover all of n, which hides buffered events behind it.
func (d *DemandDispatcher[T]) Ask(c ConsumerID, n, buffered int, _ Outbox[T]) int {
	if d.MaxDemand == 0 {
		d.MaxDemand = n
	}
	if n > d.MaxDemand && d.OnExcessive != nil {
		d.OnExcessive(c, n)
	}
	d.insert(consumerDemand{id: c, demand: d.remove(c) + n})
	known := min(d.pending, max(n-buffered, 0))
	d.pending -= known
	return n - known
}

func (d *DemandDispatcher[T]) Dispatch(events []T, out Outbox[T]) int {
	if d.Shuffle != nil {
		d.Shuffle.Shuffle(len(d.consumers), func(i, j int) {
			d.consumers[i], d.consumers[j] = d.consumers[j], d.consumers[i]
		})
		slices.SortStableFunc(d.consumers, func(a, b consumerDemand) int { return min(b.demand, 1) - min(a.demand, 1) })
		d.Shuffle = nil
	}
	taken := 0
	for taken < len(events) && len(d.consumers) > 0 && d.consumers[0].demand > 0 {
		c := d.consumers[0]
		n := min(c.demand, len(events)-taken)
		out.Deliver(c.id, events[taken:taken+n])
		taken += n
		d.lower(0, n)
	}
	d.pending = max(d.pending-(len(events)-taken), 0)
	return taken
}

// Return takes from the consumers in the order in which they would have been served.
func (d *DemandDispatcher[T]) Return(n int, out Outbox[T]) {
	orphaned := min(d.pending, n)
	d.pending -= orphaned
	n -= orphaned
	for n > 0 && len(d.consumers) > 0 && d.consumers[0].demand > 0 {
		c := d.consumers[0]
		k := min(c.demand, n)
		out.Return(c.id, k)
		n -= k
		d.lower(0, k)
	}
}

func (d *DemandDispatcher[T]) Waiting() int {
	sum := 0
	for _, c := range d.consumers {
		sum += c.demand
	}
	return sum
}

// lower takes n from the demand of the consumer at index i and puts it where it belongs now.
func (d *DemandDispatcher[T]) lower(i, n int) {
	c := d.consumers[i]
	d.consumers = slices.Delete(d.consumers, i, i+1)
	c.demand -= n
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
