package stream

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

// A lease is the right to something until it is confirmed again. Its Err is asked by those who are about to
// use the right, and tells the time itself: a process that was stopped for long learns of it at once.
//
//nolint:containedctx // it is one
type lease struct {
	context.Context
	cancel context.CancelCauseFunc
	lasts  time.Duration // from when a confirmed request was sent
	cause  error         // of its loss

	mu    sync.Mutex
	since time.Time
	kept  bool // it was renewed
}

func newLease(lasts time.Duration, sent time.Time, cause error) *lease {
	l := &lease{lasts: lasts, since: sent, cause: cause}
	l.Context, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// Err ends the lease if its time is over.
func (l *lease) Err() error {
	if err := l.Context.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	over := elapsed(l.since, time.Now()) >= l.lasts
	l.mu.Unlock()
	if over {
		l.cancel(l.cause)
	}
	return l.Context.Err()
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
	held    map[*held]struct{}
	waiting map[string]renewal // by the last token of an inbox
	next    int
}

type renewal struct {
	of   *held
	sent time.Time
}

func newRenewals(nc *nats.Conn) *renewals {
	return &renewals{nc: nc, held: map[*held]struct{}{}, waiting: map[string]renewal{}}
}

func (r *renewals) keep(all []*held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range all {
		r.held[h] = struct{}{}
	}
}

func (r *renewals) release(all []*held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range all {
		delete(r.held, h)
	}
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
	all := slices.Collect(maps.Keys(r.held))
	r.mu.Unlock()
	due := map[string]*held{}
	for _, h := range all {
		lost := h.lease.Err() != nil
		r.mu.Lock()
		switch {
		case lost:
			delete(r.held, h)
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
