package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rawEngine is the least that does the job with nats.go alone. Its streams and consumers
// have the settings of Millhand's; nothing else is done per job.
type rawEngine struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	nextID atomic.Uint64
	one    bool // all messages have one subject
}

func newRawEngine(nc *nats.Conn, one bool) (*rawEngine, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(rawPending))
	return &rawEngine{nc: nc, js: js, one: one}, err
}

const (
	rawPending  = 4000 // publishes in flight; more do not help
	rawAckWait  = 30 * time.Second
	rawDedup    = 30 * time.Second
	rawReplicas = 3 // in a cluster
)

func rawStream(queue string) string { return "raw-queue-" + queue }

func rawSubject(queue, typ, id string) string { return "raw." + queue + ".ready." + typ + "." + id }

func (e *rawEngine) open(ctx context.Context, queues []string) error {
	replicas := 1
	if e.nc.ConnectedClusterName() != "" {
		replicas = rawReplicas
	}
	for _, q := range queues {
		_, err := e.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: rawStream(q), Subjects: []string{rawSubject(q, "*", "*")},
			Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: replicas,
			AllowMsgSchedules: true, Duplicates: rawDedup,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// subject is fresh for each job, as it is with Millhand, or always the same, which costs the
// broker less and leaves no job to be found, watched or refused by its id.
func (e *rawEngine) subject(queue, typ string) string {
	if e.one {
		return rawSubject(queue, typ, "any")
	}
	return rawSubject(queue, typ, strconv.FormatUint(e.nextID.Add(1), 10))
}

func (e *rawEngine) enqueue(ctx context.Context, queue, typ string, payload []byte) error {
	_, err := e.js.Publish(ctx, e.subject(queue, typ), payload)
	return err
}

func (e *rawEngine) enqueueMany(ctx context.Context, queue, typ string, payloads [][]byte) error {
	acks := make([]jetstream.PubAckFuture, len(payloads))
	for i, p := range payloads {
		var err error
		if acks[i], err = e.js.PublishAsync(e.subject(queue, typ), p, jetstream.WithStallWait(patience)); err != nil {
			return err
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (e *rawEngine) work(ctx context.Context, spec workerSpec, handle func(context.Context, job) error) (err error) {
	for q := range spec.Queues {
		for _, t := range spec.Types {
			stop, err := e.consume(ctx, q, t, spec, handle)
			switch {
			case errors.Is(err, context.Canceled): // others had done all before this one could begin
				return nil
			case err != nil:
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
		}
	}
	<-ctx.Done()
	return nil
}

func (e *rawEngine) consumer(ctx context.Context, queue, typ string) (jetstream.Consumer, error) {
	return e.js.CreateOrUpdateConsumer(ctx, rawStream(queue), jetstream.ConsumerConfig{
		Durable: typ, FilterSubject: rawSubject(queue, typ, "*"),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: rawAckWait, MaxAckPending: -1,
	})
}

// consume handles messages one after the other, or side by side if a job takes time.
func (e *rawEngine) consume(ctx context.Context, queue, typ string, spec workerSpec, handle func(context.Context, job) error) (stop func() error, err error) {
	cons, err := e.consumer(ctx, queue, typ)
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", typ, err)
	}
	var failed atomic.Pointer[error]
	do := func(m jetstream.Msg) {
		if err := errors.Join(handle(ctx, job{typ: typ, payload: m.Data(), attempt: 1}), m.Ack()); err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	var running sync.WaitGroup
	slots := make(chan struct{}, spec.Concurrency)
	receive := do
	if spec.Takes[typ] > 0 {
		receive = func(m jetstream.Msg) {
			slots <- struct{}{}
			running.Go(func() {
				do(m)
				<-slots
			})
		}
	}
	c, err := cons.Consume(receive, jetstream.PullMaxMessages(spec.InHand))
	if err != nil {
		return nil, err
	}
	return func() error {
		c.Stop()
		running.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}, nil
}
