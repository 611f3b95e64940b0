package queue

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
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
	emptyBeforeInfo = 2            // standing requests in a row that expired empty before the backlog is checked
	reopenPause     = 100 * time.Millisecond
	reopenPauseMax  = 2 * time.Second
)

// A Puller turns demand for one type in one queue into pull requests, one at a time,
// and hands on what comes. What is not to be run (redelivered, malformed, expired, or
// come after a drain began) goes to the settler instead.
type Puller struct {
	Store   *Store
	Keeper  *Keeper
	Settler *Settler
	Inlet   *Inlet
	Queue   string
	Type    string
	Emit    func([]*Held) // must not block for long

	log     *slog.Logger
	ackWait time.Duration
	subject string // of pull requests
	inbox   string
	sub     *nats.Subscription
	in      chan *nats.Msg
	pull    *pull // in flight, nil if none
	overdue *time.Timer
	empty   int // standing requests in a row that expired without a job
	pause   time.Duration
}

// pull is one request in flight.
type pull struct {
	Ask
	sent time.Time // the leases of its jobs start here
	left int
}

// Run pulls until ctx ends. It outlives lost connections, streams and consumers; an
// error it returns is one that will not pass by itself.
func (p *Puller) Run(ctx context.Context) error {
	p.log = p.Store.log.With("queue", p.Queue, "type", p.Type)
	p.subject = p.Store.api + "CONSUMER.MSG.NEXT." + p.Store.names.queueStream(p.Queue) + "." + p.Type
	p.overdue = time.NewTimer(time.Hour)
	defer p.overdue.Stop()
	defer p.giveBack()
	if err := p.open(ctx); err != nil {
		return err
	}
	defer p.close()
	connection := p.Store.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer p.Store.nc.RemoveStatusListener(connection)
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case ask := <-p.Inlet.Asks():
			err = p.send(ctx, ask)
		case m := <-p.in:
			err = p.receive(ctx, m)
		case <-p.overdue.C:
			if p.pull != nil {
				p.log.WarnContext(ctx, "pull request was not answered: subscribing anew")
				err = p.reopen(ctx)
			}
		case <-connection:
			// The broker may still honour the old inbox: a delivery there would look
			// younger than it is, and with it its lease.
			err = p.reopen(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// giveBack returns what the gate asked for and this puller will not ask.
func (p *Puller) giveBack() {
	select {
	case <-p.Inlet.Asks():
	default:
	}
	p.pull = nil
	p.Inlet.Closed()
}

// open makes sure of the consumer and subscribes, for as long as it takes.
func (p *Puller) open(ctx context.Context) error {
	for pause := reopenPause; ; pause = min(2*pause, reopenPauseMax) {
		err := p.tryOpen(ctx)
		if err == nil || errors.Is(err, ErrAckWait) || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		p.log.WarnContext(ctx, "cannot pull yet", "err", err)
		if sleep(ctx, pause) != nil {
			return nil //nolint:nilerr // asked to stop: no failure
		}
	}
}

func (p *Puller) tryOpen(ctx context.Context) error {
	ackWait, err := p.Store.ensureConsumer(ctx, p.Queue, p.Type)
	if err != nil {
		if restoreErr := p.Store.restore(ctx); restoreErr != nil {
			return restoreErr
		}
		if ackWait, err = p.Store.ensureConsumer(ctx, p.Queue, p.Type); err != nil {
			return err
		}
	}
	p.ackWait = ackWait
	p.inbox = p.Store.nc.NewInbox()
	p.in = make(chan *nats.Msg, maxInbox)
	p.sub, err = p.Store.nc.ChanSubscribe(p.inbox, p.in)
	return err
}

// close drops the inbox and takes in what had already come.
func (p *Puller) close() {
	if p.sub == nil {
		return
	}
	_ = p.sub.Unsubscribe() // fails only with the connection, which drops it as well
	for {
		select {
		case m := <-p.in:
			if isJob(m) {
				p.take([]*nats.Msg{m})
			}
		default:
			return
		}
	}
}

// reopen starts over with a new inbox and no pull in flight.
func (p *Puller) reopen(ctx context.Context) error {
	p.close()
	if err := p.open(ctx); err != nil {
		return err
	}
	p.over()
	return nil
}

// over tells the gate that the pull is done with.
func (p *Puller) over() {
	if p.pull != nil {
		p.pull = nil
		p.overdue.Stop()
		p.Inlet.Closed()
	}
}

// send asks the broker.
func (p *Puller) send(ctx context.Context, ask Ask) error {
	lifetime := pullLifetime
	if !ask.Crowded && p.Store.nc.ConnectedClusterName() != "" {
		lifetime = clusterLifetime
	}
	lifetime = min(lifetime, p.ackWait/3)
	body, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires,omitempty"`
		NoWait  bool          `json:"no_wait,omitempty"`
	}{ask.Batch, lifetime, !ask.Standing})
	if err != nil {
		return err
	}
	p.pull = &pull{Ask: ask, sent: time.Now(), left: ask.Batch}
	p.overdue.Reset(lifetime + closingGrace)
	if err := p.Store.nc.PublishRequest(p.subject, p.inbox, body); err != nil {
		return p.backOff(ctx)
	}
	return nil
}

