package queue

import (
	"context"
	"math/rand/v2"
	"time"
)

// When the broker is asked whether jobs wait that there is no permit for: once a newcomer had
// time to get one, and then now and then. And how long that may take.
const (
	listenFirst  = 250 * time.Millisecond
	listenEvery  = 2 * time.Second
	listenWithin = time.Second
)

// nextListen returns when to listen again: those who are starved, and ask the broker, at
// different times; the others together, since what an idle worker costs is how often it wakes up.
func (p *Puller) nextListen() time.Duration {
	if p.starved {
		return listenEvery + rand.N(listenEvery/2)
	}
	now := time.Now()
	return now.Truncate(listenEvery).Add(listenEvery).Sub(now)
}

// listen looks for jobs without pulling them, if for a while nothing could be pulled: who has
// no permits needs some if jobs wait, and learns of it in no other way.
func (p *Puller) listen(ctx context.Context) {
	turn, starved := p.inlet.starved()
	again := starved && (p.starved && turn == p.turn || turn == 0) // of 0: it never pulled
	p.turn, p.starved = turn, starved
	if !again {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, listenWithin)
	defer cancel()
	if n, err := p.store.pending(ctx, p.queue, p.typ); err == nil {
		p.inlet.heard(n)
	}
}
