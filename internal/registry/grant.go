package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// How a node behaves between two refreshes of its grant.
const (
	lookEvery   = 100 * time.Millisecond // at its limiters
	quietEach   = 5 * time.Millisecond   // pause after a write, for each node of the pool
	growTries   = 6                      // after others wrote meanwhile
	conflictMax = 8 * time.Millisecond   // pause before the first of them, at most
	afterExpiry = 50 * time.Millisecond  // the broker takes a moment to notice
	lookAgain   = 250 * time.Millisecond // for a key that should be gone
)

// A pool is this node's part in a limit: the life of its grant. It belongs to the agent's
// goroutine.
type pool struct {
	key     slots.Key
	node    string
	ttl     time.Duration
	store   *Store
	log     *slog.Logger
	limiter slots.Limiter

	limit    Limit
	limitRev uint64

	own    Grant     // as confirmed
	rev    uint64    // of that; 0: there is none
	unsure bool      // a write was not answered: the bucket may have a newer one
	sent   time.Time // when the confirmed write was sent or, before one was, the limit seen
	lost   bool      // that is too long ago; of a quota, nothing is written before the key is gone
	open   int       // permits that the limiter may use, at most those held
	others map[string]Grant
	gone   int     // permits of a rate that nodes which are gone have used, or may have
	ledger *ledger // what was read, if that is too much for one answer; nil: it is not
	closed bool    // the limit is there, cannot be read and was never known: nothing starts
	news   bool    // others or the limit changed since this node considered what to hold
	idle   Grant   // what it said of itself then
	wish   wish
	need   wish // of permits that jobs wait for

	turn   int           // of the grant to be
	tookAt time.Time     // when it held something first, or again
	term   time.Duration // from then on, until it is another's turn

	refreshAt time.Time
	readAt    time.Time // until then, what was read of the others and heard since will do
	quiet     time.Time // not before this, but for refreshes
	err       error     // of the last request, nil if it was answered well
	retryAt   time.Time // after such an error, not before this
	retry     time.Duration
	lookAt    time.Time // when the grant of a node that is silent is gone; zero: no such node, or nobody waits
}

// expired notices that the grant was not refreshed in time, and gives it up.
func (p *pool) expired(now time.Time) {
	if p.lost || slots.Elapsed(p.sent, now) < usable(p.ttl) {
		return
	}
	p.lose("not confirmed in time")
}

func (p *pool) lose(why string) {
	used, _, _ := p.limiter.Use()
	if p.own.Held > 0 || used > 0 {
		p.log.Warn("permits lost", slog.String("reason", why), slog.String("pool", p.key.String()), slog.Bool("rate", p.key.Rate), slog.Int("held", p.own.Held), slog.Int("used", used))
	}
	p.lost, p.own.Held, p.open = true, 0, 0
	p.refreshAt, p.lookAt = time.Time{}, time.Time{}
	p.limiter.Lose()
}

// me is what this node holds, needs and wants at the moment.
func (p *pool) me(now time.Time) Grant {
	used, need, want := p.limiter.Use()
	if p.key.Rate && used >= p.own.Held && want > used {
		want = max(want, 2*p.own.Held) // short jobs use up a period's starts within a moment
	}
	want = min(p.wish.see(now, max(want, used), wishWindow), max(p.limit.Jobs, used))
	return Grant{Held: p.own.Held, Used: used, Need: min(p.need.see(now, need, needWindow), want), Want: want, Turn: p.turn}
}

// view is the pool as far as it is known, with me in it.
func (p *pool) view(me Grant) map[string]Grant {
	nodes := make(map[string]Grant, len(p.others)+2)
	maps.Copy(nodes, p.others)
	if p.gone > 0 {
		nodes[goneToken] = Grant{Held: p.gone, Used: p.gone}
	}
	nodes[p.node] = me
	return nodes
}

// act does what is due, if anything is.
func (p *pool) act(ctx context.Context, now time.Time) error {
	do := p.consider(now)
	if do == nil {
		return nil
	}
	return do(ctx)
}

// consider returns what is to be asked of the broker now, nil if that is nothing. It asks
// nothing itself.
func (p *pool) consider(now time.Time) (do func(context.Context) error) {
	switch look := !p.lookAt.IsZero() && !now.Before(p.lookAt); {
	case p.closed:
		p.stayClosed(now)
		return nil
	case now.Before(p.retryAt):
		return nil
	case look || p.unsure && !p.lost:
		return p.refresh
	case !now.Before(p.refreshAt):
		if me := p.me(now); p.waitsInTheCrowd(now, me) {
			return func(ctx context.Context) error { return p.keep(ctx, 0, 0, me) }
		}
		return p.refresh
	case p.lost || now.Before(p.quiet):
		return nil
	}
	me := p.me(now)
	if !p.news && me.Held == 0 && me == p.idle {
		return nil // as before: who waits for a permit has nothing to do but to hear of one
	}
	p.news, p.idle = false, me
	return p.adapt(now, me)
}

// crowd is from how many nodes on those that have no permit read less often what the others have,
// and write less often that they wait.
const crowd = 20

