package pipeline

import (
	"slices"
	"sync/atomic"

	"github.com/millhand/millhand/internal/stages"
)

// spread is a DemandDispatcher that shares out what was pulled together: with one processor busy for long
// with the first message, the others do not wait behind it while another processor has nothing to do.
type spread[T any] struct {
	stages.DemandDispatcher[*Message[T]]
	consumers int
}

func (d *spread[T]) Subscribe(c stages.ConsumerID, o stages.SubscribeOptions[*Message[T]]) error {
	d.consumers++
	return d.DemandDispatcher.Subscribe(c, o)
}

func (d *spread[T]) Cancel(c stages.ConsumerID) {
	d.consumers--
	d.DemandDispatcher.Cancel(c)
}

func (d *spread[T]) Dispatch(events []*Message[T], out stages.Outbox[*Message[T]]) (taken int) {
	share := (len(events) + d.consumers - 1) / max(d.consumers, 1)
	for taken < len(events) && d.Waiting() > 0 {
		end := min(taken+max(share, 1), len(events))
		taken += d.DemandDispatcher.Dispatch(events[taken:end], out)
	}
	return taken
}

// maxRun is how many messages of a key a processor is given at once.
const maxRun = 64

// byKey gives the messages of a key one after the other to whichever processor is free. A processor is
// given a message with those of its key that wait behind it, and they are in the way of the later ones until
// passed is told, which is when the last of them is out of Process, and settled if it has failed. What the
// processor has not begun it may return. Messages that wait for that are held; those that wait only for a
// processor are ahead.
type byKey[T any] struct {
	ahead     int // how many messages to have ready for each processor
	consumers []keyConsumer
	demand    int // of all consumers
	keys      map[string]*keyState[T]
	ready     []*Message[T] // in the order in which they may go
	waits     atomic.Int64  // messages in the queues of keys
	held      atomic.Int64  // keys with holds
}

type keyConsumer struct {
	id     stages.ConsumerID
	demand int
}

type keyState[T any] struct {
	busy    bool // one of its messages is ready, or some are on a processor
	holds   int  // of its messages that fail in a batch
	queue   []*Message[T]
	blocked atomic.Bool // holds > 0, for the processor that has some
}

func (d *byKey[T]) Subscribe(c stages.ConsumerID, _ stages.SubscribeOptions[*Message[T]]) error {
	d.consumers = append(d.consumers, keyConsumer{id: c})
	return nil
}

func (d *byKey[T]) Cancel(c stages.ConsumerID) {
	for i, known := range d.consumers {
		if known.id == c {
			d.demand -= known.demand
			d.consumers = append(d.consumers[:i], d.consumers[i+1:]...)
			return
		}
	}
}

func (d *byKey[T]) Ask(c stages.ConsumerID, n int, out stages.Outbox[*Message[T]]) {
	for i := range d.consumers {
		if d.consumers[i].id == c {
			d.consumers[i].demand += n
			d.demand += n
		}
	}
	d.deliver(out)
}

// Waiting is as many messages as are to be ready.
func (d *byKey[T]) Waiting() int {
	return max(d.ahead*len(d.consumers)-len(d.ready), d.demand)
}

func (d *byKey[T]) Dispatch(events []*Message[T], out stages.Outbox[*Message[T]]) (taken int) {
	for _, m := range events {
		if d.Waiting() == 0 {
			break
		}
		taken++
		if m.envelope.key == "" {
			d.ready = append(d.ready, m)
			continue
		}
		k := d.keys[m.envelope.key]
		if k == nil {
			k = &keyState[T]{}
			d.keys[m.envelope.key] = k
		}
		m.of = k
		if k.busy || k.holds > 0 || len(k.queue) > 0 {
			k.queue = append(k.queue, m)
			d.waits.Add(1)
			continue
		}
		k.busy = true
		d.ready = append(d.ready, m)
	}
	d.deliver(out)
	return taken
}

