package stream

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	internal "github.com/millhand/millhand/internal/stream"
)

// ErrLeaseLost is the cause of the contexts of messages whose renewal the broker did not confirm in time:
// they may be in other hands.
var ErrLeaseLost = job.ErrLeaseLost

// elapsed is the larger of monotonic and wall time: Go's monotonic clock stands still while a machine is
// suspended.
func elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// A lease is the right to something until it is confirmed again, and a context that ends with that. Its Err is
// asked by those who are about to use the right, and tells the time itself: a process that was stopped for long
// learns of it at once. There is one for each message in hand, and hardly any is waited for, so it is a context of
// the usual kind only once somebody asks for Done.
type lease struct {
	lasts time.Duration // from when a confirmed request was sent
	cause error         // of its loss

	mu     sync.Mutex
	since  time.Time
	kept   bool            // it was renewed
	lost   error           // nil: it is not
	ending context.Context //nolint:containedctx // what Done is of; nil: nobody has asked
	end    context.CancelCauseFunc
}

func newLease(lasts time.Duration, sent time.Time, cause error) *lease {
	return &lease{lasts: lasts, since: sent, cause: cause}
}

// Deadline is none: it moves.
func (l *lease) Deadline() (time.Time, bool) { return time.Time{}, false }

func (l *lease) Done() <-chan struct{} { return l.wait().Done() }

// Err ends the lease if its time is over.
func (l *lease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil && elapsed(l.since, time.Now()) >= l.lasts {
		l.lose(l.cause)
	}
	if l.lost != nil {
		return context.Canceled
	}
	return nil
}

// Value has the cause of the end only: it is what context.Cause asks for.
func (l *lease) Value(key any) any {
	l.mu.Lock()
	none := l.lost == nil && l.ending == nil
	l.mu.Unlock()
	if none {
		return nil
	}
	return l.wait().Value(key)
}

// wait returns a context that ends with the lease.
func (l *lease) wait() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending == nil {
		l.ending, l.end = context.WithCancelCause(context.Background())
		if l.lost != nil {
			l.end(l.lost)
		}
	}
	return l.ending
}

// cancel ends the lease.
func (l *lease) cancel(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose(cause)
}

// lose is cancel, with mu held.
func (l *lease) lose(cause error) {
	if l.lost != nil {
		return
	}
	l.lost = cause
	if l.end != nil {
		l.end(cause)
	}
}

// renew takes over a request that was sent at sent and is confirmed now. What is lost stays so.
func (l *lease) renew(sent time.Time) {
	if l.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = true
	if sent.After(l.since) {
		l.since = sent
	}
}

// due reports whether it is to be renewed: a first time soon, since until then the broker has stored when
// the message was published in the place of when it was delivered (see internal/queue).
func (l *lease) due(now time.Time, every time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.kept || elapsed(l.since, now) >= every
}

// renewalTick is the time between two looks at what is due: two tries fit into the last third of a lease.
const renewalTick = minAckWait / 12

// renewals renews the leases of the messages that one process has in hand.
type renewals struct {
	nc      *nats.Conn
	ackWait atomic.Int64

	mu      sync.Mutex
	first   *held              // of those in hand
	waiting map[string]renewal // by the last token of an inbox
	next    int
}

type renewal struct {
	of   *held
	sent time.Time
}

func newRenewals(nc *nats.Conn) *renewals {
	return &renewals{nc: nc, waiting: map[string]renewal{}}
}

func (r *renewals) keep(all []*held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range all {
		h.kept, h.next = true, r.first
		if r.first != nil {
			r.first.prev = h
		}
		r.first = h
	}
}

func (r *renewals) release(all []*held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range all {
		r.drop(h)
	}
}

// drop is release of one, with mu held.
func (r *renewals) drop(h *held) {
	if !h.kept {
		return
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		r.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.kept, h.prev, h.next = false, nil, nil
}

// run renews until ctx ends. Answers come on the connection's goroutine, so that none is dropped.
func (r *renewals) run(ctx context.Context) error {
	inbox := r.nc.NewInbox()
	sub, err := r.nc.Subscribe(inbox+".*", r.answered)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // gone with the connection otherwise
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	tick := time.NewTicker(renewalTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for token, h := range r.round(time.Now()) {
				_ = r.nc.PublishRequest(h.reply, inbox+"."+token, []byte("+WPI")) // unheard: the next round tries again
			}
		}
	}
}

// round forgets what is lost, and returns what is due by the tokens of the answers.
func (r *renewals) round(now time.Time) map[string]*held {
	wait := time.Duration(r.ackWait.Load())
	r.mu.Lock()
	var all []*held
	for h := r.first; h != nil; h = h.next {
		all = append(all, h)
	}
	r.mu.Unlock()
	due := map[string]*held{}
	for _, h := range all {
		lost := h.lease.Err() != nil
		r.mu.Lock()
		switch {
		case lost:
			r.drop(h)
		case h.lease.due(now, wait/3):
			r.next++
			token := strconv.Itoa(r.next)
			r.waiting[token] = renewal{h, now}
			due[token] = h
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.waiting, func(_ string, w renewal) bool { return elapsed(w.sent, now) > wait })
	return due
}

func (r *renewals) answered(m *nats.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	r.mu.Lock()
	asked, ok := r.waiting[token]
	delete(r.waiting, token)
	r.mu.Unlock()
	if ok && m.Header.Get(internal.HeaderStatus) == "" {
		asked.of.lease.renew(asked.sent)
	}
}