// waitsInTheCrowd reports whether the node has no permit and cannot have one now, among so many
// others that to read of all of them each time would cost more than all else.
func (p *pool) waitsInTheCrowd(now time.Time, me Grant) bool {
	if p.lost || p.rev == 0 || me.Held > 0 || me.Used > 0 || len(p.others) < crowd || !now.Before(p.readAt) {
		return false
	}
	hold, _ := next(p.limit.Jobs, p.view(me), p.node)
	return hold == 0
}

// adapt is consider for who knows what it holds, needs and wants.
func (p *pool) adapt(now time.Time, me Grant) (do func(context.Context) error) {
	nodes := p.view(me)
	if slots.Elapsed(p.tookAt, now) >= p.term && yields(p.limit.Jobs, nodes, p.node) {
		p.turn = lastTurn(nodes)
		me.Turn = p.turn
		nodes[p.node] = me
	}
	hold, use := next(p.limit.Jobs, nodes, p.node)
	urgent := pressed(p.limit.Jobs, nodes, p.node)
	if use >= me.Held || urgent {
		p.allow(min(use, me.Held))
	}
	keep := func(ctx context.Context) error { return p.keep(ctx, hold, use, me) }
	switch target := targets(p.limit.Jobs, nodes)[p.node]; {
	case hold > me.Held:
		return p.refresh
	case hold < me.Held && urgent:
		return keep
	default:
		// Others are to know of a target that they would not leave room for, and of one
		// that they leave room for in vain.
		told := targets(p.limit.Jobs, p.view(p.own))[p.node]
		if told != target && max(told, target) > me.Held {
			return keep
		}
	}
	return nil
}

// stayClosed keeps jobs from starting under a limit that nobody knows. What runs goes on.
func (p *pool) stayClosed(now time.Time) {
	if now.Before(p.refreshAt) {
		return
	}
	p.sent, p.lost, p.refreshAt = now, false, now.Add(p.ttl/3)
	p.limiter.Allow(0, p.until())
}

// answered notes how the last request ended. After a refusal the next one waits a little
// longer each time, but never for so long that a grant would expire for it.
func (p *pool) answered(err error) {
	p.err = err
	if err == nil {
		p.retry = 0
		return
	}
	p.retry = min(max(2*p.retry, lookEvery), p.ttl/10, 5*time.Second)
	p.retryAt = time.Now().Add(p.retry)
}

// keep writes the grant anew, unchanged or smaller, without reading first: it does not raise
// the sum.
func (p *pool) keep(ctx context.Context, hold, use int, me Grant) error {
	if p.rev == 0 || p.unsure {
		return p.refresh(ctx)
	}
	err := p.write(ctx, hold, use, me, grantKey(p.key, p.node), p.rev)
	if errors.Is(err, stream.ErrConflict) {
		if err := p.verify(ctx); err != nil {
			return err
		}
		return p.refresh(ctx)
	}
	return err
}

// verify learns what became of the grant after a write to it was refused or it was not
// found: nobody else writes to the key, so it is there, or it is lost.
func (p *pool) verify(ctx context.Context) error {
	_, err := p.store.bucket.Get(ctx, grantKey(p.key, p.node))
	switch {
	case errors.Is(err, stream.ErrNotFound):
		p.lose("gone from the registry")
		return nil
	case err != nil:
		return err
	}
	p.unsure = true
	return nil
}

// refresh reads the pool, and writes what this node is to hold.
func (p *pool) refresh(ctx context.Context) error {
	for try := range growTries {
		again, err := p.tryRefresh(ctx)
		if err != nil || !again {
			return err
		}
		if err := stream.Sleep(ctx, rand.N(conflictMax<<try)); err != nil {
			return err
		}
	}
	return nil // the others are at it: the next look is soon
}

