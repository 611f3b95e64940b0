package queue

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A Keeper renews the leases of all jobs in hand, each a third of its AckWait
// after the last time, and has the handlers of lost ones cancelled. Renewals are
// confirmed: one that the broker did not answer does not count.
type Keeper struct {
	nc *nats.Conn

	wake chan struct{} // tick became shorter

	mu   sync.Mutex
	held map[*Held]struct{}
	tick time.Duration // between rounds: two tries fit into the last third of the shortest lease
}

// NewKeeper returns a keeper that renews over the store's connection.
func NewKeeper(s *Store) *Keeper {
	return &Keeper{nc: s.nc, wake: make(chan struct{}, 1), held: make(map[*Held]struct{}), tick: time.Second}
}

// Keep has h renewed until [Keeper.Release] or until its lease is lost.
func (k *Keeper) Keep(h *Held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[h] = struct{}{}
	if t := max(h.lease.ackWait/12, 10*time.Millisecond); t < k.tick {
		k.tick = t
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// Release ends the renewal of h.
func (k *Keeper) Release(h *Held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, h)
}

// Held returns how many jobs are in hand.
func (k *Keeper) Held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held)
}

// renewal is a request whose answer is awaited.
type renewal struct {
	held *Held
	sent time.Time
}

// Run renews until ctx ends. What is in hand stays so from one Run to the next.
func (k *Keeper) Run(ctx context.Context) error {
	inbox := k.nc.NewInbox()
	answers := make(chan *nats.Msg, 1024)
	sub, err := k.nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return wrap(err, "subscribe to renewals")
	}
	defer func() { _ = sub.Unsubscribe() }() // gone with the connection otherwise

	waiting := make(map[string]renewal) // by the last token of its inbox
	next := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-answers:
			token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
			if r, ok := waiting[token]; ok && m.Header.Get(headerStatus) == "" {
				r.held.lease.renewed(r.sent, time.Now())
			}
			delete(waiting, token)
		case <-k.wake:
			timer.Reset(0)
		case <-timer.C:
			forget(waiting, time.Now())
			for _, h := range k.round(time.Now()) {
				next++
				token := strconv.Itoa(next)
				waiting[token] = renewal{held: h, sent: time.Now()}
				// An error means that nobody heard it; the next round tries again.
				_ = k.nc.PublishRequest(h.reply, inbox+"."+token, []byte("+WPI"))
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
func (k *Keeper) round(now time.Time) (due []*Held) {
	k.mu.Lock()
	all := slices.Collect(maps.Keys(k.held))
	k.mu.Unlock()
	for _, h := range all {
		switch {
		case h.lease.check(now) != nil:
			k.Release(h)
		case h.lease.due(now):
			due = append(due, h)
		}
	}
	return due
}

// forget drops requests that can no longer matter: their lease is over.
func forget(waiting map[string]renewal, now time.Time) {
	for token, r := range waiting {
		if elapsed(r.sent, now) > r.held.lease.ackWait {
			delete(waiting, token)
		}
	}
}
