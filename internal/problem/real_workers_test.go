package problem_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
)

// faultsOfWorkers are those of the workers, and of what they agree on.
func faultsOfWorkers() []fault {
	return []fault{
		{"P10", func(s *site) {
			s.must(s.client.SetQuota(s.Context(), millhand.Quota{Type: "email", Limit: 2}))
			for range 60 { // a worker that keeps what it does not use
				s.write("grant.email.miser", registry.Grant{Held: 2}, 10*time.Second)
				if s.worker == "" {
					s.hire(ends)
					s.enqueue(1)
				}
				time.Sleep(3 * time.Second)
			}
		}, "quota_idle email at miser: limit email: worker miser keeps 2 permits that it does not use, while others want some"},
		{"P12", func(s *site) {
			back := make(chan struct{})
			s.hire(func(context.Context) error { <-back; return nil }, millhand.TypeConfig{Timeout: time.Second, MaxAttempts: 1})
			s.Cleanup(func() { close(back) }) // before the worker is told to stop
			s.enqueue(1)
			time.Sleep(20 * time.Second)
		}, "stuck WORKER: worker WORKER: 1 handler ignores the end of its context"},
		{"P13", func(s *site) {
			s.hire(ends)
			s.its.Watch(lose("CONSUMER.MSG.NEXT"))
			time.Sleep(time.Minute)
			s.its.Watch(nil)
			time.Sleep(time.Minute)
			s.enqueue(1)
			time.Sleep(time.Minute)
		}, "rebuilt WORKER: worker WORKER: a subscription had stopped delivering and was made again"},
		{"P14", func(s *site) {
			s.hireAs(millhand.WorkerConfig{}, 5*time.Second, ends)
			s.enqueue(1)
			time.Sleep(90 * time.Second)
		}, "clock WORKER: worker WORKER: its clock is 5s behind the broker's"},
		{"P18", func(s *site) {
			s.hire(ends)
			s.write("node.old-1", registry.Node{ID: "old-1", Queues: []string{"default"}, Types: []string{"email"}, Version: "v0.1.0"}, time.Minute)
			time.Sleep(5 * time.Second)
		}, "versions workers: 1 worker of an earlier version: old-1: no pause of a type holds there"},
		{"P19", func(s *site) {
			s.hire(ends)
			s.its.Watch(lose("millhand.stats.1m"))
			s.enqueue(1)
			time.Sleep(6 * time.Minute)
		}, "stats_gap : statistics: no minute has been summed up"},
		{"P20", func(s *site) {
			s.hire(runsOn)
			s.enqueue(1)
			time.Sleep(time.Second)
			s.must(s.registry.Drain(s.Context(), s.worker))
			time.Sleep(time.Minute)
		}, "drain_long WORKER: worker WORKER: it drains, has 1 job in hand"},
		{"P21", func(s *site) {
			s.hire(ends)
			js := s.js.JetStream()
			_, err := js.CreateStream(s.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*"}})
			s.must(err)
			_, err = js.CreateConsumer(s.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "warehouse"})
			s.must(err)
			s.write("pipe.1", registry.KnownPipeline{Name: "books", Stream: "ORDERS", Consumer: "warehouse"}, time.Hour)
			time.Sleep(time.Minute)
			_, err = js.Publish(s.Context(), "orders.eu", nil)
			s.must(err)
		}, "unserved books: pipeline books: no process serves it, and 1 message waits in stream ORDERS"},
	}
}

// write writes a key of the registry, as a worker does.
func (s *site) write(key string, value any, ttl time.Duration) {
	s.Helper()
	data, err := json.Marshal(value)
	s.must(err)
	_, err = s.js.Publish(s.Context(), &nats.Msg{Subject: "$KV.millhand-registry." + key, Header: nats.Header{"Nats-TTL": {ttl.String()}}, Data: data})
	s.must(err)
}

// lose lets nothing through whose subject has one of these in it.
func lose(parts ...string) func(subject string) natstest.Fate {
	return func(subject string) natstest.Fate {
		for _, p := range parts {
			if strings.Contains(subject, p) {
				return natstest.Lost
			}
		}
		return natstest.Pass
	}
}
