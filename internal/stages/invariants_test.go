package stages

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rig drives an outlet and the intakes of its consumers from one goroutine, operation by operation,
// and checks after each what must hold between any two: the invariants I1 to I6.
type rig struct {
	*rapid.T
	o         *outlet[int]
	consumers []*rigConsumer
	created   int
	next      int // the next event
	owed      int // events asked of the producer that it has neither emitted nor given back
	discarded map[int]bool
	received  map[int]int // how many consumers got an event
	most      int         // most events that were ever waited for at once
}

type rigConsumer struct {
	name     int
	in       *intake[int]
	sub      *Subscription[int]
	asked    int // events asked for that neither came nor were returned
	got      []int
	since    int // the first event that could reach it
	detached bool
}

const rigDemand = 6 // most events a consumer has asked for

func newRig(t *rapid.T, dispatcher Dispatcher[int]) *rig {
	r := &rig{T: t, discarded: map[int]bool{}, received: map[int]int{}}
	o, err := newOutlet(OutletConfig[int]{
		Dispatcher: func() Dispatcher[int] { return dispatcher },
		Buffer:     new(rapid.SampledFrom([]int{Unlimited, 7, 0}).Draw(t, "buffer")),
		Keep:       rapid.SampledFrom([]Keep{KeepLast, KeepFirst}).Draw(t, "keep"),
	}, newWaker(), DefaultBuffer)
	if err != nil {
		t.Fatal(err)
	}
	o.open()
	r.o = o
	return r
}

// settle carries out all orders and lets every consumer handle its mail.
func (r *rig) settle() {
	for r.o.step() {
		r.take()
	}
	for _, c := range r.consumers {
		c.in.takeMail(context.Background())
		for _, ok := c.in.head(); ok; _, ok = c.in.head() {
			for _, event := range c.in.whole() {
				c.got = append(c.got, event)
				c.asked--
				r.received[event]++
			}
		}
	}
}

func (r *rig) take() {
	for len(r.o.demands) > 0 {
		r.owed += r.o.demanded()
	}
	r.most = max(r.most, r.o.dispatcher.Waiting())
}

func (r *rig) subscribe(partition int) {
	r.created++
	c := &rigConsumer{name: r.created, since: r.next}
	c.in = newIntake(newWaker(), Hooks[int]{
		OnReturn: func(_ *Subscription[int], n int) { c.asked -= n },
		OnCancel: func(*Subscription[int], error) { c.detached = true },
	})
	sub, err := newSubscription(r.o, c.in, SubscribeOptions[int]{Manual: true, Cancel: Temporary, Partition: partition})
	if err != nil {
		r.Fatal(err)
	}
	c.sub = sub
	c.in.open()
	c.in.act(notice[int]{kind: noticeSubscribe, sub: sub})
	r.consumers = append(r.consumers, c)
	r.settle()
}

// emit emits n events, which the producer owes or not.
func (r *rig) emit(n int) {
	events := make([]int, n)
	for i := range events {
		events[i] = r.next
		r.next++
	}
	before := r.o.buffer.all()
	r.owed = max(r.owed-n, 0)
	_ = r.o.emit(events, false) // nothing is refused
	r.o.doReasks()
	r.take()
	r.settle()
	// Whatever was neither delivered nor is kept has been discarded, old or new.
	kept := r.o.buffer.all()
	for _, event := range append(before, events...) {
		if r.received[event] == 0 && !slices.Contains(kept, event) && !r.held(event) {
			r.discarded[event] = true
		}
	}
}

func (r *rig) held(event int) bool {
	d, ok := r.o.dispatcher.(*PartitionDispatcher[int])
	return ok && slices.ContainsFunc(d.partitions, func(p partition[int]) bool {
		return slices.Contains(p.queue.all(), event)
	})
}

func (r *rig) pick() *rigConsumer {
	return rapid.SampledFrom(r.consumers).Draw(r.T, "consumer")
}

