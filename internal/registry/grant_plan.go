package registry

import (
	"context"
	"maps"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// How a holder behaves between two refreshes of its grant.
const (
	pollEvery   = 100 * time.Millisecond // at its limiter
	quietEach   = 5 * time.Millisecond   // pause after a write, for each node that shares the limit
	afterExpiry = 50 * time.Millisecond  // the broker takes a moment to notice
	pollAgain   = 250 * time.Millisecond // for a key that should be gone
)

// A request asks something of the broker, or writes something there.
type request func(context.Context) error

// act does what is due, if anything is.
func (h *holder) act(ctx context.Context, now time.Time) error {
	if do := h.plan(now); do != nil {
		return do(ctx)
	}
	return nil
}

// plan returns what is to be asked of the broker now, nil if that is nothing. It asks nothing
// itself.
func (h *holder) plan(now time.Time) request {
	poll := !h.pollAt.IsZero() && !now.Before(h.pollAt)
	switch {
	case h.limit.closed:
		h.stayClosed(now)
		return nil
	case now.Before(h.retryAt):
		return nil
	case poll, h.state == grantUnsure:
		return h.refresh
	case !now.Before(h.refreshAt):
		if me := h.me(now); h.waitsInTheCrowd(now, me) {
			return func(ctx context.Context) error { return h.keep(ctx, claim{}, me) }
		}
		return h.refresh
	case h.state == grantLost, now.Before(h.quiet):
		return nil
	}
	me := h.me(now)
	if !h.news && me.Held == 0 && me == h.idle {
		return nil // as before: who waits for a permit has nothing to do until it hears of one
	}
	h.news, h.idle = false, me
	return h.adapt(now, me)
}

// adapt is plan for a node that knows what it holds, needs and wants.
func (h *holder) adapt(now time.Time, me Grant) request {
	nodes := h.view(me)
	if slots.Elapsed(h.tookAt, now) >= h.term && yields(h.limit.Jobs, nodes, h.node) {
		h.turn = lastTurn(nodes)
		me.Turn = h.turn
		nodes[h.node] = me
	}
	if stays(h.limit.Jobs, nodes, h.node) {
		h.turn = 0
		h.beginTerm(now)
		me.Turn = h.turn
		nodes[h.node] = me
	}
	c := next(h.limit.Jobs, nodes, h.node)
	urgent := pressed(h.limit.Jobs, nodes, h.node)
	if c.use >= me.Held || urgent {
		h.allow(min(c.use, me.Held))
	}
	keep := func(ctx context.Context) error { return h.keep(ctx, c, me) }
	switch target := targets(h.limit.Jobs, nodes)[h.node]; {
	case c.hold > me.Held:
		return h.refresh
	case c.hold < me.Held && urgent:
		return keep
	default:
		// Others are to know of a target that they would not leave room for, and of one
		// that they leave room for in vain.
		known := targets(h.limit.Jobs, h.view(h.own))[h.node]
		if known != target && max(known, target) > me.Held {
			return keep
		}
	}
	return nil
}

// me is what this node holds, needs and wants at the moment.
func (h *holder) me(now time.Time) Grant {
	used, need, want := h.limiter.Use()
	if h.key.Rate && used >= h.own.Held && want > used {
		want = max(want, 2*h.own.Held) // short jobs use up a period's starts within a moment
	}
	want = min(h.wants.observe(now, max(want, used), wantWindow), max(h.limit.Jobs, used))
	need = min(h.needs.observe(now, need, needWindow), want)
	return Grant{Held: h.own.Held, Used: used, Need: need, Want: want, Turn: h.turn}
}

// view is who holds what as far as it is known, with me in it.
func (h *holder) view(me Grant) map[string]Grant {
	nodes := make(map[string]Grant, len(h.others)+2)
	maps.Copy(nodes, h.others)
	if h.gone > 0 {
		nodes[goneToken] = Grant{Held: h.gone, Used: h.gone}
	}
	nodes[h.node] = me
	return nodes
}

// crowd is the number of nodes from which on those that have no permit read less often what the
// others have, and write less often that they wait.
const crowd = 20

// waitsInTheCrowd reports whether the node has no permit and cannot have one now, among so many
// others that to read all of their grants each time would cost more than all else.
func (h *holder) waitsInTheCrowd(now time.Time, me Grant) bool {
	if h.state != grantHeld || me.Held > 0 || me.Used > 0 || len(h.others) < crowd || !now.Before(h.readAt) {
		return false
	}
	return next(h.limit.Jobs, h.view(me), h.node).hold == 0
}

// stayClosed keeps jobs from starting under a limit that nobody knows. What runs goes on.
func (h *holder) stayClosed(now time.Time) {
	if !now.Before(h.refreshAt) {
		h.becomeNone(now)
		h.refreshAt = now.Add(h.ttl / 3)
	}
}

// answered notes how the last request ended. After a refusal the next one waits a little
// longer each time, but never for so long that a grant would expire for it.
func (h *holder) answered(err error) {
	h.err = err
	if err == nil {
		h.retry = 0
		return
	}
	h.retry = min(max(2*h.retry, pollEvery), h.ttl/10, 5*time.Second)
	h.retryAt = time.Now().Add(h.retry)
}
