package verify_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/verify"
)

const defaultQueue = "millhand-queue-default"

// A plant is a fault, and which checks are to find it.
type plant struct {
	name  string
	want  []string
	text  string // is in what is found
	fault func(t *testing.T, m *mill)
}

// What is planted is found, by whoever is to find it and by nobody else.
func TestPlantedFaultsAreFound(t *testing.T) {
	for _, p := range slices.Concat(plantsOfSetup(), plantsOfJobs(), plantsOfLimits()) {
		t.Run(p.name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				m := newMill(t, s)
				p.fault(t, m)
				r := m.verify(t, verify.Options{})
				if got := violated(r); !slices.Equal(got, p.want) {
					t.Errorf("violated %q, want %q", got, p.want)
				}
				found := false
				for _, c := range r.Checks {
					for _, f := range c.Findings {
						t.Logf("%s %s: %s", c.ID, f.About, f.Text)
						found = found || strings.Contains(f.Text, p.text)
						if len(f.Seen) < 2 {
							t.Errorf("%s: seen %v only", c.ID, f.Seen)
						}
					}
				}
				if !found {
					t.Errorf("nothing says %q", p.text)
				}
			})
		})
	}
}

func plantsOfSetup() []plant {
	return []plant{
		{"a queue that drops old jobs", []string{"S02"}, "drops jobs that are older than 1h", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.edit(t, defaultQueue, func(cfg *jetstream.StreamConfig) { cfg.MaxAge = time.Hour })
		}},
		{"a source that takes jobs", []string{"S02"}, "copy is a mirror or source of", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			js := m.cfg.Client.JetStream()
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "copy", Sources: []*jetstream.StreamSource{{Name: defaultQueue, FilterSubject: "millhand.default.cron.*"}}}); err != nil {
				t.Fatal(err)
			}
		}},
		{"a job before the pin", []string{"S03"}, "begins with millhand.default.later.wait.", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "wait")
			m.enqueue(t, 1, "wait", millhand.WithDelay(time.Hour))
			if err := m.cfg.Client.Remove(t.Context(), defaultQueue, m.first(t)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a foreign consumer", []string{"S04"}, "consumer spy of queue default: it is no worker's", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.consume(t, "spy", "millhand.default.ready.other.*")
		}},
		{"events that are dropped early", []string{"S05"}, "keeps events for 10m0s", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.edit(t, "millhand-events", func(cfg *jetstream.StreamConfig) { cfg.MaxAge = 10 * time.Minute })
		}},
		{"no events", []string{"S05"}, "there is no stream millhand-events, and workers run", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			if err := m.cfg.Client.JetStream().DeleteStream(t.Context(), "millhand-events"); err != nil {
				t.Fatal(err)
			}
		}},
		{"a clock that is ahead", []string{"S07"}, "is 7s ahead", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.say(t, "quick", "a", queue.Event{Kind: job.EventSucceeded, Life: "l", Attempt: 1, Node: m.worker(t), Time: time.Now().Add(7 * time.Second)})
		}},
	}
}

func plantsOfJobs() []plant {
	return []plant{
		{"a job that has ended and waits", []string{"C01"}, "has ended (succeeded", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			ref := m.enqueue(t, 1, "quick", millhand.WithDelay(time.Hour))[0]
			m.say(t, "quick", ref.ID, queue.Event{Kind: job.EventSucceeded, Life: m.message(t, ref).Life, Attempt: 1, Time: time.Now()})
			time.Sleep(time.Minute)
		}},
		{"a second end", []string{"C02"}, "ended with succeeded", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			ref := m.enqueue(t, 1, "quick")[0]
			life := m.message(t, ref).Life
			time.Sleep(time.Second)
			m.say(t, "quick", ref.ID, queue.Event{Kind: job.EventCancelled, Life: life, Attempt: 1})
		}},
		{"a record without an event", []string{"C03"}, "dead record", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.say(t, "quick", "other", queue.Event{Kind: job.EventSucceeded, Life: "l", Attempt: 1})
			r := job.Record{Queue: "default", Type: "quick", ID: "orphan", Life: "l", Attempt: 1}
			m.publish(t, "millhand.dead.default.quick.orphan", r.Header(), nil)
		}},
		{"a death without a record", []string{"C03"}, "died (event", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.say(t, "quick", "gone", queue.Event{Kind: job.EventDead, Life: "l", Attempt: 1, Reason: job.ReasonExhausted})
			time.Sleep(time.Minute)
		}},
		{"too many attempts", []string{"C04"}, "has attempt 12 of 10", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			ref := m.enqueue(t, 1, "quick", millhand.WithDelay(time.Hour))[0]
			msg := m.message(t, ref)
			msg.Attempt, msg.MaxAttempts = 12, 10
			header := nats.Header(msg.Header())
			header.Set("Nats-Schedule", "@at "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			header.Set("Nats-Schedule-Target", "millhand.default.ready.quick."+ref.ID)
			m.publish(t, "millhand.default.later.quick."+ref.ID, header, nil)
		}},
		{"a job that runs and is gone", []string{"C05"}, "is not in its queue", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "wait")
			ref := m.enqueue(t, 1, "wait")[0]
			time.Sleep(2 * time.Second)
			if err := m.cfg.Client.Remove(t.Context(), defaultQueue, m.message(t, ref).Seq); err != nil {
				t.Fatal(err)
			}
		}},
		{"a job at two workers", []string{"C06"}, " runs at ", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "wait")
			ref := m.enqueue(t, 1, "wait")[0]
			time.Sleep(2 * time.Second)
			m.pretend(t, "other", registry.Running{ID: ref.ID, Type: "wait", Queue: "default", Since: time.Now()})
		}},
		{"a job that is handed out to nobody", []string{"C07"}, "no worker serves it", func(t *testing.T, m *mill) {
			m.enqueue(t, 1, "wait")
			c := m.consume(t, "wait", "millhand.default.ready.wait.*")
			if got, err := c.Fetch(1); err != nil || len(slices.Collect(messages(got))) != 1 {
				t.Fatal("nothing was handed out", err)
			}
		}},
		{"jobs that nobody serves", []string{"Q01"}, "3 jobs of type resize in queue default: no worker serves it", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.enqueue(t, 3, "resize")
		}},
		{"too many jobs that nobody has ever served to be counted", []string{"Q01"}, "999 jobs or more of type resize in queue default: no worker has ever served it", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			m.enqueue(t, 20_100, "resize")
		}},
		{"a tick that nobody enqueues", []string{"Q02"}, "nightly: its tick of", func(t *testing.T, m *mill) {
			if err := m.client.PutCron(t.Context(), millhand.Cron{Name: "nightly", Schedule: "@every 1m", Args: millhand.Raw{Name: "quick", Payload: []byte(`{}`)}}); err != nil {
				t.Fatal(err)
			}
			m.enqueue(t, 1, "wait", millhand.WithDelay(24*time.Hour))
			m.pretend(t, "idle")
			time.Sleep(30 * time.Minute)
		}},
	}
}

