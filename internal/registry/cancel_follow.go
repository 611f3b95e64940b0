package registry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

const (
	// readWithin is how long jobs in hand wait, after a lost connection, for the orders to be read again.
	readWithin = 2 * time.Second

	claimAfter = 30 * time.Second // of an order that is not carried out: whoever gave it may be dead
	claimEvery = 10 * time.Second
)

// OrdersConfig says for which node orders to cancel are followed, and what it does about them.
type OrdersConfig struct {
	Node string
	TTL  time.Duration // of the node's presence: nobody waits for its answer once that is over; default 10 s

	// Tell has running jobs end that an order is about, and returns those that the node has in hand. It
	// does not block.
	Tell func(o *job.Order) []job.Held

	// Carry carries out an order of somebody who seems to be dead.
	Carry func(ctx context.Context, o *job.Order) error

	Logger *slog.Logger // never nil
}

// Orders are the orders to cancel that a node knows of. They are a part of a supervision tree, ready
// once all that there are were read. They are safe for concurrent use.
type Orders struct {
	store *Store
	cfg   OrdersConfig
	watch atomic.Pointer[stream.Watch]
	ended chan job.Order // carried out here, to be noted
	pulse pulse
	quiet atomic.Bool // there is nothing to look at: all that a job costs where nothing is cancelled

	mu     sync.Mutex
	one    map[jobKey]*knownOrder
	many   map[string]*knownOrder // by key
	behind chan struct{}          // closed when the orders are read again; nil: they are known
	until  time.Time              // when jobs do not wait for that any more
}

type jobKey struct{ queue, typ, id string }

// A knownOrder is an order, and since when it is as it is, by this node's clock.
type knownOrder struct {
	*job.Order
	since time.Time

	// told are jobs that were told to end a moment ago, and may have ended by now: whoever gave the
	// order is to hear that they ran, also if this node has read it before it was shown it.
	told   []job.Held
	toldAt time.Time

	dropped []job.Held // jobs of an order of many that have ended here without a start
}

// toldFor is how long after it was read an order may be shown.
const toldFor = 2 * noteWithin

// endedBuffer is how many ends of cancelled jobs wait to be noted. Of more, whoever cancelled notes
// it, or the next who claims the order.
const endedBuffer = 1024

// NewOrders returns orders that are not followed yet.
func (s *Store) NewOrders(cfg OrdersConfig) *Orders {
	return &Orders{
		store: s, cfg: cfg, ended: make(chan job.Order, endedBuffer), pulse: newPulse(cmp.Or(cfg.TTL, DefaultTTL)),
		one: make(map[jobKey]*knownOrder), many: make(map[string]*knownOrder),
	}
}

// Find returns the order that says that a job is to be cancelled before it starts, nil if there is
// none. Its message is m.
func (o *Orders) Find(r *job.Record, m job.Stored) *job.Order {
	if o.quiet.Load() {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.one[jobKey{r.Queue, r.Type, r.ID}]; k != nil && k.Matches(r, "") {
		return k.Order
	}
	for _, k := range o.many {
		if k.Matches(r, k.StateThen(r, m.Stored())) {
			return k.Order
		}
	}
	return nil
}

// Dropped notes a job that has ended here without a start since it was cancelled with many: whoever
// cancelled them does not find it any more.
func (o *Orders) Dropped(r *job.Record, m job.Stored) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.many {
		if len(k.dropped) < maxDropped && k.Matches(r, k.StateThen(r, m.Stored())) {
			k.dropped = append(k.dropped, job.Held{Type: r.Type, ID: r.ID, Life: r.Life, Dropped: true})
			return
		}
	}
}

// maxDropped bounds the memory of an order whose jobs this node drops. More than these are cancelled as
// well, and nobody is told of them.
const maxDropped = 100_000

// Wait waits, after a connection was lost or the process stood still, until the orders are read again,
// or ctx ends. It waits for two seconds at most, which is said once.
func (o *Orders) Wait(ctx context.Context) {
	o.beat()
	if o.quiet.Load() {
		return
	}
	o.mu.Lock()
	behind, until := o.behind, o.until
	o.mu.Unlock()
	if behind == nil {
		return
	}
	timeout := time.NewTimer(time.Until(until))
	defer timeout.Stop()
	select {
	case <-behind:
	case <-timeout.C:
	case <-ctx.Done():
	}
}

// beat has the orders read again if the process has stood still for so long that whoever cancelled
// something meanwhile did not wait for its answer.
func (o *Orders) beat() {
	if !o.pulse.missed() {
		return
	}
	o.fallBehind()
	if watch := o.watch.Load(); watch != nil {
		watch.Restart()
	}
}

