package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// Jobs that wait for their time, beside what any client of the broker would do. Both run in turns:
//
//	go test -run '^$' -bench 'Delayed|DueAtOnce' -benchtime 20000x -count 3 ./internal/queue

// benchQueue is an open queue with a consumer of its type, in real time.
func benchQueue(b *testing.B) *scene {
	b.Helper()
	return newScene(b, natstest.Real(b))
}

func BenchmarkDelayedEnqueue(b *testing.B) {
	const callers = 16 // for each of two processors
	s := benchQueue(b)
	var n atomic.Int64
	each := func(b *testing.B, f func(id string) error) {
		b.Helper()
		b.SetParallelism(callers)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := f(fmt.Sprintf("j%d", n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("millhand", func(b *testing.B) {
		each(b, func(id string) error {
			e := enqueueOf(benchDelayed(id), false, 0)
			e.Delay = time.Hour
			return s.store.Enqueue(s.ctx, e)
		})
	})
	b.Run("bare", func(b *testing.B) {
		at := time.Now().Add(time.Hour)
		each(b, func(id string) error {
			_, err := s.store.js.PublishMsg(s.ctx, bareSchedule(s, id, at))
			return err
		})
	})
}

// BenchmarkKeptID is what an id that stays taken costs an enqueue by 32 callers, beside one of choice, in turns.
func BenchmarkKeptID(b *testing.B) {
	s := benchQueue(b)
	var n atomic.Int64
	for range 4 {
		for name, kept := range map[string]time.Duration{"chosen": 0, "kept": time.Hour} {
			b.Run(name, func(b *testing.B) {
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						e := enqueueOf(benchDelayed(fmt.Sprintf("j%d", n.Add(1))), true, 0)
						e.UniqueFor = kept
						if err := s.store.Enqueue(s.ctx, e); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func benchDelayed(id string) *job.Record {
	r := benchRecord(id)
	r.Queue, r.Type, r.Life = testQueue, testType, id
	return r
}

// bareSchedule is the same job, put together by hand.
func bareSchedule(s *scene, id string, at time.Time) *nats.Msg {
	m := s.store.jobMsg(testPlace(id), benchDelayed(id), at)
	m.Header[stream.HeaderMsgID] = []string{id}
	return m
}

// BenchmarkDueAtOnce is how long after their time all but one in a hundred have started. The broker makes
// jobs ready and has those stored that have ended with the same processors, so a bare consumer that has
// an event stored before each ack shows how much of the difference is ours.
func BenchmarkDueAtOnce(b *testing.B) {
	const jobs = 10_000
	for _, engine := range []string{"millhand", "bare", "bare with events"} {
		b.Run(engine, func(b *testing.B) {
			s := benchQueue(b)
			due := time.Now().Add(5 * time.Second)
			var mu sync.Mutex
			var late []time.Duration
			all := make(chan struct{})
			started := func() {
				mu.Lock()
				defer mu.Unlock()
				if late = append(late, time.Since(due)); len(late) == jobs {
					close(all)
				}
			}
			if engine == "millhand" {
				s.station("n", 1000, func(h *Delivery) Outcome { started(); return succeed(h) })
			} else {
				stop := bareConsumer(b, s, started, engine != "bare")
				defer stop()
			}
			batch := make([]Enqueue, jobs)
			for i := range batch {
				batch[i] = enqueueOf(benchDelayed(fmt.Sprintf("j%d", i)), false, 0)
				batch[i].RunAt = due
			}
			for i, err := range s.store.EnqueueMany(s.ctx, batch) {
				if err != nil {
					b.Fatalf("batch[%d]: %v", i, err)
				}
			}
			if early := time.Until(due); early < 0 {
				b.Fatalf("it took too long to enqueue them, by %v", -early)
			}
			<-all
			slices.Sort(late)
			b.ReportMetric(late[jobs*99/100].Seconds()*1000, "ms/p99")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// bareConsumer pulls and acknowledges by the client library's own means, with events once those are
// stored.
func bareConsumer(b *testing.B, s *scene, started func(), events bool) (stop func()) {
	b.Helper()
	c, err := s.store.js.Consumer(context.Background(), s.store.names.queueStream(queueName()), testType)
	if err != nil {
		b.Fatal(err)
	}
	type end struct {
		jetstream.Msg
		stored jetstream.PubAckFuture
	}
	ended := make(chan end, 1000)
	var acks sync.WaitGroup
	acks.Go(func() {
		for e := range ended {
			<-e.stored.Ok()
			_ = e.Ack()
		}
	})
	consuming, err := c.Consume(func(m jetstream.Msg) {
		started()
		if !events {
			_ = m.Ack()
			return
		}
		event := eventByHand(s, m)
		stored, err := s.store.js.PublishMsgAsync(event)
		if err != nil {
			b.Error(err)
			return
		}
		ended <- end{m, stored}
	}, jetstream.PullMaxMessages(1000))
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		consuming.Stop()
		<-consuming.Closed()
		close(ended)
		acks.Wait()
	}
}

// eventByHand is an event of a job, as large as one of ours and with its condition.
func eventByHand(s *scene, m jetstream.Msg) *nats.Msg {
	id := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
	e := &nats.Msg{Subject: s.store.names.event(testPlace(id)), Header: make(nats.Header), Data: make([]byte, 200)}
	stream.Expect(e, 0, e.Subject)
	return e
}
