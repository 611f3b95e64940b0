package queue

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// How long a standing request waits, and how much longer its closing status may take.
// Short, since a drain waits for it: an inbox that is dropped before strands what the
// broker had already sent, and that would count as a crash. In a cluster every request is
// a proposal to the consumer's Raft group, so there it waits longer.
const (
	pullLifetime    = time.Second
	clusterLifetime = 5 * time.Second
	closingGrace    = 2 * time.Second
	maxInbox        = 2 * maxBatch // messages
	reopenPause     = 100 * time.Millisecond
	reopenPauseMax  = 2 * time.Second
)

// pull is one request in flight.
type pull struct {
	batch    int
	standing bool      // it waits for jobs to come; others take what is there and close
	sent     time.Time // the leases of its jobs start here
	left     int
}

// over ends the pull in flight: what it was asked for and did not bring is given back.
func (p *Puller) over() {
	if p.pull == nil {
		return
	}
	if !p.pull.standing && p.pull.left > 0 {
		p.backlog = 0
		p.inlet.Empty()
	}
	p.stage.GiveBack(p.pull.left)
	p.pull = nil
	p.overdue.Stop()
}

// send asks the broker for what is wanted, unless a pull is in flight.
func (p *Puller) send(ctx context.Context) error {
	if p.pull != nil || p.wanted == 0 {
		return nil
	}
	lifetime := pullLifetime
	standing, brief := p.inlet.Sending()
	p.wanted += int(p.asked.Swap(0))
	if p.store.nc.ConnectedClusterName() != "" && !brief {
		lifetime = clusterLifetime
	}
	lifetime = min(lifetime, p.ackWait/3)
	p.pull = &pull{batch: p.wanted, left: p.wanted, standing: standing, sent: time.Now()}
	p.wanted = 0
	body, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires,omitempty"`
		NoWait  bool          `json:"no_wait,omitempty"`
	}{p.pull.batch, lifetime, !p.pull.standing})
	if err != nil {
		return err
	}
	p.overdue.Reset(lifetime + closingGrace)
	if err := p.store.nc.PublishRequest(p.subject, p.inbox, body); err != nil {
		return p.backOff(ctx)
	}
	return nil
}

// backOff waits a little longer each time before the pull is given up.
func (p *Puller) backOff(ctx context.Context) error {
	p.pause = min(max(2*p.pause, reopenPause), reopenPauseMax)
	if sleep(ctx, p.pause) != nil {
		return nil //nolint:nilerr // asked to stop: no failure
	}
	return p.reopen(ctx)
}

// status handles a message of the broker about the pull itself.
func (p *Puller) status(ctx context.Context, m *nats.Msg) error {
	switch m.Header.Get(headerStatus) {
	case "100": // heartbeat
		return nil
	case "404", "408":
		empty := p.pull != nil && p.pull.standing && p.pull.left == p.pull.batch
		p.pause = 0
		p.over()
		if empty {
			if err := p.watch(ctx); err != nil {
				return err
			}
		}
		return p.send(ctx)
	default: // 409, 503: the consumer, its stream or its leader went away
		p.log.WarnContext(ctx, "pull request refused", slog.String("status", m.Header.Get(headerStatus)), slog.String("reason", m.Header.Get(headerDescription)))
		return p.backOff(ctx)
	}
}

// giveBack returns what was asked for and cannot be pulled now. It is asked for again,
// unless the gate has closed.
func (p *Puller) giveBack() {
	p.over()
	p.stage.GiveBack(p.wanted + int(p.asked.Swap(0)))
	p.wanted = 0
}
