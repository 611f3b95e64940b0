package queue

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// The parts of a job's way through a worker. The baseline is in testdata/bench, the
// comparison in the Makefile.

func benchStore(b *testing.B, nc *nats.Conn) *Store {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	c, err := stream.New(nc, stream.Config{Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	return NewStore(c, Config{Node: "bench-0192abcd", Logger: log})
}

func benchRecord(id string) *job.Record {
	return &job.Record{
		Queue: "default", Type: "email", ID: id, Life: "5e4b3c1a-3d6b-4c55-9d43-6a0b6f0a2f77", Attempt: 1,
		Payload: []byte(`{"to":"someone@example.com","n":12345}`),
	}
}

func BenchmarkEncodeJob(b *testing.B) {
	nc := natstest.Real(b).Connect(b)
	s := benchStore(b, nc)
	e := enqueueOf(benchRecord("01920000-0000-7000-8000-000000000001"), true, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.enqueueMsg(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeEvent(b *testing.B) {
	at := time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.UTC)
	e := Event{
		Kind: job.EventSucceeded, Life: "5e4b3c1a-3d6b-4c55-9d43-6a0b6f0a2f77", Seq: 1234567, Time: at,
		Node: "bench-0192abcd", Holder: "bench-0192abcd/1234567", Attempt: 1, EnqueuedAt: at, StartedAt: at,
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = appendEvent(buf[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeDelivery(b *testing.B) {
	nc := natstest.Real(b).Connect(b)
	s := benchStore(b, nc)
	r := benchRecord("01920000-0000-7000-8000-000000000001")
	p, err := r.Place()
	if err != nil {
		b.Fatal(err)
	}
	m := &nats.Msg{
		Subject: s.names.ready(p), Header: r.Header(), Data: r.Payload,
		Reply: "$JS.ACK.millhand-queue-default.email.1.1234567.1234566.1795359845123456789.99999",
	}
	m.Header[stream.HeaderMsgID] = []string{r.Life}
	sent := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.hold(m, p.Queue, p.Type, DefaultAckWait, sent); err != nil {
			b.Fatal(err)
		}
	}
}

// Event, confirmation and ack, as many in flight as are allowed.
func BenchmarkSettle(b *testing.B) {
	nc := natstest.Real(b).Connect(b)
	s := benchStore(b, nc)
	if err := s.Open(b.Context(), "default"); err != nil {
		b.Fatal(err)
	}
	settler := NewSettler(s, NewRenewer(s))
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- settler.Run(ctx) }()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		r := benchRecord(fmt.Sprint("a", n))
		p, err := r.Place()
		if err != nil {
			b.Fatal(err)
		}
		h := &Delivery{Record: *r, place: p, Seq: uint64(n), reply: "$JS.ACK.none", lease: newLease(time.Hour, time.Now())}
		settler.Settle(h, Outcome{Kind: job.EventSucceeded})
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// Dead jobs on their way back into their queue, beside as many that are enqueued for the first time.
func BenchmarkRequeueDead(b *testing.B) {
	const jobs = 10_000
	nc := natstest.Real(b).Connect(b)
	s := benchStore(b, nc)
	if err := s.Open(b.Context(), "default"); err != nil {
		b.Fatal(err)
	}
	var requeueing, enqueueing time.Duration
	for round := 0; b.Loop(); round++ {
		batch := make([]Enqueue, 0, jobs)
		for i := range jobs {
			r := benchRecord(fmt.Sprintf("%d-%d", round, i))
			r.Life = fmt.Sprintf("life-%d-%d", round, i)
			e := enqueueOf(r, true, 0)
			batch = append(batch, e)
			event, err := s.eventMsg(e.place, &Event{Kind: job.EventDead, Life: r.Life, Seq: 1, Reason: job.ReasonExhausted, Error: "no route to host"})
			if err != nil {
				b.Fatal(err)
			}
			dead := &nats.Msg{Subject: s.names.dead(e.place), Header: r.Header(), Data: r.Payload}
			dead.Header[headerReason] = []string{job.ReasonExhausted}
			dead.Header[headerErrors] = []string{`[{"attempt":1,"time":"2026-11-28T12:00:00Z","event":"dead","error":"no route to host"}]`}
			for _, m := range []*nats.Msg{event, dead} {
				if _, err := s.client.Publish(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		}
		at := time.Now()
		for r, err := range s.RequeueDead(b.Context(), DeadFilter{}, Revivals{}) {
			if err != nil || r.Err != nil {
				b.Fatal(err, r.Err)
			}
		}
		requeueing += time.Since(at)
		if _, err := s.client.Purge(b.Context(), s.names.queueStream(batch[0].place.Queue), stream.Purge{Subject: s.names.allReady(batch[0].place.Queue)}); err != nil {
			b.Fatal(err)
		}
		at = time.Now()
		for _, err := range s.EnqueueMany(b.Context(), batch) {
			if err != nil {
				b.Fatal(err)
			}
		}
		enqueueing += time.Since(at)
		if _, err := s.client.Purge(b.Context(), s.names.queueStream(batch[0].place.Queue), stream.Purge{Subject: s.names.allReady(batch[0].place.Queue)}); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N * jobs)
	b.ReportMetric(n/requeueing.Seconds(), "requeued/s")
	b.ReportMetric(n/enqueueing.Seconds(), "enqueued/s")
	b.ReportMetric(enqueueing.Seconds()/requeueing.Seconds(), "of-enqueue")
}
