package queue

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stages"
)

// A Puller turns demand for one type in one queue into pull requests, one at a time, and emits the
// jobs that come. A job that must not run goes to the settler instead: it was redelivered, is
// malformed or expired, or came after a drain or a pause began or permits were lost.
//
//	slots ─ ask ─► stage ─ demand ─► send ─► broker ─► receive ─► take ─► emit ─► runner
type Puller struct {
	store   *Store
	renewer *Renewer
	settler *Settler
	source  *slots.Source
	queue   job.Name
	typ     job.Name
	stage   *stages.Producer[*Delivery]
	asked   atomic.Int64  // demand that Run's goroutine has not seen yet
	wake    chan struct{} // there is demand
	subject string        // of pull requests
	log     *slog.Logger

	// Of Run's goroutine.
	tenure   *tenure       // of the consumer
	inbox    *inbox        // nil until the first is open
	watch    watch         // over the consumer and the subscription
	newest   uint64        // highest sequence that came; only more can come, unless the broker has forgotten
	isPaused bool          // the consumer, as the log says
	request  *request      // in flight, nil if none
	overdue  *time.Timer   // rings when its answer is
	wanted   int           // asked for while a request was in flight
	alone    bool          // the next job is too large to come with others
	backlog  uint64        // jobs that waited behind the last delivery
	silent   bool          // a request for jobs that wait is not answered
	took     time.Duration // how long the last answer to such a request took
	backoff  time.Duration
}

// NewPuller returns a puller of one source. The leases of what it emits are renewed.
func NewPuller(s *Settler, source *slots.Source) (*Puller, error) {
	queue, typ := source.Place()
	q, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	t, err := job.TypeName(typ)
	if err != nil {
		return nil, err
	}
	p := &Puller{
		store: s.store, renewer: s.renewer, settler: s, source: source, queue: q, typ: t,
		wake:    make(chan struct{}, 1),
		log:     s.log.With(slog.String("queue", queue), slog.String("type", typ)),
		subject: s.store.client.API("CONSUMER.MSG.NEXT." + s.store.names.queueStream(q) + "." + typ),
	}
	p.stage, err = stages.NewProducer(stages.ProducerConfig[*Delivery]{
		// Jobs that nobody has asked for are handed back to the broker, not kept under lease.
		OutletConfig: stages.OutletConfig[*Delivery]{Buffer: new(0)},
		Demand: func(_ context.Context, n int, out []*Delivery) ([]*Delivery, error) {
			p.asked.Add(int64(n))
			wake(p.wake)
			return out, nil
		},
	})
	return p, err
}

// Stage is where the jobs come out.
func (p *Puller) Stage() stages.Source[*Delivery] { return p.stage }

// Source is where the slots ask for the puller's jobs.
func (p *Puller) Source() *slots.Source { return p.source }

// Run pulls until ctx ends. It survives lost connections, streams and consumers. An error that it
// returns will not pass by itself.
func (p *Puller) Run(ctx context.Context) error {
	// The stage has returned what an earlier run was asked for.
	p.request, p.wanted, p.backlog, p.silent = nil, 0, 0, false
	p.asked.Store(0)
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		defer cancel()
		return p.stage.Run(ctx)
	})
	g.Go(func() error {
		defer cancel()
		return p.loop(ctx)
	})
	return g.Wait()
}

