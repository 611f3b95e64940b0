package registry

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// How often a grant is computed again after others wrote meanwhile.
const (
	growTries   = 6
	conflictMax = 8 * time.Millisecond // pause before the first of them, at most; twice that before the next
)

// A condition refuses a write if anything newer than a revision was written to a key, or to any
// that a wildcard matches; 0 means anything at all.
type condition struct {
	on  string
	rev uint64
}

// ownKey is the condition of a write that does not raise the sum: our grant is as we wrote it.
func (h *holder) ownKey() condition { return condition{grantKey(h.key, h.node), h.rev} }

// allKeys is the condition of a write that raises the sum: nothing of the limit and its grants
// was written since they were read.
func (h *holder) allKeys(r reading) condition { return condition{grantsOf(h.key), r.newest} }

// keep writes the grant again, unchanged or smaller, without reading first: it does not raise the
// sum. That is of use only while it is known what the bucket has.
func (h *holder) keep(ctx context.Context, c claim, me Grant) error {
	if h.state != grantHeld {
		return h.refresh(ctx)
	}
	err := h.write(ctx, c, me, h.ownKey())
	if errors.Is(err, stream.ErrConflict) {
		if err := h.verify(ctx); err != nil {
			return err
		}
		return h.refresh(ctx)
	}
	return err
}

// verify learns what became of the grant after a write to it was refused or it was not
// found: nobody else writes to the key, so it is there, or it is lost.
func (h *holder) verify(ctx context.Context) error {
	_, err := h.store.bucket.Get(ctx, grantKey(h.key, h.node))
	switch {
	case errors.Is(err, stream.ErrNotFound):
		h.becomeLost("gone from the registry")
	case err != nil:
		return err
	default:
		h.becomeUnsure()
	}
	return nil
}

// refresh reads the grants, and writes what this node is to hold.
func (h *holder) refresh(ctx context.Context) error {
	for try := range growTries {
		again, err := h.tryRefresh(ctx)
		if err != nil || !again {
			return err
		}
		if err := stream.Sleep(ctx, rand.N(conflictMax<<try)); err != nil {
			return err
		}
	}
	return nil // the others are at it: the next look is soon
}

// tryRefresh reports whether somebody wrote between its read and its write. The read may be old,
// which the condition of the write finds out.
func (h *holder) tryRefresh(ctx context.Context) (again bool, err error) {
	r, err := h.readGrants(ctx)
	if err != nil {
		return false, err
	}
	now := time.Now()
	h.expire(now)
	if h.rev != 0 && !r.mine && h.state != grantLost {
		if err := h.verify(ctx); err != nil {
			return false, err
		}
	}
	if h.mustWait(now, r) {
		h.refreshAt, h.retryAt = now.Add(pollAgain), now.Add(pollAgain)
		return false, nil
	}
	me := h.me(now)
	c := next(h.limit.Jobs, h.view(me), h.node)
	if h.state == grantHeld && c.hold <= me.Held {
		if err = h.write(ctx, c, me, h.ownKey()); errors.Is(err, stream.ErrConflict) {
			return true, h.verify(ctx)
		}
	} else if err = h.write(ctx, c, me, h.allKeys(r)); errors.Is(err, stream.ErrConflict) {
		if h.ledger != nil {
			h.ledger.refused = true
		}
		return true, nil
	}
	h.planPolls(r)
	return false, err
}

// mustWait reports whether nothing may be written yet: what a lost grant stands for runs, or is
// about to end; or the limit is not there. Then it was removed, as we are to hear soon, or the
// bucket was lost, and the limit comes.
func (h *holder) mustWait(now time.Time, r reading) bool {
	if h.state == grantLost && r.mine && !h.renewable(now, r) {
		return true
	}
	return !r.limited && h.state != grantHeld
}

// renewable reports whether a lost grant may be written again though its key is there. That of
// a rate may: the limiter counts what started on it. But not about when the key expires, which
// might take the new one with it.
func (h *holder) renewable(now time.Time, r reading) bool {
	return h.key.Rate && slots.Elapsed(h.since, now) < r.ttl-Margin(h.ttl)
}

// write puts the grant of a claim under a condition. What is more than that is given up before,
// and what it may not use is not used after. It returns [stream.ErrConflict] if the condition does
// not hold.
func (h *holder) write(ctx context.Context, c claim, me Grant, only condition) error {
	shrinks := c.hold < h.own.Held
	if shrinks {
		h.allow(c.use)
	}
	used, _, _ := h.limiter.Use()
	if shrinks {
		c.hold = min(max(c.hold, used), h.own.Held)
	}
	g := Grant{Held: c.hold, Used: used, Need: me.Need, Want: me.Want, Turn: h.turn}
	takes := h.own.Held == 0 && g.Held > 0
	if takes {
		g.Turn = 0
	}
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	sent := time.Now()
	rev, err := h.store.bucket.Put(ctx, stream.Write{
		Key: grantKey(h.key, h.node), Value: value, TTL: h.keyTTL(g), On: only.on, Rev: only.rev,
	})
	if errors.Is(err, stream.ErrConflict) {
		return err
	}
	if err != nil {
		h.becomeUnsure()
		return err
	}
	if takes {
		h.beginTerm(sent)
	}
	tells := h.tells(g)
	h.becomeHeld(g, rev, sent)
	h.planRefresh()
	h.expire(time.Now()) // an answer that took too long confirms nothing
	if h.state == grantLost {
		return nil
	}
	h.tell(c.use)
	if tells {
		h.store.hint(h.key, h.node, g)
	}
	return nil
}

// tells reports whether a grant is worth a hint: others may not know it, and it is about more than
// what is used.
func (h *holder) tells(g Grant) bool {
	known := h.own
	known.Used = g.Used
	return h.state != grantHeld || known != g
}

// planRefresh sets when the grant that was just confirmed is written again.
func (h *holder) planRefresh() {
	h.news = true
	h.refreshAt = h.since.Add(h.ttl/3 - rand.N(h.ttl/30))
	if h.own.Held == 0 && len(h.others) >= crowd {
		h.refreshAt = h.since.Add(h.ttl/2 - rand.N(h.ttl/10))
	}
	h.quiet = h.since.Add(time.Duration(len(h.others)) * quietEach)
}

// keyTTL is the TTL of the key of a grant. Only what was started under a rate counts for its
// period: who holds nothing and has started nothing leaves nothing behind.
func (h *holder) keyTTL(g Grant) time.Duration {
	if g.Held == 0 && g.Used == 0 {
		return h.ttl
	}
	return keyTTL(h.ttl, h.limit.Limit)
}

// remove takes the node's grant away.
func (h *holder) remove(ctx context.Context) {
	_, err := h.store.bucket.Put(ctx, stream.Write{Key: grantKey(h.key, h.node), Remove: true, TTL: stream.MarkerTTL})
	if err == nil {
		h.store.hint(h.key, h.node, Grant{})
	} // else it expires
}

// giveBack returns, at the end of the node, what nothing runs on. Starts of the period that
// has not passed stay in the way of others until it has.
func (h *holder) giveBack(ctx context.Context) {
	used, _, _ := h.limiter.Use()
	switch {
	case h.rev == 0: // nothing was confirmed
	case used == 0:
		h.remove(ctx)
	case h.key.Rate && h.state != grantLost:
		g := Grant{Held: min(used, h.own.Held), Used: used}
		if value, err := json.Marshal(g); err == nil {
			_, _ = h.store.bucket.Put(ctx, stream.Write{Key: grantKey(h.key, h.node), Value: value, TTL: aging(h.limit.Per)}) // or it expires later
		}
	}
}
