package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// A crowd waits for jobs over a link and a connection of its own.
type crowd struct {
	*scene
	link    *natstest.Link
	nc      *nats.Conn
	store   *Store
	over    <-chan struct{} // closed when the test is
	waiting sync.WaitGroup

	mu       sync.Mutex
	told     map[string]verdict // by id
	toldAt   map[string]time.Time
	requests map[string]int // by the part of the API
}

func (s *scene) crowd() *crowd {
	c := &crowd{scene: s, link: s.server.Link(), told: make(map[string]verdict), toldAt: make(map[string]time.Time), requests: make(map[string]int)}
	c.link.Watch(func(subject string) natstest.Fate {
		if api, ok := strings.CutPrefix(subject, "$JS.API."); ok {
			c.mu.Lock()
			c.requests[api[:strings.LastIndexByte(api, '.')]]++
			c.mu.Unlock()
		}
		return natstest.Pass
	})
	c.nc = c.link.Connect(s.t)
	c.store = s.open(c.nc, Config{})
	over := make(chan struct{})
	c.over = over
	s.t.Cleanup(func() {
		close(over)
		c.waiting.Wait()
	})
	return c
}

// await has somebody wait for a job, until ctx ends or the test.
func (c *crowd) await(ctx context.Context, id, life string) {
	ctx, cancel := context.WithCancel(ctx)
	c.waiting.Go(func() {
		select {
		case <-ctx.Done():
		case <-c.over:
			cancel()
		}
	})
	c.waiting.Go(func() {
		defer cancel()
		e, err := c.store.AwaitFinal(ctx, testPlace(id), life)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told[id], c.toldAt[id] = verdict{e, err}, time.Now()
	})
}

// asked returns how many requests were made since the last time.
func (c *crowd) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, k := range c.requests {
		n += k
	}
	clear(c.requests)
	return n
}

// setDirect allows direct reads of the streams, or forbids them.
func (s *scene) setDirect(allow bool) {
	s.t.Helper()
	for _, name := range []string{s.store.names.eventStream(), s.store.names.queueStream(queueName())} {
		st, err := s.store.js.Stream(s.ctx, name)
		if err != nil {
			s.t.Fatal(err)
		}
		cfg := st.CachedInfo().Config
		cfg.AllowDirect = allow
		if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
			s.t.Fatal(err)
		}
	}
}

// enqueueMany stores n jobs, and returns them.
func (s *scene) enqueueMany(n int) (jobs []*job.Record) {
	for i := range n {
		jobs = append(jobs, s.enqueue(fmt.Sprintf("j%d", i)))
	}
	return jobs
}

// Many who wait hear by few subscriptions, ask seldom, and are all told at once.
func TestWaitersShare(t *testing.T) {
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprintf("direct %v", direct), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				s.setDirect(direct)
				const n = 80 // more than have subscriptions of their own
				c, node := s.crowd(), s.node("n")
				jobs := s.enqueueMany(n)
				for _, r := range jobs {
					c.await(s.ctx, r.ID, r.Life)
				}
				s.sleep(20 * time.Second)
				if got := c.nc.NumSubscriptions(); got > 3 { // for the events of the type, and for answers
					t.Errorf("%d subscriptions for %d who wait", got, n)
				}
				c.asked()
				if direct {
					s.sleep(10 * time.Minute)
					if got, most := c.asked(), 10*60/2+10*60/30+1; got > 2*most { // one look, and whether all are alive
						t.Errorf("%d requests in ten minutes in which nothing happened", got)
					}
				}
				ended := time.Now()
				for range jobs {
					node.succeed("7")
				}
				took := time.Since(ended)
				c.waiting.Wait()
				for _, r := range jobs {
					v := c.told[r.ID]
					if v.err != nil || v.event.Life != r.Life || string(v.event.Result) != "7" {
						t.Errorf("%s: %+v, %v", r.ID, v.event, v.err)
					}
					if late := c.toldAt[r.ID].Sub(ended) - took; late > 50*time.Millisecond {
						t.Errorf("%s was told %v after the last end", r.ID, late)
					}
				}
				if got := c.nc.NumSubscriptions(); got > 2 {
					t.Errorf("%d subscriptions when nobody waits any more", got)
				}
			})
		})
	}
}

// A few are heard one by one, and many together, until few are left.
func TestWaitersHear(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		c := s.crowd()
		jobs := s.enqueueMany(maxOwn + 10)
		ctx := make([]context.CancelFunc, len(jobs))
		for i, r := range jobs {
			var its context.Context
			its, ctx[i] = context.WithCancel(s.ctx)
			c.await(its, r.ID, r.Life)
			s.sleep(time.Second)
			own, wide := c.hears()
			if i < maxOwn && (own != i+1 || wide != 0) || i >= maxOwn && (own != 0 || wide != 1) {
				t.Fatalf("%d wait: %d heard one by one and %d times all", i+1, own, wide)
			}
		}
		for i, cancel := range ctx {
			cancel()
			s.sleep(time.Second)
			own, wide := c.hears()
			switch left := len(ctx) - i - 1; {
			case left >= minWide && (own != 0 || wide != 1), left < minWide && (own != left || wide != 0):
				t.Fatalf("%d wait: %d heard one by one and %d times all", left, own, wide)
			}
		}
		c.waiting.Wait()
	})
}

// succeed ends the next job.
func (n *node) succeed(result string) {
	n.t.Helper()
	if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded, Result: []byte(result)}); err != nil {
		n.t.Fatal(err)
	}
}

func (c *crowd) hears() (own, wide int) {
	t := &c.store.waiters
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.types {
		own += len(h.own)
		if h.wide != nil {
			wide++
		}
	}
	return own, wide
}

// deafen has the crowd hear nothing more of its jobs.
func (c *crowd) deafen() {
	t := &c.store.waiters
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.types {
		h.silence()
	}
}
