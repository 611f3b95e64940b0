package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

var rounds = flag.Int("rounds", 1, "of an unlucky operator, each about fifteen seconds")

// An unlucky operator removes, edits and purges streams, consumers and the bucket, while jobs are enqueued and run and
// workers are killed. Nothing that was acknowledged is lost, but for what was in a queue when that was removed or purged,
// and no job ends twice.
func TestUnluckyOperator(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("the same again: go test ./test/integration -run TestUnluckyOperator -seed %d -rounds %d", *seed, *rounds)
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		b := startBroker(t)
		misuse(t, b.URL)
	})
	t.Run("three servers", func(t *testing.T) {
		t.Parallel()
		misuse(t, urls(startCluster(t, func(string) {})))
	})
}

// A misused namespace, and what happens in it.
type misused struct {
	js      jetstream.JetStream
	random  *rand.Rand
	journal *journal
	url     string
	workers [2]*probe

	mu   sync.Mutex
	jobs map[millhand.Ref]time.Time // that were acknowledged, and when that was asked for
}

func misuse(t *testing.T, url string) {
	t.Helper()
	m := &misused{
		random:  rand.New(rand.NewPCG(*seed, 0)), //nolint:gosec // not a secret
		journal: newJournal(t), url: url, jobs: make(map[millhand.Ref]time.Time),
	}
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	m.js = js
	for i := range m.workers {
		m.workers[i] = m.hire(t)
	}
	stop := m.load(t)
	var emptied time.Time // the last removal or purge of the queue: what came before it may be gone
	for range *rounds {
		for _, step := range m.steps() {
			before := time.Now()
			if err := step.do(t.Context()); err != nil {
				t.Logf("%s: %v", step.name, err) // The cluster may be busy with the last one.
			}
			if step.empties {
				emptied = time.Now()
			}
			t.Logf("%s in %v", step.name, time.Since(before).Round(time.Millisecond))
			pause(time.Duration(200+m.random.IntN(800)) * time.Millisecond)
			if m.random.IntN(3) == 0 {
				i := m.random.IntN(len(m.workers))
				m.workers[i].kill(t)
				m.workers[i] = m.hire(t)
			}
		}
	}
	calm := time.Now()
	until(t, "jobs are enqueued that nothing happens to", func() bool { return m.since(calm) >= 100 })
	stop()
	m.check(t, emptied)
}

func (m *misused) hire(t *testing.T) *probe {
	t.Helper()
	return launchProbe(t, m.journal, probeArgs{
		URL: m.url, Types: []string{"work", "limited"}, Concurrency: 8,
		Quotas: []millhand.Quota{{Type: "limited", Limit: 3}}, PermitTTL: 3 * time.Second,
	})
}

// load enqueues jobs until stop is called.
func (m *misused) load(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, m.url)
	var all sync.WaitGroup
	for _, typ := range []string{"work", "limited"} {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				asked := time.Now()
				call, done := context.WithTimeout(ctx, 5*time.Second)
				takes := time.Duration(n%40) * time.Millisecond
				if n%100 == 0 {
					takes = 2 * time.Second // It is in hand while much is removed.
				}
				ref, err := c.Enqueue(call, millhand.Raw{Name: typ, Payload: fmt.Appendf(nil, `{"for":%d}`, takes)},
					millhand.WithID(fmt.Sprintf("%s-%d", typ, n)))
				done()
				if err == nil {
					m.mu.Lock()
					m.jobs[ref] = asked
					m.mu.Unlock()
				}
				pause(10 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// since counts the jobs that were acknowledged and asked for later.
func (m *misused) since(begin time.Time) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, asked := range m.jobs {
		if asked.After(begin) {
			n++
		}
	}
	return n
}

type step struct {
	name    string
	empties bool // the queue
	do      func(context.Context) error
}

// steps are what the operator does, in random order.
func (m *misused) steps() []step {
	const queue, events, dead, bucket = "millhand-queue-default", "millhand-events", "millhand-dead", "millhand-registry"
	purge := func(stream string) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := m.js.Stream(ctx, stream)
			if err != nil {
				return err
			}
			return s.Purge(ctx)
		}
	}
	remove := func(stream string) func(context.Context) error {
		return func(ctx context.Context) error { return m.js.DeleteStream(ctx, stream) }
	}
	steps := []step{
		{name: "consumer removed", do: func(ctx context.Context) error { return m.js.DeleteConsumer(ctx, queue, "work") }},
		{name: "limited consumer removed", do: func(ctx context.Context) error { return m.js.DeleteConsumer(ctx, queue, "limited") }},
		{name: "consumer paused", do: func(ctx context.Context) error {
			_, err := m.js.PauseConsumer(ctx, queue, "work", time.Now().Add(time.Second))
			return err
		}},
		{name: "events purged", do: purge(events)},
		{name: "events removed", do: remove(events)},
		{name: "dead removed", do: remove(dead)},
		{name: "bucket removed", do: func(ctx context.Context) error { return m.js.DeleteKeyValue(ctx, bucket) }},
		{name: "queue purged", empties: true, do: purge(queue)},
		{name: "queue removed", empties: true, do: remove(queue)},
		{name: "limits edited", do: func(ctx context.Context) error {
			s, err := m.js.Stream(ctx, queue)
			if err != nil {
				return err
			}
			c := s.CachedInfo().Config
			c.MaxMsgSize = 1 << 20
			_, err = m.js.UpdateStream(ctx, c)
			return err
		}},
	}
	m.random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	return steps
}

// check waits until the queue is empty, and asks for the end of each job.
func (m *misused) check(t *testing.T, emptied time.Time) {
	t.Helper()
	awaitEmpty(t, m.js, "default")
	ended := make(map[string]bool)
	for _, e := range m.journal.read(t) {
		if e.what == "end" {
			ended[e.id] = true
		}
	}
	safe := 0
	for ref, asked := range m.jobs {
		if asked.Before(emptied) {
			continue
		}
		safe++
		if !ended[ref.ID] {
			t.Errorf("job %s was acknowledged, and never ran to its end", ref.ID)
		}
	}
	finals := make(map[string]int)
	for ref, events := range allEvents(t, connect(t, m.url), m.js) {
		for _, e := range events {
			if e.State.Final() {
				finals[ref.ID+" life "+ref.Life]++
			}
		}
	}
	for life, n := range finals {
		if n != 1 {
			t.Errorf("job %s has %d final events", life, n)
		}
	}
	t.Logf("%d jobs acknowledged, %d of them after the queue was last emptied; %d ends are in the history", len(m.jobs), safe, len(finals))
	if _, err := m.js.Stream(t.Context(), "millhand-events"); errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Error("the events stream was not made again")
	}
}
