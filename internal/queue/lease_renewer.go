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

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A Renewer renews the leases of all jobs in hand, each a third of its AckWait after the last time,
// and has the handlers of lost ones cancelled. Renewals are confirmed: one that the broker did not
// answer does not count.
type Renewer struct {
	nc *nats.Conn

	wake chan struct{} // tick became shorter

	astray atomic.Int64 // len(lost)
	renewed

	mu   sync.Mutex
	held map[*Delivery]struct{}
	lost []*Delivery   // their lease is lost and their handler has not returned
	tick time.Duration // between rounds: two tries fit into the last third of the shortest lease
}

// NewRenewer returns a renewer that renews over the store's connection.
func NewRenewer(s *Store) *Renewer {
	return &Renewer{nc: s.nc, wake: make(chan struct{}, 1), held: make(map[*Delivery]struct{}), tick: time.Second}
}

// Keep has h renewed until [Renewer.Release] or until its lease is lost.
func (r *Renewer) Keep(h *Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[h] = struct{}{}
	if t := max(h.lease.wait()/12, 10*time.Millisecond); t < r.tick {
		r.tick = t
		wake(r.wake)
	}
}

// Release ends the renewal of h.
func (r *Renewer) Release(h *Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, h)
}

func (r *Renewer) release(ts []*settlement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range ts {
		delete(r.held, t.Delivery)
	}
}

// InHand returns how many jobs are in hand.
func (r *Renewer) InHand() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)
}

// CountInHand calls f with the queue and the type of each job in hand. It must not block.
func (r *Renewer) CountInHand(f func(queue, typ string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.held {
		f(h.Queue, h.Type)
	}
}

// Has reports whether a job is in hand.
func (r *Renewer) Has(queue, typ, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.held {
		if h.ID == id && h.Type == typ && h.Queue == queue {
			return true
		}
	}
	return false
}

// lose is Release for a job whose lease is lost. This worker must not start the job again until its
// handler has returned.
func (r *Renewer) lose(h *Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.held[h]; !there {
		return
	}
	delete(r.held, h)
	if !h.left.Load() {
		r.lost = append(r.lost, h)
		r.astray.Add(1)
	}
}

// inHand returns the delivery that this worker already has in hand of the job that is delivered as h:
// the same message, or another of the same life whose handler has not returned, even if its lease is
// lost. It returns nil if there is none.
func (r *Renewer) inHand(h *Delivery) *Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.lost {
		if o.sameLife(h) && !o.left.Load() {
			return o
		}
	}
	for o := range r.held {
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

// renewals are those of one Run. Answers come on the connection's own goroutine, so that none is
// dropped, however many there are.
type renewals struct {
	mu      sync.Mutex
	waiting map[string]renewal // by the last token of its inbox
	next    int

	*renewed
}

// renewed counts the renewals of a renewer, by what came of them.
type renewed struct {
	confirmed, failed atomic.Uint64
	took              atomic.Pointer[func(time.Duration)] // nil: nobody is told
}

// Renewals returns how many renewals the broker confirmed, and how many not.
func (r *Renewer) Renewals() (confirmed, failed uint64) {
	return r.renewed.confirmed.Load(), r.renewed.failed.Load()
}

// OnRenewed has f told how long the answer to each renewal took. It must not block.
func (r *Renewer) OnRenewed(f func(took time.Duration)) { r.took.Store(&f) }

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
	if f := r.took.Load(); ok && f != nil {
		(*f)(time.Since(asked.sent))
	}
	switch {
	case !ok:
	case m.Header.Get(stream.HeaderStatus) == "":
		r.confirmed.Add(1)
		asked.held.lease.renewed(asked.sent, time.Now())
	default:
		r.failed.Add(1)
	}
}

// forget drops requests that can no longer matter: their lease is over.
func (r *renewals) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, asked := range r.waiting {
		if slots.Elapsed(asked.sent, now) > asked.held.lease.wait() {
			delete(r.waiting, token)
			r.failed.Add(1)
		}
	}
}

// Run renews until ctx ends. What is in hand stays so from one Run to the next.
func (r *Renewer) Run(ctx context.Context) error {
	inbox := r.nc.NewInbox()
	asked := renewals{waiting: make(map[string]renewal), renewed: &r.renewed}
	sub, err := r.nc.Subscribe(inbox+".*", asked.answered)
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
		case <-r.wake:
			timer.Reset(0)
		case <-timer.C:
			asked.forget(time.Now())
			for _, h := range r.round(time.Now()) {
				// An error means that nobody heard it; the next round tries again.
				_ = r.nc.PublishRequest(h.reply, inbox+"."+asked.add(h), []byte("+WPI"))
			}
			timer.Reset(r.pause())
		}
	}
}

func (r *Renewer) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tick
}

// round drops the jobs whose lease is lost and returns those whose renewal is due.
func (r *Renewer) round(now time.Time) (due []*Delivery) {
	r.mu.Lock()
	r.lost = slices.DeleteFunc(r.lost, func(h *Delivery) bool { return h.left.Load() })
	r.astray.Store(int64(len(r.lost)))
	all := slices.Collect(maps.Keys(r.held))
	r.mu.Unlock()
	for _, h := range all {
		switch {
		case h.lease.check(now) != nil:
			r.lose(h)
		case h.lease.due(now):
			due = append(due, h)
		}
	}
	return due
}
