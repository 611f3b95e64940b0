package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// inbox is where the answers to pull requests come.
type inbox struct {
	name       string
	msgs       chan *nats.Msg
	sub        *nats.Subscription
	reconnects uint64 // of the connection before it was opened
}

// open makes sure of the consumer and subscribes, for as long as it takes.
func (p *Puller) open(ctx context.Context) error {
	// Other sources must not wait for this one, however long the broker takes.
	fellSilent := make(chan struct{})
	late := time.AfterFunc(answerWithin, func() { p.source.Silent(true); close(fellSilent) })
	defer func() {
		if !late.Stop() {
			<-fellSilent
			p.silent = true
		}
		p.heard()
	}()
	for pause := reopenPause; ; pause = min(2*pause, reopenPauseMax) {
		err := p.tryOpen(ctx)
		if err == nil || errors.Is(err, ErrAckWait) || stream.Final(err) || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		p.source.Empty() // no other queue must wait for this one meanwhile
		level := slog.LevelWarn
		if ctx.Err() != nil || errors.Is(err, nats.ErrReconnectBufExceeded) {
			level = slog.LevelDebug // asked to stop; or no connection, which says so itself: once, not for each type
		}
		p.log.Log(ctx, level, "cannot pull yet", slog.Any("err", err))
		p.giveBack() // a drain does not wait for the broker
		if stream.Sleep(ctx, pause) != nil {
			return nil // asked to stop: no failure
		}
	}
}

func (p *Puller) tryOpen(ctx context.Context) error {
	in := &inbox{name: p.store.nc.NewInbox(), msgs: make(chan *nats.Msg, maxInbox), reconnects: p.store.nc.Stats().Reconnects}
	t, err := p.store.ensureConsumer(ctx, p.queue, p.typ)
	if err != nil && Passing(err) {
		if restoreErr := p.store.restore(ctx); restoreErr != nil {
			return restoreErr
		}
		t, err = p.store.ensureConsumer(ctx, p.queue, p.typ)
	}
	if err != nil {
		return err
	}
	p.adopt(t)
	p.inbox = in
	in.sub, err = p.store.nc.ChanSubscribe(in.name, in.msgs)
	return err
}

// close drops the inbox and handles what had already come.
func (p *Puller) close(ctx context.Context) {
	if p.inbox == nil || p.inbox.sub == nil {
		return
	}
	_ = p.inbox.sub.Unsubscribe() // fails only with the connection, which drops it as well
	for {
		select {
		case m := <-p.inbox.msgs:
			if isJob(m) {
				p.take(context.WithoutCancel(ctx), []*nats.Msg{m})
			}
		default:
			return
		}
	}
}

// reopen starts over with a new inbox and no request in flight.
func (p *Puller) reopen(ctx context.Context) error {
	p.close(ctx)
	if err := p.open(ctx); err != nil {
		return err
	}
	p.endRequest()
	return p.send(ctx)
}

// linger waits for the closing status of the request in flight. Jobs that still come are handed back.
// If they were dropped, they would be stranded until AckWait and count as a crash.
func (p *Puller) linger(ctx context.Context, connection <-chan nats.Status) {
	for p.request != nil {
		select {
		case m := <-p.inbox.msgs:
			if isJob(m) {
				p.take(ctx, []*nats.Msg{m})
			} else {
				p.closing(m)
			}
		case <-p.overdue.C:
			if !p.fallSilent() {
				return
			}
		case <-connection:
			return
		}
	}
}
