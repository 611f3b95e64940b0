package millhand_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// A message of another service fails for good, is a dead job, and runs again as a job once it is requeued.
func TestDeadJobsOfAStream(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "orders.eu", []byte(`{"to":"somebody"}`)); err != nil {
			t.Fatal(err)
		}
		bury := millhand.DeadJobs(c, "warehouse")
		source, err := stream.NewSource(nc, stream.SourceConfig{
			Stream: "ORDERS", Durable: "warehouse", Logger: natstest.Logger(natstest.Output(t)),
			Dead: func(ctx context.Context, d *stream.Dead) error { // twice is once
				return errors.Join(bury(ctx, d), bury(ctx, d))
			},
		}, stream.JSON[email])
		if err != nil {
			t.Fatal(err)
		}
		p, err := pipeline.New(pipeline.Config[email]{
			Source: source, Logger: natstest.Logger(natstest.Output(t)),
			Failed: func(_ context.Context, failed []*pipeline.Message[email]) {
				failed[0].Meta = map[string]string{"tenant": "acme"}
			},
			Process: func(context.Context, *pipeline.Message[email]) error {
				return millhand.Permanent(errors.New("no such customer"))
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		var dead []millhand.DeadJob
		for d, err := range c.Dead(t.Context(), millhand.DeadFilter{Queue: "warehouse"}) {
			if err != nil {
				t.Fatal(err)
			}
			dead = append(dead, d)
		}
		if len(dead) != 1 || dead[0].Type != "ORDERS" || dead[0].ID != "ORDERS--1" || dead[0].Reason != millhand.ReasonPermanent ||
			string(dead[0].Payload) != `{"to":"somebody"}` || dead[0].LastError() != "no such customer" || dead[0].Meta["tenant"] != "acme" {
			t.Fatalf("dead %+v", dead)
		}
		ref, err := c.Requeue(t.Context(), dead[0])
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan string, 1)
		mux := millhand.NewMux()
		mux.HandleFunc("ORDERS", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			ran <- string(j.Args.Payload)
			return nil, nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Queues: []millhand.Queue{{Name: "warehouse"}}})
		if info, err := c.Await(t.Context(), ref); err != nil || info.State != millhand.Succeeded || <-ran != `{"to":"somebody"}` {
			t.Errorf("requeued: %+v, %v", info, err)
		}
		// Whoever died before it was acknowledged gives it once more.
		if err := bury(t.Context(), &stream.Dead{Message: stream.Message{Seq: 1, Time: dead[0].EnqueuedAt}, Stream: "ORDERS", Reason: stream.Crashed}); err != nil {
			t.Fatal(err)
		}
		if n, err := c.CountDead(t.Context(), millhand.DeadFilter{}); err != nil || n != 0 {
			t.Errorf("%d are dead, %v", n, err)
		}
		if err := millhand.DeadJobs(c, "event")(t.Context(), &stream.Dead{}); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("a queue that nobody may have: %v", err)
		}
	})
}

// A stream that is made again counts anew: what fails of it is not taken for what failed before.
func TestDeadJobsOfAStreamMadeAgain(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		bury := millhand.DeadJobs(c, "warehouse")
		first := stream.Dead{
			Message: stream.Message{Seq: 1, Subject: "orders.a", Data: []byte(`"old"`), Time: time.Now()},
			Stream:  "ORDERS", Err: errors.New("no"), Reason: stream.Permanent,
		}
		second := first
		second.Data, second.Time = []byte(`"new"`), first.Time.Add(time.Hour)
		for _, d := range []*stream.Dead{&first, &second, &first, &second} {
			if err := bury(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		var payloads []string
		for d, err := range c.Dead(t.Context(), millhand.DeadFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			payloads = append(payloads, string(d.Payload))
		}
		if !slices.Equal(payloads, []string{`"old"`, `"new"`}) {
			t.Errorf("dead: %v", payloads)
		}
	})
}
