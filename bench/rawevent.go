package main

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rawEventEngine is the least that keeps Millhand's order of writes: before each ack, an event
// that no other holder of the job can have written is confirmed. It shows what that order
// costs by itself. It works on one queue and one type.
type rawEventEngine struct{ *rawEngine }

func newRawEventEngine(nc *nats.Conn) (rawEventEngine, error) {
	e, err := newRawEngine(nc, false)
	return rawEventEngine{e}, err
}

func (e rawEventEngine) open(ctx context.Context, queues []string) error {
	_, err := e.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "raw-events", Subjects: []string{"event.>"}, Storage: jetstream.FileStorage,
	})
	return errors.Join(err, e.rawEngine.open(ctx, queues))
}

// ending is a message that may be acknowledged when its event is confirmed.
type ending struct {
	m     jetstream.Msg
	event jetstream.PubAckFuture
}

func (e rawEventEngine) work(ctx context.Context, spec workerSpec, handle func(context.Context, job) error) error {
	typ := spec.Types[0]
	cons, err := e.consumer(ctx, defaultQueue, typ)
	if err != nil {
		return err
	}
	var failed error
	endings := make(chan ending, spec.InHand)
	var acks sync.WaitGroup
	acks.Go(func() {
		for end := range endings {
			select {
			case <-end.event.Ok():
				failed = errors.Join(failed, end.m.Ack())
			case err := <-end.event.Err():
				failed = errors.Join(failed, err)
			}
		}
	})
	receive := func(m jetstream.Msg) error {
		if err := handle(ctx, job{typ: typ, payload: m.Data(), attempt: 1}); err != nil {
			return err
		}
		event, err := e.js.PublishAsync("event."+m.Subject(), []byte(`{"event":"succeeded"}`),
			jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithStallWait(patience))
		if err != nil {
			return err
		}
		endings <- ending{m, event}
		return nil
	}
	var handling error
	c, err := cons.Consume(func(m jetstream.Msg) { handling = errors.Join(handling, receive(m)) }, jetstream.PullMaxMessages(spec.InHand))
	if err != nil {
		return err
	}
	<-ctx.Done()
	c.Stop()
	<-c.Closed()
	close(endings)
	acks.Wait()
	return errors.Join(handling, failed)
}
