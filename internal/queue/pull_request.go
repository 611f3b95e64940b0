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

// How long a standing request waits, and how much longer its closing status may take. It is short,
// since a drain waits for it: dropping the inbox earlier would strand what the broker had already
// sent, and that would count as a crash. In a cluster every request is a proposal to the consumer's
// Raft group, so there it waits longer.
const (
	pullLifetime    = time.Second
	clusterLifetime = 5 * time.Second
	closingGrace    = 2 * time.Second
	answerWithin    = 250 * time.Millisecond // or twice what the last answer took; without one to a request for jobs that wait, the source is silent
	answerWithinMax = time.Second
	maxInbox        = 2 * slots.MaxBatch // messages; requests bound their bytes
	reopenPause     = 100 * time.Millisecond
	reopenPauseMax  = 2 * time.Second
)

// request is a pull request in flight.
type request struct {
	batch    int
	standing bool      // it waits for jobs to come; other requests take what is there and close
	sent     time.Time // the leases of its jobs start here
	left     int
	patience time.Duration // after which its end is overdue
	answered bool
	limited  bool
	bytes    int // that may still come, if they are limited
}

// endRequest ends the request in flight and gives back what it did not bring.
func (p *Puller) endRequest() {
	if p.request == nil {
		return
	}
	if !p.request.standing && p.request.left > 0 {
		p.backlog = 0
		p.source.Empty()
	}
	p.alone = false
	p.drop(p.request.left)
}

// drop gives back n jobs that the request in flight will not bring. It ends with the last one.
func (p *Puller) drop(n int) {
	p.request.left -= n
	p.stage.GiveBack(n)
	if p.request.left <= 0 {
		p.request = nil
		p.overdue.Stop()
	}
}

// arrived notes messages that the request in flight brought.
func (p *Puller) arrived(msgs []*nats.Msg) {
	p.alone = false
	p.request.left -= len(msgs)
	for _, m := range msgs {
		p.request.bytes -= m.Size()
	}
	switch {
	case p.request.left <= 0:
		p.request = nil
		p.overdue.Stop()
	case p.request.limited && p.request.bytes == 0:
		p.drop(p.request.left) // the broker does not say so, only in this case
	}
}

// tooLarge handles a status which says that the next job has more bytes than may still come. In a
// cluster it overtakes jobs that were sent before it.
func (p *Puller) tooLarge(m *nats.Msg) {
	if p.request == nil {
		return
	}
	n, err := strconv.Atoi(m.Header.Get(stream.HeaderPendingMsgs))
	if err != nil || n > p.request.left {
		n = p.request.left
	}
	p.alone = n == p.request.batch
	p.drop(n)
}

// send asks the broker for what is wanted, unless a request is in flight.
func (p *Puller) send(ctx context.Context) error {
	if p.request != nil || p.wanted == 0 {
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
	lifetime = min(lifetime, p.tenure.wait()/3)
	p.request = &request{batch: n, left: n, standing: standing, sent: time.Now(), limited: bytes > 0, bytes: bytes}
	p.wanted -= n
	body, err := json.Marshal(struct {
		Batch    int           `json:"batch"`
		MaxBytes int           `json:"max_bytes,omitempty"`
		Expires  time.Duration `json:"expires,omitempty"`
		NoWait   bool          `json:"no_wait,omitempty"`
	}{p.request.batch, bytes, lifetime, !p.request.standing})
	if err != nil {
		return err
	}
	p.request.patience = lifetime + closingGrace
	if standing {
		p.overdue.Reset(p.request.patience)
	} else {
		p.overdue.Reset(min(max(answerWithin, 2*p.took), answerWithinMax))
	}
	if err := p.store.nc.PublishRequest(p.subject, p.inbox.name, body); err != nil {
		return p.backOff(ctx)
	}
	return nil
}

// unanswered lets other sources go first if the answer is late, and later gives the request up.
func (p *Puller) unanswered(ctx context.Context) error {
	if p.request == nil || p.fallSilent() {
		return nil
	}
	p.log.WarnContext(ctx, "pull request was not answered: subscribing again")
	p.store.rebuilt.Add(1)
	return p.reopen(ctx)
}

// fallSilent has other sources no longer wait for the answer. It reports false if they do not wait
// any more, or never did because the request stands: then the request itself is overdue.
func (p *Puller) fallSilent() bool {
	if p.request.standing || p.silent {
		return false
	}
	p.silent = true
	p.source.Silent(true)
	p.overdue.Reset(p.request.patience - time.Since(p.request.sent))
	return true
}

// heard notes that the broker has answered.
func (p *Puller) heard() {
	if p.request != nil && !p.request.standing && !p.request.answered {
		p.request.answered, p.took = true, time.Since(p.request.sent)
	}
	if p.silent {
		p.silent = false
		p.source.Silent(false)
	}
}

// backOff waits, a little longer each time, before it subscribes again.
func (p *Puller) backOff(ctx context.Context) error {
	p.backoff = min(max(2*p.backoff, reopenPause), reopenPauseMax)
	if stream.Sleep(ctx, p.backoff) != nil {
		return nil //nolint:nilerr // asked to stop: no failure
	}
	return p.reopen(ctx)
}

// Reasons in a status 409 about a pull request that the broker has accepted.
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
		empty := p.request != nil && p.request.standing && p.request.left == p.request.batch
		p.backoff = 0
		p.endRequest()
		if empty {
			if err := p.act(ctx, p.watch.next(watchEvent{what: requestExpired, at: time.Now()})); err != nil {
				return err
			}
		}
		return p.send(ctx)
	default: // 409, 503: the consumer, its stream or its leader went away
		p.log.WarnContext(ctx, "pull request refused", slog.String("status", status), slog.String("reason", reason))
		return p.backOff(ctx)
	}
}

// closing handles a status while no more is asked for.
func (p *Puller) closing(m *nats.Msg) {
	switch m.Header.Get(stream.HeaderDescription) {
	case reasonComplete:
	case reasonTooLarge:
		p.tooLarge(m)
	default:
		p.endRequest()
	}
}

// giveBack returns what was asked for and cannot be pulled now. The slots ask for it again unless they
// are closed.
func (p *Puller) giveBack() {
	p.endRequest()
	p.stage.GiveBack(p.wanted + int(p.asked.Swap(0)))
	p.wanted = 0
}