func plantsOfLimits() []plant {
	quota := func(t *testing.T, m *mill, n int) {
		t.Helper()
		if err := m.client.SetQuota(t.Context(), millhand.Quota{Type: "wait", Limit: n}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
	}
	return []plant{
		{"permits above the limit", []string{"L01"}, "wait: workers hold 50 permits, the limit is 2", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			quota(t, m, 2)
			m.put(t, "grant.wait.other", registry.Grant{Held: 50}, time.Hour)
		}},
		{"more jobs than the limit", []string{"C05", "L02"}, "wait: 3 jobs run, 2 are allowed", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "wait")
			quota(t, m, 2)
			m.enqueue(t, 3, "wait")
			time.Sleep(5 * time.Second)
			m.put(t, "grant.wait.other", registry.Grant{}, time.Hour)
			m.pretend(t, "other", registry.Running{ID: m.third(t), Type: "wait", Queue: "default", Since: time.Now()})
			time.Sleep(5 * time.Second)
		}},
		{"more starts than the rate", []string{"L03"}, "rate of quick: ", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			if err := m.client.SetQuota(t.Context(), millhand.Quota{Type: "quick", Limit: 5, Per: time.Minute}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			for i := range 6 {
				m.say(t, "quick", string(rune('a'+i)), queue.Event{Kind: job.EventSucceeded, Life: "l", Attempt: 1, StartedAt: time.Now().Add(-10 * time.Second)})
			}
		}},
		{"a grant that does not expire", []string{"L04"}, "the key grant.wait.other", func(t *testing.T, m *mill) {
			m.hire(t, millhand.WorkerConfig{}, "quick")
			quota(t, m, 2)
			m.put(t, "grant.wait.other", registry.Grant{Held: 1}, 0)
		}},
	}
}

func (m *mill) edit(t *testing.T, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	if err := m.cfg.Client.Edit(t.Context(), name, func(cfg *jetstream.StreamConfig) bool { change(cfg); return true }); err != nil {
		t.Fatal(err)
	}
}

func (m *mill) consume(t *testing.T, name, filter string) jetstream.Consumer {
	t.Helper()
	c, err := m.cfg.Client.JetStream().CreateConsumer(t.Context(), defaultQueue, jetstream.ConsumerConfig{
		Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: -1, MaxAckPending: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// first is the sequence of the first message of the queue.
func (m *mill) first(t *testing.T) uint64 {
	t.Helper()
	info, err := m.cfg.Client.Info(t.Context(), defaultQueue)
	if err != nil {
		t.Fatal(err)
	}
	return info.State.FirstSeq
}

// worker is the id of the worker that is there.
func (m *mill) worker(t *testing.T) string {
	t.Helper()
	nodes, err := m.cfg.Registry.Nodes(t.Context())
	if err != nil || len(nodes) != 1 {
		t.Fatalf("workers %v, %v", nodes, err)
	}
	return nodes[0].ID
}

// messages are those of a fetch.
func messages(b jetstream.MessageBatch) func(yield func(jetstream.Msg) bool) {
	return func(yield func(jetstream.Msg) bool) {
		for msg := range b.Messages() {
			if !yield(msg) {
				return
			}
		}
	}
}

// third is the id of the job that waits behind the quota of two.
func (m *mill) third(t *testing.T) string {
	t.Helper()
	running, err := m.cfg.Registry.Running(t.Context(), "wait")
	if err != nil || len(running) != 2 {
		t.Fatalf("running %v, %v", running, err)
	}
	for msg, err := range m.cfg.Store.Jobs(t.Context(), queue.JobFilter{Queue: mustQueue(t)}) {
		if err != nil {
			t.Fatal(err)
		}
		if msg.ID != running[0].ID && msg.ID != running[1].ID {
			return msg.ID
		}
	}
	t.Fatal("no third job")
	return ""
}

func mustQueue(t *testing.T) job.Name {
	t.Helper()
	name, err := job.QueueName("default")
	if err != nil {
		t.Fatal(err)
	}
	return name
}