// tryRefresh reports whether somebody wrote between its read and its write. The read
// may be old, which the condition of the write finds out.
func (p *pool) tryRefresh(ctx context.Context) (again bool, err error) {
	entries, err := p.read(ctx)
	if err != nil {
		return false, err
	}
	now := time.Now()
	p.expired(now)
	s := p.survey(entries)
	if p.rev != 0 && !s.mine && !p.lost {
		if err := p.verify(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case p.lost && s.mine && !p.renewable(now, s): // what it stands for runs, or is about to end: not before it is gone
		p.refreshAt = now.Add(lookAgain)
		return false, nil
	case p.lost:
		p.rev, p.unsure = 0, false
	}
	if !s.limited && p.rev == 0 { // removed, as we are to hear soon; or the bucket was lost, and the limit comes
		p.refreshAt = now.Add(lookAgain)
		return false, nil
	}
	me := p.me(now)
	nodes := p.view(me)
	hold, use := next(p.limit.Jobs, nodes, p.node)
	if p.rev == 0 || p.unsure || hold > me.Held {
		err = p.write(ctx, hold, use, me, grantsOf(p.key), s.last)
	} else if err = p.write(ctx, hold, use, me, grantKey(p.key, p.node), p.rev); errors.Is(err, stream.ErrConflict) {
		return true, p.verify(ctx)
	}
	if errors.Is(err, stream.ErrConflict) {
		if p.ledger != nil {
			p.ledger.refused = true
		}
		return true, nil
	}
	p.plan(s)
	return false, err
}

// renewable reports whether a lost grant may be written anew though its key is there. That of
// a rate may: the limiter counts what started on it. But not about when the key expires, which
// might take the new one with it.
func (p *pool) renewable(now time.Time, s survey) bool {
	return p.key.Rate && slots.Elapsed(p.sent, now) < s.ttl-Margin(p.ttl)
}

// write puts the grant under a condition. What is more than hold is given up before, and
// more than use is not used after.
func (p *pool) write(ctx context.Context, hold, use int, me Grant, on string, rev uint64) error {
	if hold < p.own.Held {
		p.allow(use)
	}
	used, _, _ := p.limiter.Use()
	if hold < p.own.Held {
		hold = min(max(hold, used), p.own.Held)
	}
	g := Grant{Held: hold, Used: used, Need: me.Need, Want: me.Want, Turn: p.turn}
	took := p.own.Held == 0 && hold > 0
	if took {
		g.Turn = 0
	}
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	sent := time.Now()
	rev, err = p.store.bucket.Put(ctx, stream.Write{
		Key: grantKey(p.key, p.node), Value: value, TTL: p.keyTTL(g), On: on, Rev: rev,
	})
	if err != nil {
		p.unsure = p.unsure || !errors.Is(err, stream.ErrConflict)
		return err
	}
	if took {
		p.tookAt, p.term = sent, p.ttl+rand.N(p.ttl/5) // not all at once
	}
	told := p.own
	told.Used = g.Used
	changed := told != g || p.rev == 0
	p.turn, p.own, p.rev, p.sent, p.unsure, p.lost, p.news = g.Turn, g, rev, sent, false, false, true
	p.refreshAt = sent.Add(p.ttl/3 - rand.N(p.ttl/30))
	if g.Held == 0 && len(p.others) >= crowd {
		p.refreshAt = sent.Add(p.ttl/2 - rand.N(p.ttl/10))
	}
	p.quiet = sent.Add(time.Duration(len(p.others)) * quietEach)
	p.expired(time.Now()) // an answer that took too long confirms nothing
	if p.lost {
		return nil
	}
	p.open = -1 // the limiter is to hear of the new end in any case
	p.allow(use)
	if changed {
		p.store.hint(p.key, p.node, g)
	}
	return nil
}

// keyTTL is the TTL of the key of a grant. Only what was started under a rate counts for its
// period: who holds nothing and has started nothing leaves nothing behind.
func (p *pool) keyTTL(g Grant) time.Duration {
	if g.Held == 0 && g.Used == 0 {
		return p.ttl
	}
	return keyTTL(p.ttl, p.limit)
}

// allow lets the limiter use so many permits. If that is fewer than are held, those that are
// free are given up at once, and those in use as they become free. What a write gave up that
// was not answered stays given up.
func (p *pool) allow(permits int) {
	if p.unsure {
		permits = min(permits, p.open)
	}
	if permits == p.open || p.lost {
		return
	}
	p.open = permits
	p.limiter.Allow(permits, p.until())
}

// until is the end of the grant.
func (p *pool) until() time.Time { return p.sent.Add(usable(p.ttl)) }

// limited takes over a new limit. What is too much is given up before anybody is asked.
func (p *pool) limited(now time.Time, l Limit, rev uint64) {
	p.limit, p.limitRev, p.news = l, rev, true
	p.refreshAt, p.quiet, p.retryAt = now, now, time.Time{} // who tells it answers
	if _, use := next(l.Jobs, p.view(p.me(now)), p.node); use < p.own.Held {
		p.allow(use)
	}
}

// remove takes the node's grant away.
func (p *pool) remove(ctx context.Context) {
	_, err := p.store.bucket.Put(ctx, stream.Write{Key: grantKey(p.key, p.node), Remove: true, TTL: stream.MarkerTTL})
	if err == nil {
		p.store.hint(p.key, p.node, Grant{})
	} // else it expires
}

// giveBack returns, at the end of the node, what nothing runs on. Starts of the period that
// has not passed stay in the way of others until it has.
func (p *pool) giveBack(ctx context.Context) {
	used, _, _ := p.limiter.Use()
	switch {
	case p.rev == 0:
	case used == 0:
		p.remove(ctx)
	case p.key.Rate && !p.lost:
		g := Grant{Held: min(used, p.own.Held), Used: used}
		if value, err := json.Marshal(g); err == nil {
			_, _ = p.store.bucket.Put(ctx, stream.Write{Key: grantKey(p.key, p.node), Value: value, TTL: aging(p.limit.Per)}) // or it expires later
		}
	}
}

// hinted takes over what another node wrote.
func (p *pool) hinted(h hintValue) {
	if p.others == nil {
		return // the first survey comes anyway
	}
	h.Held = max(h.Held, 0)
	if p.others[h.Node] == h.Grant {
		return
	}
	p.news = true
	if h.Grant == (Grant{}) {
		delete(p.others, h.Node)
		return
	}
	p.others[h.Node] = h.Grant
}
