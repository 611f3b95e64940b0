package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand"
)

// cancelsInFlight is as many as Millhand has.
const cancelsInFlight = 256

// cancelWork is about jobs that wait. Raw is what a cancel of each has to write at the least: an event
// and a deletion.
func cancelWork(o options) work {
	return work{
		name: "cancel", about: "many jobs that wait, cancelled by a filter",
		contestants: []contestant{{mill, cancelBy(o, mill, cancelMany)}, {rawEvent, cancelBy(o, rawEvent, cancelRaw)}},
		rows: []row{{
			title: "cancel " + thousands(float64(o.jobs), 0) + " by filter", measure: "rate", unit: "jobs/s", of: mill, against: rawEvent,
			budget: budget{atLeast: 0.47},
		}},
	}
}

func cancelBy(o options, engine string, cancel func(context.Context, *nats.Conn) (int, error)) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, url, caller, err := s.warmBroker(ctx, engine)
		if err != nil {
			return nil, err
		}
		if err := caller.call("many", order{Queue: defaultQueue, Type: noop, From: 1, Jobs: o.jobs, AtOnce: manyAtOnce}, nil); err != nil {
			return nil, err
		}
		nc, err := s.connect(url)
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		start := time.Now()
		n, err := cancel(ctx, nc)
		if err != nil || n != 1+o.jobs {
			return nil, errors.Join(err, fmt.Errorf("%d of %d jobs cancelled", n, 1+o.jobs))
		}
		return sample{"rate": float64(n) / time.Since(start).Seconds()}, s.checkWaiting(ctx, url, engine, 0)
	}
}

func cancelMany(ctx context.Context, nc *nats.Conn) (n int, err error) {
	client, err := millhand.NewClient(nc, millhand.Config{Logger: quiet()})
	if err != nil {
		return 0, err
	}
	for _, err := range client.CancelMany(ctx, millhand.JobFilter{Type: noop}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func cancelRaw(ctx context.Context, nc *nats.Conn) (n int, err error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	st, err := js.Stream(ctx, rawStream(defaultQueue))
	if err != nil {
		return 0, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cancelsInFlight)
	for seq := st.CachedInfo().State.FirstSeq; seq <= st.CachedInfo().State.LastSeq; seq++ {
		n++
		g.Go(func() error {
			subject := fmt.Sprintf("event.cancelled.%d", seq)
			if _, err := js.Publish(ctx, subject, []byte(`{"event":"cancelled"}`), jetstream.WithExpectLastSequencePerSubject(0)); err != nil {
				return err
			}
			return st.DeleteMsg(ctx, seq)
		})
	}
	return n, g.Wait()
}
