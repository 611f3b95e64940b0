package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

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

// A job may end while somebody comes who waits for it: the hint was too early for that one, and the event
// too late for the first look.
func TestWaitersComeAsJobsEnd(t *testing.T) {
	for _, n := range []int{1, 20, maxOwn + 10} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				s.setDirect(true)
				c, node := s.crowd(), s.node("n")
				jobs := s.enqueueMany(n)
				came := time.Now()
				for _, r := range jobs {
					c.await(s.ctx, r.ID, r.Life)
				}
				s.sleep(10 * time.Millisecond)
				c.deafen()
				for range jobs {
					node.succeed("7")
				}
				c.waiting.Wait()
				for id, at := range c.toldAt {
					if took := at.Sub(came); took < 10*time.Millisecond || took > lookHintedMost {
						t.Errorf("who waits for %s was told after %v", id, took)
					}
				}
			})
		})
	}
}

// Whatever happens while many wait, each of them is told what became of its job.
func TestWaitersAreTold(t *testing.T) {
	const n = 20
	for name, befalls := range map[string]func(s *scene, c *crowd, node *node, end func()){
		"ended before": nil,
		"nothing":      func(_ *scene, _ *crowd, _ *node, end func()) { end() },
		"the broker stopped": func(s *scene, c *crowd, node *node, end func()) {
			s.server.Stop()
			s.sleep(20 * time.Second)
			s.server.Start(s.t)
			for connected := false; !connected; s.sleep(time.Second) {
				connected = c.nc.IsConnected() && node.nc.IsConnected()
			}
			end()
		},
		"the broker stopped after the end": func(s *scene, c *crowd, _ *node, end func()) {
			c.link.Hold()
			end()
			s.server.Stop()
			c.link.Release()
			s.sleep(20 * time.Second)
			s.server.Start(s.t)
		},
		"hints were lost": func(s *scene, c *crowd, _ *node, end func()) {
			c.link.Crash()
			end()
			s.sleep(10 * time.Second)
			c.link.Up()
		},
		"it was stopped": func(s *scene, c *crowd, _ *node, end func()) {
			c.link.Hold()
			end()
			s.sleep(10 * time.Second)
			c.link.Release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				s.setDirect(true)
				c, node := s.crowd(), s.node("n")
				jobs := s.enqueueMany(n)
				end := func() {
					for range jobs {
						if err := node.settle(node.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no"}); err != nil {
							t.Fatal(err)
						}
					}
				}
				if befalls == nil {
					end()
				}
				for _, r := range jobs {
					c.await(s.ctx, r.ID, r.Life)
				}
				s.sleep(time.Second)
				if befalls != nil {
					befalls(s, c, node, end)
				}
				from := time.Now()
				c.waiting.Wait()
				for _, r := range jobs {
					if v := c.told[r.ID]; v.err != nil || v.event.Life != r.Life || v.event.Reason != job.ReasonPermanent {
						t.Errorf("%s: %+v, %v", r.ID, v.event, v.err)
					}
				}
				if took := time.Since(from); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// Among many, too, each waits for its own life, and learns that nothing is known.
func TestWaitersOfLives(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.setDirect(true)
		c, n := s.crowd(), s.node("n")
		old := s.enqueue("again")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded, Result: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Millisecond)
		s.enqueue("again")
		over := s.enqueue("over")
		s.publish("over", nil, "{}") // by somebody who did not ask
		silent := s.enqueue("silent")
		for _, r := range s.enqueueMany(20) {
			c.await(s.ctx, r.ID, r.Life)
		}
		c.await(s.ctx, "again", old.Life)
		c.await(s.ctx, "over", over.Life)
		c.await(s.ctx, "silent", silent.Life)
		c.await(s.ctx, "nobody", "")
		c.await(s.ctx, "nobody-ever", "never")
		s.sleep(time.Second)
		c.mu.Lock()
		defer c.mu.Unlock()
		if v := c.told["again"]; v.err != nil || string(v.event.Result) != "1" {
			t.Errorf("an earlier life: %+v, %v", v.event, v.err)
		}
		for _, id := range []string{"nobody", "nobody-ever"} {
			if v := c.told[id]; !errors.Is(v.err, ErrNotFound) {
				t.Errorf("%s: %+v, %v", id, v.event, v.err)
			}
		}
		if len(c.told) != 3 {
			t.Errorf("told: %v", c.told)
		}
		c.mu.Unlock()
		for range n.waiting() {
			h := n.pull()
			n.settler.Settle(h, Outcome{Kind: job.EventSucceeded, Silent: h.ID == "silent"})
		}
		c.waiting.Wait()
		c.mu.Lock()
		if v := c.told["silent"]; !errors.Is(v.err, ErrNotFound) {
			t.Errorf("silent: %+v, %v", v.event, v.err)
		}
		if v := c.told["over"]; v.err != nil || v.event.Life != over.Life {
			t.Errorf("published over: %+v, %v", v.event, v.err)
		}
	})
}

// Whoever looks for the others may go at any time, and so may the connection.
func TestWaitersComeAndGo(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		s := newScene(t, server)
		s.setDirect(rapid.Bool().Draw(t, "direct"))
		c, n := s.crowd(), s.node("n")
		type stay struct {
			id, life string
			leave    context.CancelFunc
		}
		var there []stay
		stays := make(map[string]bool)
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				for range rapid.IntRange(1, 8).Draw(t, "come") {
					r := s.enqueue(fmt.Sprintf("j%d", len(stays)))
					ctx, cancel := context.WithCancel(s.ctx)
					there = append(there, stay{r.ID, r.Life, cancel})
					stays[r.ID] = true
					c.await(ctx, r.ID, r.Life)
				}
			case 3:
				if len(there) > 0 {
					i := rapid.IntRange(0, len(there)-1).Draw(t, "goes")
					there[i].leave()
					stays[there[i].id] = false
				}
			case 4:
				c.link.Cut()
			case 5:
				if h := n.tryPull(time.Second, testWait); h != nil {
					if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
						t.Fatal(err)
					}
				}
			}
			time.Sleep(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
		}
		n.finishAll(Outcome{Kind: job.EventSucceeded})
		from := time.Now()
		c.waiting.Wait()
		if took := time.Since(from); took > 5*time.Second {
			t.Errorf("the last was told after %v", took)
		}
		for id, stayed := range stays {
			if v := c.told[id]; v.err != nil && (stayed || !errors.Is(v.err, context.Canceled)) {
				t.Errorf("%s: %v", id, v.err)
			}
		}
		for _, w := range there {
			w.leave()
		}
		if own, wide := c.hears(); own+wide != 0 {
			t.Errorf("%d and %d are still heard", own, wide)
		}
	})
}
