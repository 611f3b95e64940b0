package queue

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// A Keeper renews the leases of all jobs in hand, each a third of its AckWait
// after the last time, and has the handlers of lost ones cancelled. Renewals are
// confirmed: one that the broker did not answer does not count.
type Keeper struct {
	nc *nats.Conn

	gate *Gate
	wake chan struct{} // tick became shorter

	astray atomic.Int64 // len(lost)

	mu   sync.Mutex
	held map[*Delivery]struct{}
	lost []*Delivery       // no lease any more, and the handler has not returned
	tick time.Duration // between rounds: two tries fit into the last third of the shortest lease
}

// NewKeeper returns a keeper that renews over the store's connection, and guards the jobs
// that g let in.
func NewKeeper(s *Store, g *Gate) *Keeper {
	return &Keeper{nc: s.nc, gate: g, wake: make(chan struct{}, 1), held: make(map[*Delivery]struct{}), tick: time.Second}
}

// Keep has h renewed until [Keeper.Release] or until its lease is lost.
func (k *Keeper) Keep(h *Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[h] = struct{}{}
	if t := max(h.lease.wait()/12, 10*time.Millisecond); t < k.tick {
		k.tick = t
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// Release ends the renewal of h.
func (k *Keeper) Release(h *Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, h)
}

func (k *Keeper) release(ts []*settlement) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range ts {
		delete(k.held, t.Delivery)
	}
}

// Held returns how many jobs are in hand.
func (k *Keeper) Held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held)
}

// lose is Release for want of a lease. Until its handler has returned, the job is not to be
// started again by this worker.
func (k *Keeper) lose(h *Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := k.held[h]; !there {
		return
	}
	delete(k.held, h)
	if !h.left.Load() {
		k.lost = append(k.lost, h)
		k.astray.Add(1)
	}
}

// inHand returns what this worker has in hand already of the job that is delivered as h: the
// same message, or another of the same life whose handler has not returned, even if its lease
// is lost. It returns nil if there is nothing.
func (k *Keeper) inHand(h *Delivery) *Delivery {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, o := range k.lost {
		if o.sameLife(h) && !o.left.Load() {
			return o
		}
	}
	for o := range k.held {
		if o.sameLife(h) && (o.Seq == h.Seq || !o.left.Load()) {
			return o
		}
	}
	return nil
}

// renewal is a request whose answer is awaited.
type renewal struct {
	held *Delivery
	sent time.Time
}

// renewals are those of one Run. Answers come on the connection's own goroutine, so that
// however many there are, none is dropped.
type renewals struct {
	mu      sync.Mutex
	waiting map[string]renewal // by the last token of its inbox
	next    int
}

func (r *renewals) add(h *Delivery) (token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	token = strconv.Itoa(r.next)
	r.waiting[token] = renewal{held: h, sent: time.Now()}
	return token
}

func (r *renewals) answered(m *nats.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	r.mu.Lock()
	asked, ok := r.waiting[token]
	delete(r.waiting, token)
	r.mu.Unlock()
	if ok && m.Header.Get(headerStatus) == "" {
		asked.held.lease.renewed(asked.sent, time.Now())
	}
}

// forget drops requests that can no longer matter: their lease is over.
func (r *renewals) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, asked := range r.waiting {
		if elapsed(asked.sent, now) > asked.held.lease.wait() {
			delete(r.waiting, token)
		}
	}
}

// Run renews, and guards the permits, until ctx ends. What is in hand stays so from one Run
// to the next.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.gate.Guard(ctx) })
	g.Go(func() error { return k.renew(ctx) })
	return g.Wait()
}

func (k *Keeper) renew(ctx context.Context) error {
	inbox := k.nc.NewInbox()
	asked := renewals{waiting: make(map[string]renewal)}
	sub, err := k.nc.Subscribe(inbox+".*", asked.answered)
	if err != nil {
		return wrap(err, "subscribe to renewals")
	}
	defer func() { _ = sub.Unsubscribe() }() // gone with the connection otherwise
	// As many answers as there are jobs in hand come at once, and all are small.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return wrap(err, "subscribe to renewals")
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
			timer.Reset(0)
		case <-timer.C:
			asked.forget(time.Now())
			for _, h := range k.round(time.Now()) {
				// An error means that nobody heard it; the next round tries again.
				_ = k.nc.PublishRequest(h.reply, inbox+"."+asked.add(h), []byte("+WPI"))
			}
			timer.Reset(k.pause())
		}
	}
}

func (k *Keeper) pause() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tick
}

// round drops the jobs whose lease is lost and returns those whose renewal is due.
func (k *Keeper) round(now time.Time) (due []*Delivery) {
	k.mu.Lock()
	k.lost = slices.DeleteFunc(k.lost, func(h *Delivery) bool { return h.left.Load() })
	k.astray.Store(int64(len(k.lost)))
	all := slices.Collect(maps.Keys(k.held))
	k.mu.Unlock()
	for _, h := range all {
		switch {
		case h.lease.check(now) != nil:
			k.lose(h)
		case h.lease.due(now):
			due = append(due, h)
		}
	}
	return due
}
