package queue

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// How long a standing request waits, and how much longer its closing status may take.
// Short, since a drain waits for it: an inbox that is dropped before strands what the
// broker had already sent, and that would count as a crash. In a cluster every request is
// a proposal to the consumer's Raft group, so there it waits longer.
const (
	pullLifetime    = time.Second
	clusterLifetime = 5 * time.Second
	closingGrace    = 2 * time.Second
	turnLapseMost   = time.Second
	turnLapse       = 250 * time.Millisecond // without an answer to a pull for jobs that wait, or twice what the last one took
	maxInbox        = 2 * slots.MaxBatch     // messages, whose bytes the requests bound
	reopenPause     = 100 * time.Millisecond
	reopenPauseMax  = 2 * time.Second
)

// pull is one request in flight.
type pull struct {
	batch    int
	standing bool      // it waits for jobs to come; others take what is there and close
	sent     time.Time // the leases of its jobs start here
	left     int
	patience time.Duration // until its end is overdue
	answered bool
	limited  bool
	bytes    int // that may still come, if they are limited
}

// over ends the pull in flight: what it was asked for and did not bring is given back.
func (p *Puller) over() {
	if p.pull == nil {
		return
	}
	if !p.pull.standing && p.pull.left > 0 {
		p.backlog = 0
		p.source.Empty()
	}
	p.alone = false
	p.gone(p.pull.left)
}

// gone gives back what will not come of the pull in flight, which ends with the last of it.
func (p *Puller) gone(n int) {
	p.pull.left -= n
	p.stage.GiveBack(n)
	if p.pull.left <= 0 {
		p.pull = nil
		p.overdue.Stop()
	}
}

// arrived notes messages that the pull in flight brought.
func (p *Puller) arrived(msgs []*nats.Msg) {
	p.alone = false
	p.pull.left -= len(msgs)
	for _, m := range msgs {
		p.pull.bytes -= m.Size()
	}
	switch {
	case p.pull.left <= 0:
		p.pull = nil
		p.overdue.Stop()
	case p.pull.limited && p.pull.bytes == 0:
		p.gone(p.pull.left) // of that, and only of that, the broker says nothing
	}
}

// tooLarge takes in that the next job has more bytes than may still come. In a cluster this
// overtakes what was sent before it.
func (p *Puller) tooLarge(m *nats.Msg) {
	if p.pull == nil {
		return
	}
	n, err := strconv.Atoi(m.Header.Get(stream.HeaderPendingMsgs))
	if err != nil || n > p.pull.left {
		n = p.pull.left
	}
	p.alone = n == p.pull.batch
	p.gone(n)
}

// send asks the broker for what is wanted, unless a pull is in flight.
func (p *Puller) send(ctx context.Context) error {
	if p.pull != nil || p.wanted == 0 {
		return nil
	}
	lifetime := pullLifetime
	standing, brief, bytes := p.source.Sending()
	p.wanted += int(p.asked.Swap(0))
	n := p.wanted
	if p.alone || n == 1 {
		n, bytes = 1, 0
	}
	if p.tenure.replicated && !brief {
		lifetime = clusterLifetime
	}
	lifetime = min(lifetime, p.ackWait/3)
	p.pull = &pull{batch: n, left: n, standing: standing, sent: time.Now(), limited: bytes > 0, bytes: bytes}
	p.wanted -= n
	body, err := json.Marshal(struct {
		Batch    int           `json:"batch"`
		MaxBytes int           `json:"max_bytes,omitempty"`
		Expires  time.Duration `json:"expires,omitempty"`
		NoWait   bool          `json:"no_wait,omitempty"`
	}{p.pull.batch, bytes, lifetime, !p.pull.standing})
	if err != nil {
		return err
	}
	p.pull.patience = lifetime + closingGrace
	if standing {
		p.overdue.Reset(p.pull.patience)
	} else {
		p.overdue.Reset(min(max(turnLapse, 2*p.took), turnLapseMost))
	}
	if err := p.store.nc.PublishRequest(p.subject, p.inbox, body); err != nil {
		return p.backOff(ctx)
	}
	return nil
}

// unanswered gives up the turn of a pull for jobs that wait, and later the pull itself.
func (p *Puller) unanswered(ctx context.Context) error {
	if p.pull == nil || p.lapse() {
		return nil
	}
	p.log.WarnContext(ctx, "pull request was not answered: subscribing anew")
	p.store.rebuilt.Add(1)
	return p.reopen(ctx)
}

// lapse gives up the turn of a pull for jobs that wait. It reports false if that is done, or
// there is none: then the pull is overdue.
func (p *Puller) lapse() bool {
	if p.pull.standing || p.silent {
		return false
	}
	p.silent = true
	p.source.Silent(true)
	p.overdue.Reset(p.pull.patience - time.Since(p.pull.sent))
	return true
}

// heard notes that the broker has answered.
func (p *Puller) heard() {
	if p.pull != nil && !p.pull.standing && !p.pull.answered {
		p.pull.answered, p.took = true, time.Since(p.pull.sent)
	}
	if p.silent {
		p.silent = false
		p.source.Silent(false)
	}
}

// backOff waits a little longer each time before the pull is given up.
func (p *Puller) backOff(ctx context.Context) error {
	p.pause = min(max(2*p.pause, reopenPause), reopenPauseMax)
	if stream.Sleep(ctx, p.pause) != nil {
		return nil //nolint:nilerr // asked to stop: no failure
	}
	return p.reopen(ctx)
}

// What the broker says with status 409 of a pull request that it has heard.
const (
	reasonComplete = "Batch Completed" // and bytes are left
	reasonTooLarge = "Message Size Exceeds MaxBytes"
)

// status handles a message of the broker about the pull itself.
func (p *Puller) status(ctx context.Context, m *nats.Msg) error {
	status, reason := m.Header.Get(stream.HeaderStatus), m.Header.Get(stream.HeaderDescription)
	switch {
	case status == "100", reason == reasonComplete: // nothing new
		return p.send(ctx)
	case reason == reasonTooLarge:
		p.tooLarge(m)
		return p.send(ctx)
	case status == "404", status == "408":
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
		p.log.WarnContext(ctx, "pull request refused", slog.String("status", status), slog.String("reason", reason))
		return p.backOff(ctx)
	}
}

// closing takes in a status while no more is asked for.
func (p *Puller) closing(m *nats.Msg) {
	switch m.Header.Get(stream.HeaderDescription) {
	case reasonComplete:
	case reasonTooLarge:
		p.tooLarge(m)
	default:
		p.over()
	}
}

// giveBack returns what was asked for and cannot be pulled now. It is asked for again,
// unless the slots are closed.
func (p *Puller) giveBack() {
	p.over()
	p.stage.GiveBack(p.wanted + int(p.asked.Swap(0)))
	p.wanted = 0
}