// deliver gives what is ready to those who want it, one each in turn, with what waits behind it.
func (d *byKey[T]) deliver(out stages.Outbox[*Message[T]]) {
	n := 0
	for ; n < len(d.ready) && d.demand > 0; n++ {
		for d.consumers[0].demand == 0 {
			d.turn()
		}
		d.follow(d.ready[n])
		out.Deliver(d.consumers[0].id, d.ready[n:n+1])
		d.consumers[0].demand--
		d.demand--
		d.turn()
	}
	clear(d.ready[:n])
	if d.ready = d.ready[n:]; len(d.ready) == 0 {
		d.ready = nil
	}
}

// follow has the messages that wait behind m go with it.
func (d *byKey[T]) follow(m *Message[T]) {
	if m.of == nil {
		return
	}
	n := min(len(m.of.queue), maxRun-1)
	m.behind, m.of.queue = m.of.queue[:n:n], m.of.queue[n:]
	d.waits.Add(int64(-n))
}

func (d *byKey[T]) turn() {
	first := d.consumers[0]
	copy(d.consumers, d.consumers[1:])
	d.consumers[len(d.consumers)-1] = first
}

// passed lets the next message of a key go.
func (d *byKey[T]) passed(key string, out stages.Outbox[*Message[T]]) {
	if k := d.keys[key]; k != nil {
		k.busy = false
		d.next(key, k, out)
	}
}

// returned takes back the last ones of the messages of a key that a processor has, and lets others go.
func (d *byKey[T]) returned(rest []*Message[T], out stages.Outbox[*Message[T]]) {
	key := rest[0].envelope.key
	if k := d.keys[key]; k != nil {
		k.queue = slices.Concat(rest, k.queue)
		d.waits.Add(int64(len(rest)))
		d.passed(key, out)
	}
}

// hold keeps the messages of a key from processors until unhold is told.
func (d *byKey[T]) hold(key string) {
	k := d.keys[key]
	if k == nil {
		k = &keyState[T]{}
		d.keys[key] = k
	}
	if k.holds++; k.holds == 1 {
		d.held.Add(1)
		k.blocked.Store(true)
	}
	ready := slices.IndexFunc(d.ready, func(m *Message[T]) bool { return m.envelope.key == key })
	if ready >= 0 { // no processor has it yet: it waits, too
		k.busy = false
		k.queue = slices.Insert(k.queue, 0, d.ready[ready])
		d.ready = slices.Delete(d.ready, ready, ready+1)
		d.waits.Add(1)
	}
}

func (d *byKey[T]) unhold(key string, out stages.Outbox[*Message[T]]) {
	k := d.keys[key]
	if k == nil || k.holds == 0 {
		return
	}
	if k.holds--; k.holds == 0 {
		d.held.Add(-1)
		k.blocked.Store(false)
	}
	d.next(key, k, out)
}

func (d *byKey[T]) next(key string, k *keyState[T], out stages.Outbox[*Message[T]]) {
	switch {
	case k.busy || k.holds > 0:
	case len(k.queue) == 0:
		delete(d.keys, key)
	default:
		k.busy = true
		d.ready = append(d.ready, k.queue[0])
		k.queue[0] = nil
		k.queue = k.queue[1:]
		d.waits.Add(-1)
		d.deliver(out)
	}
}

// Return is not asked for: the source gives no demand back.
func (d *byKey[T]) Return(int, stages.Outbox[*Message[T]]) {}

func (d *byKey[T]) Held() int { return int(d.waits.Load()) + len(d.ready) }

// Release gives up what is held, when the producer ends.
func (d *byKey[T]) Release() []*Message[T] {
	all := d.ready
	for _, k := range d.keys {
		all = append(all, k.queue...)
	}
	d.ready, d.keys = nil, map[string]*keyState[T]{}
	d.waits.Store(0)
	d.held.Store(0)
	return all
}