// loop sends a request whenever the slots have asked for jobs: [slots.Source.Open] is given the
// asking by the stage that takes them.
func (p *Puller) loop(ctx context.Context) error {
	p.overdue = time.NewTimer(time.Hour)
	defer p.overdue.Stop()
	poll := time.NewTimer(pollFirst)
	defer poll.Stop()
	if err := p.open(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	defer p.close(ctx)
	connection := p.store.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer p.store.nc.RemoveStatusListener(connection)
	for {
		var err error
		select {
		case <-ctx.Done():
			p.linger(context.WithoutCancel(ctx), connection)
			return nil
		case <-p.wake:
			if !p.source.Ahead() {
				// Jobs that end at the same moment are replaced together: let those that have
				// not said so yet do it now.
				runtime.Gosched()
			}
			p.wanted += int(p.asked.Swap(0))
			err = p.send(ctx)
		case m := <-p.inbox.msgs:
			err = p.receive(ctx, m)
		case <-p.overdue.C:
			err = p.unanswered(ctx)
		case <-poll.C:
			err = p.timePassed(ctx)
			poll.Reset(p.watch.pause(time.Now()))
		case <-connection:
			// The broker may still honour the old inbox. A delivery there would look
			// younger than it is, and so would its lease. An inbox of this connection is
			// left alone: dropping it would strand what is on its way, and jobs that nobody
			// had would count a crash.
			if !p.store.nc.IsConnected() || p.store.nc.Stats().Reconnects != p.inbox.reconnects {
				err = p.reopen(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// receive takes in m and whatever else is there already.
func (p *Puller) receive(ctx context.Context, m *nats.Msg) error {
	p.heard()
	var jobs []*nats.Msg
	for {
		if !isJob(m) {
			p.take(ctx, jobs)
			return p.status(ctx, m)
		}
		jobs = append(jobs, m)
		select {
		case m = <-p.inbox.msgs:
			continue
		default:
		}
		p.take(ctx, jobs)
		return p.send(ctx)
	}
}

// isJob tells a delivery from a status. Whatever headers a job has, only a job can be acknowledged.
func isJob(m *nats.Msg) bool { return strings.HasPrefix(m.Reply, "$JS.ACK.") }

// take turns messages into deliveries and emits those that may run.
func (p *Puller) take(ctx context.Context, msgs []*nats.Msg) {
	if len(msgs) == 0 {
		return
	}
	now := time.Now()
	sent := now.Add(-p.tenure.wait()) // it answers no known request: take it to be too late
	if p.request != nil {
		sent = p.request.sent
		p.arrived(msgs)
	}
	p.backoff = 0
	held := p.hold(msgs, sent)
	if p.watch.next(watchEvent{what: jobsCame, at: now, repeated: p.markRepeated(held)}) == pollLeases {
		p.confirmLeases(ctx, held)
	}
	admitted := p.source.Admits()
	run := held[:0]
	for _, h := range held {
		if !p.inHandAlready(h) && p.mayRun(ctx, h, now, admitted) {
			run = append(run, h)
		}
	}
	p.source.Delivered(tickets(run), p.backlog)
	p.emit(ctx, run)
	p.stage.GiveBack(len(msgs) - len(run)) // jobs that do not run were asked for all the same
}

func (p *Puller) hold(msgs []*nats.Msg, sent time.Time) []*Delivery {
	held := make([]*Delivery, 0, len(msgs))
	for _, m := range msgs {
		h, err := p.store.hold(m, p.queue, p.typ, p.tenure.wait(), sent)
		if err != nil {
			p.log.Error("unreadable delivery", slog.Any("err", err))
			continue
		}
		h.lease.tenure = p.tenure
		h.Issue(p.source, &h.Record, m.Size(), h.lease)
		if h.Scheduled && h.Delivered == 1 {
			p.settler.counter.Fired(h)
		}
		p.backlog = h.Pending
		held = append(held, h)
	}
	return held
}

func tickets(run []*Delivery) iter.Seq[*slots.Ticket] {
	return func(yield func(*slots.Ticket) bool) {
		for _, h := range run {
			if !yield(&h.Ticket) {
				return
			}
		}
	}
}

// Rebuilt returns how many pull subscriptions stopped delivering while jobs were waiting, and
// were made again.
func (s *Store) Rebuilt() int { return int(s.rebuilt.Load()) }

// emit hands jobs to the runner. Those that it has not asked for or can no longer take go back to
// the queue.
func (p *Puller) emit(ctx context.Context, run []*Delivery) {
	if len(run) == 0 {
		return
	}
	err := p.stage.Emit(ctx, run)
	refused := 0
	if surplus, ok := errors.AsType[*stages.SurplusError](err); ok {
		refused = surplus.Events
	} else if err != nil {
		refused = len(run)
	}
	for _, h := range run[len(run)-refused:] {
		p.settler.Settle(h, Outcome{})
		h.Finished()
	}
}

// mayRun reports whether h may run, and hands it to the settler if not.
func (p *Puller) mayRun(ctx context.Context, h *Delivery, now time.Time, admitted bool) bool {
	if h.lease.check(now) != nil {
		p.log.WarnContext(ctx, "delivery came too late and is left to the next worker", slog.String("id", h.ID))
		return false
	}
	p.renewer.Keep(h)
	switch {
	case h.Delivered > 1:
		p.settler.Redelivered(h)
	case h.Malformed != nil:
		p.settler.Settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed, Error: h.Malformed.Error()})
	case p.expired(ctx, h):
		p.settler.Settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonExpired, Error: notStarted(&h.Record)})
	case !p.mayTick(ctx, h):
	case !admitted:
		p.settler.Settle(h, Outcome{})
	default:
		order := p.settler.order(h)
		if order != nil {
			p.settler.Settle(h, CancelledBy(order))
		}
		return order == nil
	}
	return false
}

// expired reports whether h was to be started before now, by the broker's clock. Of a job of which
// nobody can tell, since that is not known, it is not.
func (p *Puller) expired(ctx context.Context, h *Delivery) bool {
	if h.Expires == 0 {
		return false
	}
	now, err := p.store.Now(ctx, p.queue)
	if err != nil {
		p.log.WarnContext(ctx, "it cannot be told whether a job has expired: it runs", slog.String("id", h.ID), slog.Any("err", err))
		return false
	}
	return h.Expired(now)
}