// actions are what producers and consumers may do at any time.
func (r *rig) actions(partitions int) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"": func(*rapid.T) { r.check() },
		"subscribe": func(t *rapid.T) {
			taken := map[int]bool{}
			for _, c := range r.consumers {
				taken[c.sub.options.Partition] = true
			}
			partition := rapid.IntRange(0, partitions-1).Draw(t, "partition")
			if len(r.consumers) == 4 || partitions > 1 && taken[partition] {
				t.Skip()
			}
			r.subscribe(partition)
		},
		"ask": func(t *rapid.T) {
			if len(r.consumers) == 0 {
				t.Skip()
			}
			c := r.pick()
			if c.asked == rigDemand {
				t.Skip()
			}
			n := rapid.IntRange(1, rigDemand-c.asked).Draw(t, "n")
			c.asked += n
			c.in.ask(c.sub, n)
			r.settle()
		},
		"cancel": func(t *rapid.T) {
			if len(r.consumers) == 0 {
				t.Skip()
			}
			c := r.pick()
			c.in.detach(c.sub, nil)
			r.settle()
			if !c.detached || c.asked != 0 {
				t.Fatalf("consumer %d: detached = %v with demand %d", c.name, c.detached, c.asked)
			}
			r.consumers = slices.DeleteFunc(r.consumers, func(known *rigConsumer) bool { return known == c })
		},
		"serve": func(t *rapid.T) {
			if r.owed == 0 {
				t.Skip()
			}
			r.emit(rapid.IntRange(1, r.owed).Draw(t, "n"))
		},
		"push": func(t *rapid.T) { r.emit(rapid.IntRange(1, 8).Draw(t, "n")) },
		"give back": func(t *rapid.T) {
			if r.owed == 0 {
				t.Skip()
			}
			n := rapid.IntRange(1, r.owed).Draw(t, "n")
			r.owed -= n
			r.o.do(request[int]{kind: requestGiveBack, n: n})
			r.settle()
		},
	}
}

func (r *rig) check() {
	for _, c := range r.consumers {
		if c.asked < 0 || c.asked > rigDemand || c.asked != c.sub.asked { // I1
			r.Fatalf("consumer %d: %d events outstanding, its account says %d", c.name, c.asked, c.sub.asked)
		}
		if !slices.IsSorted(c.got) { // I3
			r.Fatalf("consumer %d got %v", c.name, c.got)
		}
	}
	waiting := r.o.dispatcher.Waiting()
	if r.o.buffer.size > 0 && waiting > 0 { // I4
		r.Fatalf("%d events are buffered and %d could be dispatched", r.o.buffer.size, waiting)
	}
	if waiting > r.owed { // nobody waits for what the producer was not asked for
		r.Fatalf("%d events are waited for, and the producer owes only %d", waiting, r.owed)
	}
	if r.owed > r.most { // and it is not asked twice
		r.Fatalf("the producer owes %d, and never more than %d were waited for at once", r.owed, r.most)
	}
}

// eachOnce checks I3 for dispatchers that give an event to one consumer.
func (r *rig) eachOnce() {
	buffered := r.o.buffer.all()
	for event := range r.next {
		fates := r.received[event]
		if slices.Contains(buffered, event) {
			fates++
		}
		if r.held(event) {
			fates++
		}
		if r.discarded[event] {
			fates++
		}
		if fates != 1 {
			r.Fatalf("event %d has %d fates, want one of delivered, kept and discarded", event, fates)
		}
	}
}

func TestDemandDispatcherInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := new(DemandDispatcher[int])
		r := newRig(t, d)
		actions := r.actions(1)
		check := actions[""]
		actions[""] = func(t *rapid.T) {
			check(t)
			r.eachOnce()
			if !slices.IsSortedFunc(d.consumers, func(a, b consumerDemand) int { return b.demand - a.demand }) {
				t.Fatalf("consumers out of order: %v", d.consumers)
			}
		}
		t.Repeat(actions)
	})
}

func TestBroadcastDispatcherInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, new(BroadcastDispatcher[int]))
		actions := r.actions(1)
		check := actions[""]
		actions[""] = func(t *rapid.T) {
			check(t)
			r.sameSequence() // I5
		}
		t.Repeat(actions)
	})
}

// sameSequence checks that any two consumers got the same, from the first event on that both could
// get.
func (r *rig) sameSequence() {
	for _, a := range r.consumers {
		for _, b := range r.consumers {
			if len(a.got) == 0 || len(b.got) == 0 {
				continue
			}
			from := max(a.got[0], b.got[0])
			if x, y := after(a.got, from), after(b.got, from); !slices.Equal(x, y) {
				r.Fatalf("consumers %d and %d got %v and %v", a.name, b.name, a.got, b.got)
			}
		}
	}
}

func after(events []int, from int) []int {
	i, _ := slices.BinarySearch(events, from)
	return events[i:]
}

func TestPartitionDispatcherInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := NewPartitionDispatcher(PartitionConfig[int]{
			Partitions: 3, Hash: func(event int) (int, int, bool) { return event, event % 3, true },
		})
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, d)
		actions := r.actions(3)
		check := actions[""]
		actions[""] = func(t *rapid.T) {
			check(t)
			r.eachOnce()
			for _, c := range r.consumers { // I6
				for _, event := range c.got {
					if event%3 != c.sub.options.Partition {
						t.Fatalf("partition %d got %v", c.sub.options.Partition, c.got)
					}
				}
			}
		}
		t.Repeat(actions)
	})
}

// I1 and I2: whatever is delivered in whatever portions, at most max is outstanding and no batch is
// too long.
func TestDemandInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxDemand := rapid.IntRange(1, 50).Draw(t, "max")
		d := demand{max: maxDemand, min: rapid.IntRange(0, maxDemand-1).Draw(t, "min")}
		outstanding := d.open(0)
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				if outstanding == 0 {
					t.Fatal("nothing is outstanding: the subscription stands still")
				}
				delivered := rapid.IntRange(1, outstanding).Draw(t, "n")
				outstanding -= delivered
				for left := delivered; left > 0; {
					size, ask := d.receive(left)
					if size < 1 || size > d.max-d.min {
						t.Fatalf("batch of %d with max %d and min %d", size, d.max, d.min)
					}
					left -= size
					outstanding += ask
					if outstanding+left > d.max || outstanding+left != d.pending {
						t.Fatalf("%d outstanding, %d in hand, account %+v", outstanding, left, d)
					}
				}
			},
		})
	})
}

func TestBufferIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := buffer[int]{limit: rapid.SampledFrom([]int{Unlimited, 0, 1, 5}).Draw(t, "limit")}
		b.keep = rapid.SampledFrom([]Keep{KeepLast, KeepFirst}).Draw(t, "keep")
		var model []int
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got := b.all(); !slices.Equal(got, model) || b.size != len(model) {
					t.Fatalf("buffer holds %v (size %d), want %v", got, b.size, model)
				}
			},
			"store": func(t *rapid.T) {
				n := rapid.IntRange(0, 8).Draw(t, "n")
				events := make([]int, n)
				for i := range events {
					events[i] = next
					next++
				}
				want := 0
				model = append(model, events...)
				if over := len(model) - b.limit; b.limit >= 0 && over > 0 {
					want = over
					if b.keep == KeepFirst {
						model = model[:b.limit]
					} else {
						model = model[over:]
					}
				}
				if got := b.store(events); got != want {
					t.Fatalf("store discarded %d, want %d", got, want)
				}
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(0, 8).Draw(t, "n")
				got := take(&b, n)
				want := model[:min(n, len(model))]
				if fmt.Sprint(got) != fmt.Sprint(slices.Clone(want)) {
					t.Fatalf("take(%d) = %v, want %v", n, got, want)
				}
				model = model[len(want):]
			},
		})
	})
}