// Ended notes that a job of a single order has ended here.
func (o *Orders) Ended(r *job.Record) {
	if o.quiet.Load() {
		return
	}
	o.mu.Lock()
	var order *job.Order
	if k := o.one[jobKey{r.Queue, r.Type, r.ID}]; k != nil {
		order = k.Order
	}
	o.mu.Unlock()
	if order == nil || order.Done || order.Life() != r.Life {
		return
	}
	select {
	case o.ended <- *order:
	default:
	}
}

// RunReady follows orders until ctx ends.
func (o *Orders) RunReady(ctx context.Context, ready func()) error {
	shown := make(chan *nats.Msg, listenerBuffer)
	sub, err := o.store.nc.ChanSubscribe(o.store.cancelSubject(), shown)
	if err != nil {
		return fmt.Errorf("hear of orders to cancel: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	connection := o.store.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer o.store.nc.RemoveStatusListener(connection)
	o.fallBehind()
	ctx, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	watch := o.store.bucket.Watch(&orderWatcher{Orders: o, ready: ready}, cancelKeys+".*.*.*")
	o.watch.Store(watch)
	parts.Go(func() { _ = watch.Run(ctx) }) // ends with ctx: no order ends it
	parts.Go(func() { o.claimOld(ctx) })
	parts.Go(func() { o.noteEnded(ctx) })
	pulse := time.NewTicker(o.pulse.every)
	defer pulse.Stop()
	for {
		o.beat()
		o.pulse.beat()
		select {
		case <-ctx.Done():
			return supervisor.ErrShutdown
		case <-pulse.C:
		case status := <-connection:
			o.fallBehind()
			if status == nats.CONNECTED {
				watch.Restart()
			}
		case m := <-shown:
			o.show(ctx, m)
		}
	}
}

// show notes an order that the node is shown, before it answers.
func (o *Orders) show(ctx context.Context, m *nats.Msg) {
	order, err := readShown(m)
	if err != nil {
		o.cfg.Logger.WarnContext(ctx, "an order to cancel cannot be read: it is ignored", slog.Any("err", err))
		return
	}
	if err := answerOrder(m, o.cfg.Node, o.note(order)); err != nil {
		o.cfg.Logger.DebugContext(ctx, "cannot answer an order to cancel", slog.Any("err", err))
	}
}

// note has an order known, unless a newer one is, and then running jobs told. It returns the jobs of
// the order that are in hand here, or were a moment ago.
func (o *Orders) note(order *job.Order) []job.Held {
	known, first := o.know(order)
	var held []job.Held
	if first || !order.RunningOnly() {
		held = o.cfg.Tell(order)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(known.toldAt) <= toldFor {
		held = append(held, slices.DeleteFunc(known.told, func(h job.Held) bool { return slices.ContainsFunc(held, h.Same) })...)
	}
	known.told, known.toldAt = slices.Clone(held), time.Now()
	return append(held, known.dropped...)
}

// know returns what is known of an order, which is order unless a newer one is known, and whether
// nothing was known of it before.
func (o *Orders) know(order *job.Order) (known *knownOrder, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.quiet.Store(false)
	known = &knownOrder{Order: order, since: time.Now()}
	if order.Many() {
		return latest(o.many, orderKey(order), known)
	}
	return latest(o.one, jobKey{order.Queue, order.Type, order.ID}, known)
}

// latest puts a known order in its place, unless a newer one is there, and returns the one that is
// there then, and whether none was before.
func latest[K comparable](all map[K]*knownOrder, key K, known *knownOrder) (latest *knownOrder, first bool) {
	before := all[key]
	if before == nil {
		all[key] = known
		return known, true
	}
	if before.Rev < known.Rev {
		before.Order, before.since = known.Order, known.since
	}
	return before, false
}

// forget drops orders that are as they are since before a time. The bucket says what has expired
// there, but not of what came to this node by word only.
func (o *Orders) forget(before time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := func(k *knownOrder) bool { return k.since.Before(before) }
	maps.DeleteFunc(o.one, func(_ jobKey, k *knownOrder) bool { return old(k) })
	maps.DeleteFunc(o.many, func(_ string, k *knownOrder) bool { return old(k) })
	o.settle()
}

// settle finds out whether there is anything to look at. It must be called with mu held.
func (o *Orders) settle() {
	o.quiet.Store(o.behind == nil && len(o.one) == 0 && len(o.many) == 0)
}

// fallBehind says that orders may have been given that are not known here.
func (o *Orders) fallBehind() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.behind == nil {
		o.behind = make(chan struct{})
	}
	o.until = time.Now().Add(readWithin)
	o.settle()
}

// caughtUp says that all are known.
func (o *Orders) caughtUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.behind != nil {
		close(o.behind)
		o.behind = nil
	}
	o.settle()
}
