package queue

import (
	"sync"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// A lease is a worker's right to a job that it holds. It lasts until AckWait after the last request
// that started or renewed it was sent, less a margin. The broker starts its own clock later, when it
// handles the request, so the worker always gives up first.
//
// Renewal is no fence: the broker also confirms one from a worker that has lost the job. So a lease
// past its deadline is lost for good, whatever is confirmed later.
type lease struct {
	ackWait time.Duration // unless there is a tenure, which knows better
	tenure  *tenure       // nil: the consumer never changes

	mu      sync.Mutex
	since   time.Time // when the request was sent
	kept    bool      // it was renewed
	lost    bool
	revoked bool        // the job lost a permit: it must stop, and is still this worker's
	onLost  func(error) // called once, by whoever finds that out first
}

func newLease(ackWait time.Duration, sent time.Time) *lease {
	return &lease{ackWait: ackWait, since: sent}
}

// wait is how long the broker waits for a renewal.
func (l *lease) wait() time.Duration {
	if l.tenure != nil {
		return l.tenure.wait()
	}
	return l.ackWait
}

// void reports whether the broker has forgotten the lease.
func (l *lease) void() bool { return l.tenure != nil && l.tenure.over.Load() }

// margin covers the time between a check and the write that it allows. It also covers that a broker
// which restarts knows its leases only to the second, rounded down.
func margin(ackWait time.Duration) time.Duration {
	return max(ackWait/10, min(storedPrecision+100*time.Millisecond, ackWait/3))
}

const storedPrecision = time.Second // nats-server: encodeConsumerState

// check returns [ErrLeaseLost] from the deadline on.
func (l *lease) check(now time.Time) error {
	l.mu.Lock()
	if wait := l.wait(); !l.lost && !l.void() && slots.Elapsed(l.since, now) < wait-margin(wait) {
		l.mu.Unlock()
		return nil
	}
	l.lose()
	return ErrLeaseLost
}

// letGo ends the lease before its time.
func (l *lease) letGo() {
	l.mu.Lock()
	l.lose()
}

// lose ends the lease, whose mutex it unlocks.
func (l *lease) lose() {
	tell := l.onLost
	l.lost, l.onLost = true, nil
	l.mu.Unlock()
	if tell != nil {
		tell(ErrLeaseLost)
	}
}

// Revoke tells that a permit was lost.
func (l *lease) Revoke() {
	l.mu.Lock()
	tell := l.onLost
	l.revoked, l.onLost = true, nil
	l.mu.Unlock()
	if tell != nil {
		tell(slots.ErrPermitLost)
	}
}

// alive is check, now.
func (l *lease) alive() error { return l.check(time.Now()) }

// renewed extends the lease from a renewal that was sent at sent and confirmed by now.
func (l *lease) renewed(sent, now time.Time) {
	if l.check(now) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = true
	if sent.After(l.since) {
		l.since = sent
	}
}

// regain restarts the lease when the broker has handed the job out again to this same worker, by a
// request that was sent at sent. It reports false if the lease was lost before: what was stopped
// stays stopped.
func (l *lease) regain(sent time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost || l.void() {
		return false
	}
	l.kept = true
	if sent.After(l.since) {
		l.since = sent
	}
	return true
}

// until is the deadline as it stands.
func (l *lease) until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.wait()
	return l.since.Add(wait - margin(wait))
}

// due reports whether the lease needs a renewal: from a third of AckWait on, and a first one at once.
// Until the first one, the broker has stored the time of publishing where the time of delivery
// belongs (nats-server: deliverMsg). After a restart or a change of leader it would hand a job that
// had waited for long to another worker as well.
func (l *lease) due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lost && (!l.kept || slots.Elapsed(l.since, now) >= l.wait()/3)
}

// watch sets what happens when the lease or a permit is lost, at once if it is.
func (l *lease) watch(onLost func(cause error)) {
	l.mu.Lock()
	lost, revoked := l.lost, l.revoked
	if !lost && !revoked {
		l.onLost = onLost
	}
	l.mu.Unlock()
	switch {
	case lost:
		onLost(ErrLeaseLost)
	case revoked:
		onLost(slots.ErrPermitLost)
	}
}
