package stages

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millhand/millhand/internal/supervisor"
)

// outlet is the producing side of a stage: its subscribers, the dispatcher, and the buffer for what
// has no demand. The buffer survives a restart of the stage; subscribers and their demand do not.
type outlet[T any] struct {
	waker  waker
	config OutletConfig[T]
	buffer buffer[T]

	// Of the goroutine of Run.
	dispatcher     Dispatcher[T]
	links          map[ConsumerID]*link[T]
	refused        []*link[T] // wait for another subscriber to leave, or for the next Run
	lastID         ConsumerID
	outstanding    int          // events asked of the producer that have not been emitted
	demands        []int        // what to ask of the producer, one entry an ask; GenStage does not merge them
	reasks         []request[T] // made by the dispatcher in the present call
	reading        []request[T] // the mail taken last; its memory is used again
	work           []request[T] // what of reading is not done yet
	markers        []marker     // of AfterBuffer, by after
	held           []request[T] // asks and emissions that wait for Resume
	paused         bool
	subscriberLeft bool // a subscriber has cancelled during this Run

	buffered atomic.Int64 // what buffer holds

	mu    sync.Mutex
	mail  []request[T]
	state runState
}

type runState uint8

const (
	neverRan runState = iota // orders wait for the first Run
	running
	hasRun // Run has returned
)

// OutletConfig is what producing stages have in common. The zero value is usable.
type OutletConfig[T any] struct {
	// Dispatcher makes the dispatcher of each Run. Nil means a [DemandDispatcher].
	Dispatcher func() Dispatcher[T]

	// Buffer is how many events to keep that were emitted without demand. Nil means DefaultBuffer
	// for a Producer, and [Unlimited] for a Processor, whose handler may turn one event into many.
	// With zero Emit refuses such events, and those that Demand or Handle returned are discarded.
	Buffer *int

	// Keep is which events a full buffer keeps. Zero means the last ones.
	Keep Keep

	// Paused has each Run begin as if Pause had been called.
	Paused bool

	// OnDiscard is told how many events a full buffer cost, once for each emission, and returns
	// whether to log a warning as well. Nil means yes.
	OnDiscard func(events int) (warn bool)

	OnJoin  func()      // a consumer has subscribed
	OnLeave func(error) // a subscription has ended for this reason

	// Name tells in the log which stage speaks.
	Name string

	// Log gets what costs events or subscriptions. Nil means [slog.Default].
	Log *slog.Logger
}

func newOutlet[T any](c OutletConfig[T], w waker, defaultBuffer int) (*outlet[T], error) {
	if c.Buffer == nil {
		c.Buffer = &defaultBuffer
	}
	if *c.Buffer < 0 || c.Keep > KeepFirst {
		return nil, invalid("buffer of %d events, keep %d", *c.Buffer, c.Keep)
	}
	if c.Dispatcher == nil {
		c.Dispatcher = func() Dispatcher[T] { return new(DemandDispatcher[T]) }
	}
	if c.Log == nil {
		c.Log = slog.Default() //nolint:forbidigo // as net/http does: nothing is lost in silence for lack of a setting
	}
	if c.Name != "" {
		c.Log = c.Log.With(slog.String("stage", c.Name))
	}
	return &outlet[T]{waker: w, config: c, buffer: buffer[T]{limit: *c.Buffer, keep: c.Keep}}, nil
}

func (o *outlet[T]) source() *outlet[T] { return o }

// Buffered returns how many events wait for demand.
func (o *outlet[T]) Buffered() int { return int(o.buffered.Load()) }

// post leaves a request. It reports false if nobody will carry it out: the stage has stopped or,
// for a cancellation, is not running, in which case the link's earlier requests are withdrawn.
func (o *outlet[T]) post(m request[T]) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.state == running:
	case m.kind == requestCancel:
		o.mail = slices.DeleteFunc(o.mail, func(earlier request[T]) bool { return earlier.link == m.link })
		return false
	case o.state == hasRun && (m.kind != requestSubscribe || !m.link.sub.options.Resubscribe):
		return false
	}
	o.mail = append(o.mail, m)
	o.waker.wake()
	return true
}

