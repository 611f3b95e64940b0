package queue

import "time"

// A Pool is this node's part of a limit that all nodes share: the valve that the node's
// agent turns. Until its first Allow or Lose there is no limit. Its methods do not block,
// and those that free something have it used before they return.
type Pool struct {
	gate *Gate
	pool *pool
}

// Pool returns the pool of that key.
func (g *Gate) Pool(key PoolKey) *Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p, ok := g.pools[key]; ok {
		return p
	}
	p := &Pool{gate: g, pool: &pool{key: key}}
	g.pools[key] = p
	g.demand.pools = append(g.demand.pools, p.pool)
	for s, i := range g.inlets {
		if g.matches(i, key) {
			g.demand.join(s, p.pool)
		}
	}
	return p
}

// SetKey has the jobs of a type belong to the pools of a key, and to no other key's; to
// none if key is empty.
func (g *Gate) SetKey(typ, key string) {
	g.do(func(d *demand) {
		g.keys[typ] = key
		for s, i := range g.inlets {
			for _, p := range g.pools {
				if g.matches(i, p.pool.key) {
					d.join(s, p.pool)
				} else {
					d.leave(s, p.pool)
				}
			}
		}
	})
}

// matches reports whether the jobs of an inlet belong to a pool.
func (g *Gate) matches(i *Inlet, key PoolKey) bool {
	switch key.Kind {
	case TypePool:
		return i.typ == key.Name
	case QueuePool:
		return i.queue == key.Name
	case KeyPool:
		return key.Name != "" && g.keys[i.typ] == key.Name
	}
	return false
}

// Per sets the period of a pool of a rate. It is called before the first [Pool.Allow].
func (p *Pool) Per(period time.Duration) {
	p.gate.do(func(*demand) { p.pool.starts.period = period })
}

// Allow sets how many permits the node has, and until when: past that nothing starts that
// needs one, and what runs on one is told to stop. An agent that renews its permits says the
// same again, with a later time. If there are fewer than are covered, those that fall free
// are not covered again. Jobs in hand that have not started when the first permits come are
// handed back.
func (p *Pool) Allow(permits int, until time.Time) {
	p.gate.do(func(d *demand) { d.allow(p.pool, permits, until, time.Now()) })
	p.gate.wakeGuard()
}

// Use returns how many permits are covered; how many are needed, which is the same without
// requests that wait for jobs, and with all jobs that are known to wait; and how many could be
// used, which is what is covered and one for each free slot of the worker.
func (p *Pool) Use() (used, need, want int) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	now, d := time.Now(), &p.gate.demand
	return p.pool.used(now), d.need(p.pool, now), d.want(p.pool, now)
}

// Lift ends the limit, until the next Allow.
func (p *Pool) Lift() { p.gate.do(func(d *demand) { d.lift(p.pool) }) }

// Lose says that the permits are gone: nothing starts until the next Allow. Jobs that run on
// a permit of a quota are told to stop; those of a rate had it for their start.
func (p *Pool) Lose() {
	p.gate.do(func(d *demand) { d.lose(p.pool, time.Now()) })
	p.gate.wakeGuard()
}
