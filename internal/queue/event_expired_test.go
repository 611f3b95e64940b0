package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// enqueueExpiring stores a job that is to start within 10 s of its time.
func (s *scene) enqueueExpiring(id string, due time.Time) *job.Record {
	s.t.Helper()
	r := s.record(id)
	r.Expires = 10 * time.Second
	e := enqueueOf(r, true, 0)
	e.RunAt = due
	if err := s.store.Enqueue(s.ctx, e); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// A job that nobody starts in time is ended by whoever waits for it, as a worker would end it.
func TestAwaitedJobExpires(t *testing.T) {
	for _, n := range []int{1, 20} {
		for name, delay := range map[string]time.Duration{"ready": 0, "delayed": time.Minute} {
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					c := s.crowd()
					var due time.Time
					if delay > 0 {
						due = time.Now().Add(delay)
					}
					var lives []string
					for i := range n {
						r := s.enqueueExpiring(fmt.Sprintf("j%d", i), due)
						lives = append(lives, r.Life)
						c.await(s.ctx, r.ID, r.Life)
					}
					from := time.Now()
					c.waiting.Wait()
					if took := time.Since(from); took < delay+11*time.Second || took > delay+15*time.Second {
						t.Errorf("told after %v", took)
					}
					for id, v := range c.told {
						if v.err != nil || v.event.Kind != job.EventDead || v.event.Reason != job.ReasonExpired {
							t.Errorf("%s: %+v, %v", id, v.event, v.err)
						}
					}
					s.checkEnded(lives...)
				})
			})
		}
	}
}

// What a worker has in hand is the worker's, and what nobody waits for stays.
func TestJobInHandDoesNotExpire(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		c, n := s.crowd(), s.node("n")
		held, left := s.enqueueExpiring("held", time.Time{}), s.enqueueExpiring("left", time.Time{})
		h := n.pull()
		n.renewer.Keep(h)
		c.await(s.ctx, held.ID, held.Life)
		s.sleep(time.Minute)
		if got := s.kinds(held.Life) + s.kinds(left.Life); got != "" {
			t.Fatalf("events %q", got)
		}
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		c.waiting.Wait()
		if v := c.told["held"]; v.err != nil || v.event.Kind != job.EventSucceeded {
			t.Errorf("held: %+v, %v", v.event, v.err)
		}
	})
}

// expiring enqueues a job that expires after a minute.
func (s *scene) expiring(id string) *job.Record {
	s.t.Helper()
	e := enqueueOf(s.record(id), true, 0)
	e.Record.Expires = time.Minute
	if err := s.store.Enqueue(s.ctx, e); err != nil {
		s.t.Fatal(err)
	}
	return e.Record
}

// A worker that pulls the job at the moment at which a waiter ends it makes no second end.
func TestAWaiterAndAWorkerEndAJobTogether(t *testing.T) {
	for pulled := 61 * time.Second; pulled < 65*time.Second; pulled += 250 * time.Millisecond {
		inScene(t, func(t *testing.T, s *scene) {
			r := s.expiring("a")
			end := s.await(r.Life)
			s.sleep(pulled)
			var ran startTimes
			s.station("n", 1, ran.run)
			if e := <-end; e.err != nil || e.Reason != job.ReasonExpired {
				t.Errorf("pulled after %v: Await = %+v, %v", pulled, e.Event, e.err)
			}
			s.sleep(10 * time.Second)
			s.checkEnded(r.Life)
			if len(ran.at) > 0 {
				t.Errorf("pulled after %v: it ran", pulled)
			}
		})
	}
}

// One who may not write events goes on waiting, and says nothing to the broker again and again.
func TestAWaiterThatMayNotEndAJob(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.expiring("a")
		l := s.server.Link()
		store := s.open(l.Connect(t), Config{})
		tried := count(l, "millhand.event.", natstest.Pass)
		store.mayNotEnd.Store(true)
		done := make(chan error, 1)
		go func() {
			_, err := store.AwaitFinal(s.ctx, testPlace("a"), r.Life)
			done <- err
		}()
		s.sleep(10 * time.Minute)
		if tried.Load() > 0 {
			t.Errorf("it tried %d times", tried.Load())
		}
		s.station("n", 1, succeed)
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.checkEnded(r.Life)
	})
}
