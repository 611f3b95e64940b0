package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// cronScene is a scene with entries that all tickers of it know at once.
type cronScene struct {
	*scene
	mu      sync.Mutex
	crons   map[string]Cron
	rev     uint64
	tickers []*tickingNode
}

// tickingNode is a worker that does nothing but publish ticks.
type tickingNode struct {
	scene   *cronScene
	link    *natstest.Link
	changed chan struct{}
	stop    func()
}

func cronName(s string) job.Name {
	name, err := job.CronName(s)
	if err != nil {
		panic(err)
	}
	return name
}

func inCronScene(t *testing.T, f func(s *cronScene)) {
	t.Helper()
	inScene(t, func(_ *testing.T, s *scene) { f(&cronScene{scene: s, crons: make(map[string]Cron)}) })
}

func (s *cronScene) entry(schedule string, o cron.Overlap, c cron.CatchUp) Cron {
	s.t.Helper()
	parsed, err := cron.Parse(schedule, "Europe/Amsterdam", time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return Cron{
		Entry: cron.Entry{Name: "e", Schedule: parsed, Overlap: o, CatchUp: c, Grace: cron.DefaultGrace},
		Job:   job.Record{Queue: testQueue, Type: testType, Payload: []byte("{}")},
	}
}

// put writes an entry with a new revision.
func (s *cronScene) put(c Cron) Cron {
	s.mu.Lock()
	s.rev++
	c.Rev, c.Edited = s.rev, time.Now()
	s.crons[c.Name] = c
	s.mu.Unlock()
	for _, n := range s.tickers {
		wake(n.changed)
	}
	return c
}

func (s *cronScene) remove(name string) Cron {
	return s.put(Cron{Entry: cron.Entry{Name: name, Removed: true}})
}

func (s *cronScene) all() []Cron {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Cron
	for _, c := range s.crons {
		all = append(all, c)
	}
	return all
}

func (s *cronScene) current(_ context.Context, name string) (cron.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crons[name].Entry, nil
}

// ticker starts a worker's ticker over a connection of its own.
func (s *cronScene) ticker(name string) *tickingNode {
	s.t.Helper()
	n := &tickingNode{scene: s, link: s.server.Link(), changed: make(chan struct{}, 1)}
	nc := n.link.Connect(s.t, nats.PingInterval(24*time.Hour))
	store := s.open(nc, Config{AckWait: testWait, Node: name})
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() { ended <- NewTicker(store, s.all, n.changed, s.current).Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		n.link.Crash()
		nc.Close()
		if err := <-ended; err != nil && !errors.Is(err, nats.ErrConnectionClosed) { // before it had begun
			s.t.Errorf("ticker %s: %v", name, err)
		}
	})
	s.t.Cleanup(n.stop)
	s.tickers = append(s.tickers, n)
	return n
}

// ready returns the ticks whose jobs are ready, in order.
func (s *cronScene) ready() (ticks []time.Time) {
	s.t.Helper()
	for _, m := range s.waiting() {
		r, ok := s.store.names.parseJobSubject(m.Subject)
		if !ok || m.Subject != subjectOf(r.ID) {
			continue
		}
		if err := r.ReadHeader(m.Header); err != nil || r.Tick == nil {
			s.t.Fatalf("%s is no tick: %v, %v", m.Subject, m.Header, err)
		}
		ticks = append(ticks, r.Tick.Time)
	}
	return ticks
}

// want returns the ticks of an entry after one time and up to another.
func want(c Cron, after, until time.Time) (ticks []time.Time) {
	for t := c.Schedule.Next(after); !t.After(until); t = c.Schedule.Next(t) {
		ticks = append(ticks, t)
	}
	return ticks
}

func sameTimes(a, b []time.Time) bool { return slices.EqualFunc(a, b, time.Time.Equal) }

func TestEachTickIsPublishedOnce(t *testing.T) {
	for _, schedule := range []string{"@every 1s", "@every 7s", "@every 1m", "* * * * *"} {
		t.Run(schedule, func(t *testing.T) {
			inCronScene(t, func(s *cronScene) {
				for _, name := range []string{"a", "b", "c"} {
					s.ticker(name)
				}
				begun := time.Now()
				e := s.put(s.entry(schedule, cron.AllowOverlap, cron.CatchUpOne))
				first := e.Schedule.Next(begun)
				until := first.Add(40 * e.Schedule.Next(first).Sub(first))
				time.Sleep(until.Sub(begun) + 300*time.Millisecond)
				if got, want := s.ready(), want(e, begun, until); !sameTimes(got, want) {
					s.t.Errorf("ready: %v, want %v", got, want)
				}
			})
		})
	}
}
