package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

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
