package registry

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// A grantState says what the bucket has under the key of this node's grant.
//
//	          stored                not answered
//	none ───────────────▶ held ◀────────────────────▶ unsure
//	  │                    ▲       read, and stored     ▲
//	  │    not answered    │                            │
//	  └────────────────────┼────────────────────────────┘
//	                       │ key gone (of a rate: not about to expire), and stored
//	                      lost ◀── none, held, unsure: not confirmed in time
//	                           ◀── held, unsure: the key is gone
//
// Only the become… methods change it.
type grantState int

const (
	grantNone   grantState = iota // nothing of ours; what ran before there was a limit runs on until the end
	grantHeld                     // what was confirmed last
	grantUnsure                   // that, or what a write said that was not answered
	grantLost                     // whatever it is, none of it may be used any more
)

// A holder keeps this node's grant of one limit: it asks the broker for permits, renews them in
// time, gives up what others need, and tells the limiter how many may be used. It belongs to the
// agent's goroutine, which has at most one request of it under way.
type holder struct {
	key     slots.Key
	node    string
	ttl     time.Duration
	store   *Store
	log     *slog.Logger
	limiter slots.Limiter
	limit   knownLimit

	state   grantState
	own     Grant     // as confirmed last; it holds nothing in the states none and lost
	rev     uint64    // of that; 0 before any write was confirmed
	since   time.Time // when the confirmed write was sent, before one was when the limit was seen: what may be used ends usable(ttl) later
	permits int       // that the limiter may use: 0 <= permits <= own.Held, never raised while unsure

	others map[string]Grant // by node, as read and heard; nil before the first read
	gone   int              // permits of a rate that nodes which are gone have used, or may have
	ledger *ledger          // what was read, if that is too much for one answer; nil: it is not

	wants, needs windowMax

	turn   int           // of the grant to be
	tookAt time.Time     // when it held something first, or again
	term   time.Duration // from then on, until it is another's turn

	schedule
}

// A schedule says when a holder acts next.
type schedule struct {
	refreshAt time.Time     // the grant is written again
	quiet     time.Time     // nothing before this except for refreshes
	readAt    time.Time     // until then, what was read of the others and heard since will do
	pollAt    time.Time     // the grant of a node that is silent is gone by then; zero: no such node, or nobody waits
	retryAt   time.Time     // nothing at all before this
	retry     time.Duration // the pause after the last error
	err       error         // of the last request, nil if it was answered well
	news      bool          // others or the limit changed since it was considered what to hold
	idle      Grant         // what this node said of itself then
}

// becomeNone begins, or begins again, without a grant: from then on for as long as a grant lasts,
// what runs may run on, and nothing starts.
func (h *holder) becomeNone(since time.Time) {
	h.state, h.own, h.rev, h.since, h.permits = grantNone, Grant{}, 0, since, 0
	h.limiter.Allow(0, h.until())
}

// becomeHeld takes over a write that was confirmed.
func (h *holder) becomeHeld(g Grant, rev uint64, sent time.Time) {
	h.state, h.own, h.rev, h.since, h.turn = grantHeld, g, rev, sent, g.Turn
}

// beginTerm is when the node may keep a permit for a while, though others wait.
func (h *holder) beginTerm(at time.Time) {
	h.tookAt, h.term = at, h.ttl+rand.N(h.ttl/5) // not all at once
}

// becomeUnsure notes that the bucket may have something newer than what was confirmed. Of a lost
// grant nothing is used anyway, and whatever the bucket has now is waited for.
func (h *holder) becomeUnsure() {
	if h.state != grantLost {
		h.state = grantUnsure
	}
}

// becomeLost gives everything up at once.
func (h *holder) becomeLost(why string) {
	used, _, _ := h.limiter.Use()
	if h.own.Held > 0 || used > 0 {
		h.log.Warn("permits lost", slog.String("reason", why), slog.String("pool", h.key.String()), slog.Bool("rate", h.key.Rate), slog.Int("held", h.own.Held), slog.Int("used", used))
	}
	h.state, h.own.Held, h.permits = grantLost, 0, 0
	h.refreshAt, h.pollAt = time.Time{}, time.Time{}
	h.limiter.Lose()
}

// expire notices that the grant was not confirmed in time.
func (h *holder) expire(now time.Time) {
	if h.state != grantLost && slots.Elapsed(h.since, now) >= usable(h.ttl) {
		h.becomeLost("not confirmed in time")
	}
}

// until is the end of what may be used.
func (h *holder) until() time.Time { return h.since.Add(usable(h.ttl)) }

// allow lets the limiter use this many permits. If that is fewer than are held, those that are
// free are given up at once, and those in use as they become free. What a write gave up that was
// not answered stays given up.
func (h *holder) allow(permits int) {
	if h.state == grantUnsure {
		permits = min(permits, h.permits)
	}
	if permits == h.permits || h.state == grantLost {
		return
	}
	h.tell(permits)
}

// tell tells the limiter what it may use and until when.
func (h *holder) tell(permits int) {
	h.permits = permits
	h.limiter.Allow(permits, h.until())
}

// changeLimit takes over a new limit. What is too much is given up before anybody is asked.
func (h *holder) changeLimit(now time.Time, l knownLimit) {
	h.limit, h.news = l, true
	h.refreshAt, h.quiet, h.retryAt = now, now, time.Time{} // who tells it answers
	if c := next(l.Jobs, h.view(h.me(now)), h.node); c.use < h.own.Held {
		h.allow(c.use)
	}
}

// hinted takes over what another node wrote.
func (h *holder) hinted(node string, g Grant) {
	if h.others == nil {
		return // the first read comes anyway
	}
	g.Held = max(g.Held, 0)
	if h.others[node] == g {
		return
	}
	h.news = true
	if g == (Grant{}) {
		delete(h.others, node)
		return
	}
	h.others[node] = g
}