// backOff waits a little longer each time before the gate may ask again.
func (p *Puller) backOff(ctx context.Context) error {
	p.pause = min(max(2*p.pause, reopenPause), reopenPauseMax)
	if sleep(ctx, p.pause) == nil {
		return p.reopen(ctx)
	}
	return nil
}

// receive takes in m and whatever else is there already.
func (p *Puller) receive(ctx context.Context, m *nats.Msg) error {
	var jobs []*nats.Msg
	for {
		if isJob(m) {
			jobs = append(jobs, m)
		} else {
			p.take(jobs)
			return p.status(ctx, m)
		}
		select {
		case m = <-p.in:
			continue
		default:
		}
		p.take(jobs)
		return nil
	}
}

// isJob tells a delivery from a status: whatever headers a job has, only it can be
// acknowledged.
func isJob(m *nats.Msg) bool { return strings.HasPrefix(m.Reply, "$JS.ACK.") }

// take holds the delivered messages and passes on those that are to be run.
func (p *Puller) take(msgs []*nats.Msg) {
	if len(msgs) == 0 {
		return
	}
	sent := time.Now().Add(-p.ackWait) // of no pull we know: too late
	if p.pull != nil {
		sent = p.pull.sent
		p.pull.left -= len(msgs)
	}
	p.empty, p.pause = 0, 0
	var held []*Held
	var backlog uint64
	unreadable := 0
	for _, m := range msgs {
		h, err := p.Store.hold(m, p.ackWait, sent)
		if err != nil {
			p.log.Error("unreadable delivery", "err", err)
			unreadable++
			continue
		}
		h.inlet = p.Inlet
		held = append(held, h)
		backlog = h.Pending
	}
	if p.pull != nil && p.pull.left <= 0 {
		p.pull = nil
		p.overdue.Stop()
	}
	draining := p.Inlet.Delivered(len(msgs), backlog)
	for range unreadable {
		p.Inlet.Finished(0)
	}
	run := held[:0]
	for _, h := range held {
		if p.start(h, draining) {
			run = append(run, h)
		} else {
			h.Finished()
		}
	}
	if len(run) > 0 {
		p.Emit(run)
	}
}

// start reports whether h is to be run, and hands it to the settler if not.
func (p *Puller) start(h *Held, draining bool) bool {
	if h.Alive() != nil {
		p.log.Warn("delivery came too late and is left to the next worker", "job_id", h.ID)
		return false
	}
	p.Keeper.Keep(h)
	switch {
	case h.Delivered > 1:
		p.Settler.Redelivered(h)
	case h.Malformed != nil:
		p.Settler.Settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed, Error: h.Malformed.Error()})
	case h.Expired(time.Now()):
		p.Settler.Settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonExpired, Error: "not started within " + h.Expires.String()})
	case draining:
		p.Settler.Settle(h, Outcome{})
	default:
		return true
	}
	return false
}

// status handles a message of the broker about the pull itself.
func (p *Puller) status(ctx context.Context, m *nats.Msg) error {
	switch m.Header.Get(headerStatus) {
	case "100": // heartbeat
		return nil
	case "404", "408":
		if p.pull != nil && p.pull.Standing && p.pull.left == p.pull.Batch {
			p.empty++
		}
		p.pause = 0
		p.over()
		return p.watch(ctx)
	default: // 409, 503: the consumer, its stream or its leader went away
		p.log.WarnContext(ctx, "pull request refused", "status", m.Header.Get(headerStatus), "reason", m.Header.Get(headerDescription))
		return p.backOff(ctx)
	}
}

// watch finds a subscription that went deaf: requests expire although jobs wait.
func (p *Puller) watch(ctx context.Context) error {
	if p.empty < emptyBeforeInfo {
		return nil
	}
	p.empty = 0
	n, err := p.Store.pending(ctx, p.Queue, p.Type)
	if err != nil || n == 0 {
		return nil //nolint:nilerr // no answer is no evidence
	}
	p.log.WarnContext(ctx, "pull requests expire although jobs wait: subscribing anew", "waiting", n)
	return p.reopen(ctx)
}