// open begins a Run, with a new dispatcher: consumers that asked the last Run for events will ask
// again.
func (o *outlet[T]) open() {
	o.dispatcher = o.config.Dispatcher()
	o.links = make(map[ConsumerID]*link[T])
	o.outstanding, o.demands, o.reasks, o.subscriberLeft = 0, o.demands[:0], o.reasks[:0], false
	o.paused = o.config.Paused
	o.mu.Lock()
	o.state = running
	o.mu.Unlock()
}

// close ends a Run, also one that panicked: subscribers are told the reason, emitters are refused,
// and subscriptions that wait for a restart stay in the mail. The supervisor is told before all of
// them: they may end because of it.
func (o *outlet[T]) close(ctx context.Context, reason error) {
	supervisor.Ending(ctx)
	o.mu.Lock()
	o.state = hasRun
	left := slices.Concat(o.held, o.work, o.mail)
	for _, l := range o.refused {
		left = append(left, request[T]{kind: requestSubscribe, link: l})
	}
	o.held, o.work, o.refused = nil, nil, nil
	o.mail = slices.DeleteFunc(slices.Clone(left), func(m request[T]) bool {
		return m.kind != requestSubscribe || !m.link.sub.options.Resubscribe || cancels(left, m.link)
	})
	waiting := slices.Clone(o.mail)
	o.mu.Unlock()

	for _, l := range o.links {
		o.unsubscribe(l, reason)
	}
	o.release()
	for _, m := range left {
		switch {
		case m.kind == requestEmit:
			m.emission.refuse(ErrNotRunning)
		case m.kind == requestSubscribe && !slices.ContainsFunc(waiting, func(w request[T]) bool { return w.link == m.link }):
			m.link.sub.to.post(notice[T]{kind: noticeCancelled, link: m.link, err: reason})
		}
	}
}

func cancels[T any](requests []request[T], l *link[T]) bool {
	return slices.ContainsFunc(requests, func(m request[T]) bool { return m.kind == requestCancel && m.link == l })
}

func (o *outlet[T]) subscribe(l *link[T]) {
	o.lastID++
	l.id = o.lastID
	if err := o.dispatcher.Subscribe(l.id, l.sub.options); err != nil {
		o.config.Log.Error("subscription refused", slog.Any("err", err))
		if l.sub.options.Resubscribe {
			o.refused = append(o.refused, l) // to try again at once would be to try for ever
			return
		}
		l.sub.to.post(notice[T]{kind: noticeCancelled, link: l, err: err})
		return
	}
	o.links[l.id] = l
	l.sub.to.post(notice[T]{kind: noticeAccepted, link: l})
	if o.config.OnJoin != nil {
		o.config.OnJoin()
	}
}

// cancel ends a subscription that its consumer does not want any more.
func (o *outlet[T]) cancel(l *link[T], reason error) {
	if i := slices.Index(o.refused, l); i >= 0 {
		o.refused = slices.Delete(o.refused, i, i+1)
		l.sub.to.post(notice[T]{kind: noticeCancelled, link: l, err: reason})
	}
	if o.links[l.id] != l {
		return
	}
	o.subscriberLeft = true
	o.unsubscribe(l, reason)
	refused := o.refused
	o.refused = nil
	for _, l := range refused {
		o.subscribe(l)
	}
	o.balance()
}

func (o *outlet[T]) unsubscribe(l *link[T], reason error) {
	o.dispatcher.Cancel(l.id)
	delete(o.links, l.id)
	l.sub.to.post(notice[T]{kind: noticeCancelled, link: l, err: reason})
	if o.config.OnLeave != nil {
		o.config.OnLeave(reason)
	}
}

// release puts what the dispatcher holds back into the buffer, ahead of what has not been
// dispatched yet.
func (o *outlet[T]) release() {
	h, ok := o.dispatcher.(Holder[T])
	if !ok || h.Held() == 0 {
		return
	}
	held, newer := h.Release(), o.buffer.all()
	for i := range o.markers {
		o.markers[i].after += uint64(len(held) + len(newer)) // they leave the buffer once more
	}
	o.buffer.drop(len(newer))
	o.store(slices.Concat(held, newer))
}
