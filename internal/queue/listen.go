package queue

import (
	"context"
	"math/rand/v2"
	"time"
)

// When the broker is asked whether jobs wait that there is no permit for, or whether those in
// hand are: once a newcomer had time to get one, and then now and then. And how long that may take.
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
// no permits needs some if jobs wait, and learns of it in no other way. It also looks whether
// what is in hand is still this worker's.
func (p *Puller) listen(ctx context.Context) error {
	turn, starved := p.inlet.starved()
	again := starved && (p.starved && turn == p.turn || turn == 0) // of 0: it never pulled
	p.turn, p.starved = turn, starved
	due := p.inlet.busy() && time.Since(p.looked) >= p.ackWait/3
	if !again && !due {
		return nil
	}
	info, err := p.inspect(ctx)
	if again && info != nil && !info.Paused {
		p.inlet.heard(info.NumPending)
	}
	return err
}
