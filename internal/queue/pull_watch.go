package queue

import (
	"context"
	"log/slog"
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
	turn, starved := p.source.Starved()
	again := starved && (p.starved && turn == p.turn || turn == 0) // of 0: it never pulled
	p.turn, p.starved = turn, starved
	due := p.source.Busy() && time.Since(p.looked) >= p.ackWait/3
	if !again && !due {
		return nil
	}
	info, err := p.inspect(ctx)
	if again && info != nil && !info.Paused {
		p.source.Waiting(info.NumPending)
	}
	return err
}

// How a subscription is found that went deaf.
const (
	emptyBeforeInfo = 2 // standing requests in a row that expired empty before the backlog is looked at
	emptyWhileJobs  = 2 // and those at whose end jobs were waiting before it is made anew
)

// watch finds a subscription that went deaf: standing requests expire although jobs wait
// which may start. Jobs that come just after one expired prove nothing, so it takes two.
func (p *Puller) watch(ctx context.Context) error {
	p.empty++
	if p.empty < emptyBeforeInfo && p.deaf == 0 {
		return nil
	}
	p.empty = 0
	info, err := p.inspect(ctx)
	if err != nil || info == nil || info.Paused || info.NumPending == 0 || !p.source.Admits() {
		p.deaf = 0
		return err
	}
	if p.deaf++; p.deaf < emptyWhileJobs {
		return nil
	}
	p.deaf = 0
	p.store.rebuilt.Add(1)
	p.log.WarnContext(ctx, "pull requests expire although jobs wait: subscribing anew", slog.Uint64("waiting", info.NumPending))
	return p.reopen(ctx)
}
