package flow

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/stages"
)

// exchange is where the goroutines of one layer hand events to those of the next. Those below ask for
// events, and those above wait until somebody does, so that no more is on its way than was asked for.
// Who gets what is the demand dispatcher's business, as it is between stages. An exchange differs from a
// stage in that handing on may wait: a function that makes a million events of one is suspended in the
// middle (docs/decisions/0070).
type exchange[T any] struct {
	inboxes []*inbox[T]

	mu       sync.Mutex
	open     int // goroutines above that have not ended
	demand   stages.DemandDispatcher[T]
	blocked  []*goroutine // above, waiting for demand
	from     int          // the source of the events that are being dispatched
	sequence uint64       // deliveries so far
}

// inbox is one goroutine below.
type inbox[T any] struct {
	g        *goroutine
	asked    int // events asked for and not delivered
	events   []T
	segments []segment // what is in events, in order
	hand     []T       // what was taken last; its memory is used again
	handed   []segment
}

// segment is a delivery, or a mark between two of them.
type segment struct {
	n        int
	source   int
	sequence uint64
	marked   bool // there is a mark instead of events
	mark     mark
}

func newExchange[T any](below int) *exchange[T] {
	ex := &exchange[T]{}
	for i := range below {
		ex.inboxes = append(ex.inboxes, &inbox[T]{})
		_ = ex.demand.Subscribe(stages.ConsumerID(i), stages.SubscribeOptions[T]{}) // it refuses nobody
	}
	return ex
}

// sink is the end of a lane that hands its events to the exchange of a layer, which has no use for marks.
func (ex *exchange[T]) sink(l lane) sink[T] {
	return arrive(l, func(l lane) sink[T] { return handover[T]{ex.connect(l)} })
}

// handover is an outlet that is no [marker].
type handover[T any] struct{ outlet *outlet[T] }

func (h handover[T]) push(events []T) error { return h.outlet.push(events) }
func (h handover[T]) end() error            { return h.outlet.end() }

func (ex *exchange[T]) connect(l lane) *outlet[T] {
	ex.open++
	return &outlet[T]{ex, l}
}

// outlet is one goroutine above.
type outlet[T any] struct {
	ex   *exchange[T]
	lane lane
}

func (o *outlet[T]) push(events []T) error {
	ex := o.ex
	for {
		ex.mu.Lock()
		ex.from = o.lane.g.source
		events = events[ex.demand.Dispatch(events, (*outbox[T])(ex)):]
		if len(events) > 0 && !slices.Contains(ex.blocked, o.lane.g) {
			ex.blocked = append(ex.blocked, o.lane.g)
		}
		ex.mu.Unlock()
		if len(events) == 0 {
			return nil
		}
		select {
		case <-o.lane.g.wake:
		case <-o.lane.ctx.Done():
			return context.Cause(o.lane.ctx)
		}
	}
}

// mark hands a mark on behind what the lane has pushed. It needs no demand: a second one of a lane with no
// events between them takes the place of the first, so no more marks wait than there are lanes and events.
// Of an exchange with several goroutines below, the first gets all marks.
func (o *outlet[T]) mark(m mark) error {
	o.ex.mu.Lock()
	defer o.ex.mu.Unlock()
	in := o.ex.inboxes[0]
	for i := len(in.segments) - 1; i >= 0 && in.segments[i].marked; i-- {
		if in.segments[i].mark.lane == m.lane {
			in.segments[i].mark = m
			return nil
		}
	}
	in.segments = append(in.segments, segment{marked: true, mark: m})
	in.g.awake()
	return nil
}

func (o *outlet[T]) end() error {
	o.ex.mu.Lock()
	defer o.ex.mu.Unlock()
	o.ex.open--
	if o.ex.open == 0 {
		for _, in := range o.ex.inboxes {
			in.g.awake()
		}
	}
	return nil
}

// isOpen reports whether a goroutine above has not ended.
func (ex *exchange[T]) isOpen() bool {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	return ex.open > 0
}

// awake makes a goroutine look again at what it waits for. It is never lost, and many are one.
func (g *goroutine) awake() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// outbox is an exchange as the dispatcher sees it.
type outbox[T any] exchange[T]

func (o *outbox[T]) Deliver(c stages.ConsumerID, events []T) {
	in := o.inboxes[c]
	o.sequence++
	in.asked -= len(events)
	in.events = append(in.events, events...)
	in.segments = append(in.segments, segment{n: len(events), source: o.from, sequence: o.sequence})
	for _, f := range in.g.delivered {
		f(o.from)
	}
	in.g.awake()
}

func (o *outbox[T]) Reask(stages.ConsumerID, int)  {}
func (o *outbox[T]) Drop(stages.ConsumerID, error) {}
func (o *outbox[T]) Return(stages.ConsumerID, int) {}

// ask keeps up a goroutine's demand.
func (ex *exchange[T]) ask(i, demand int) {
	in := ex.inboxes[i]
	if in.asked >= demand {
		return
	}
	ex.demand.Ask(stages.ConsumerID(i), demand-in.asked, (*outbox[T])(ex))
	in.asked = demand
	for _, g := range ex.blocked {
		g.awake()
	}
	clear(ex.blocked)
	ex.blocked = ex.blocked[:0]
}

// take waits for events or marks of a goroutine below, at most until due, and returns what there is. It
// returns false after the end of all goroutines above. While up to n events are handled, as many more
// may be on their way, unless n is 1: then the next one may be for somebody else.
func (ex *exchange[T]) take(l lane, i, n int, due time.Time) (_ *inbox[T], more bool, _ error) {
	in := ex.inboxes[i]
	clear(in.hand)
	clear(in.handed)
	in.hand, in.handed = in.hand[:0], in.handed[:0]
	ex.mu.Lock()
	defer ex.mu.Unlock()
	for len(in.segments) == 0 {
		if ex.open == 0 {
			return in, false, nil
		}
		ex.ask(i, n)
		ex.mu.Unlock()
		timedOut, err := l.wait(due)
		ex.mu.Lock()
		if err != nil || timedOut {
			return in, true, err
		}
	}
	in.events, in.hand = in.hand, in.events
	in.segments, in.handed = in.handed, in.segments
	if n > 1 {
		ex.ask(i, n)
	}
	return in, true, nil
}

// wait returns when the goroutine is woken, or at due unless that is zero.
func (l lane) wait(due time.Time) (timedOut bool, _ error) {
	var alarm <-chan time.Time
	if !due.IsZero() {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-l.g.wake:
		return false, nil
	case <-alarm:
		return true, nil
	case <-l.ctx.Done():
		return false, context.Cause(l.ctx)
	}
}
