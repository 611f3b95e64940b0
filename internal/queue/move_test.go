package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// A job that is moved runs at its new time and only then, with all that it had.
func TestMove(t *testing.T) {
	for name, to := range map[string]time.Duration{"later": 3 * time.Minute, "earlier": time.Minute, "to the past": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				e := s.delayed("a", 2*time.Minute)
				e.Record.Meta, e.Record.MaxAttempts = map[string]string{"k": "v"}, 7
				if err := s.store.Enqueue(s.ctx, e); err != nil {
					t.Fatal(err)
				}
				r, began := e.Record, time.Now()
				s.sleep(10 * time.Second)
				at := began.Add(to)
				if err := s.store.Move(s.ctx, testPlace("a"), r.Life, at); err != nil {
					t.Fatal(err)
				}
				if m, err := s.store.Find(s.ctx, testPlace("a")); to > 0 && (err != nil || !m.RunAt.Equal(at)) {
					t.Errorf("it runs at %v, %v, want %v", m.RunAt, err, at)
				}
				var ran startTimes
				st := s.station("n", 1, ran.run)
				s.sleep(4 * time.Minute)
				s.checkEnded(r.Life)
				h := st.ran[0]
				late := ran.at["a"].Sub(at)
				if to < 0 {
					late = ran.at["a"].Sub(began.Add(10 * time.Second))
				}
				if late < 0 || late > firesEvery {
					t.Errorf("it ran %v late", late)
				}
				if h.Life != r.Life || string(h.Payload) != string(r.Payload) || h.Meta["k"] != "v" || h.MaxAttempts != 7 ||
					!h.EnqueuedAt.Equal(r.EnqueuedAt) || !h.Due.Equal(at) || h.Attempt != 1 {
					t.Errorf("it ran as %+v", h.Record)
				}
			})
		})
	}
}

// What a foreign publisher says of a job that waits is kept, and its missing life is none.
func TestMoveOfAForeignJob(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		m := s.store.jobMsg(testPlace("a"), s.record("a"), time.Now().Add(time.Hour))
		delete(m.Header, job.HeaderLife)
		m.Header["Content-Type"] = []string{"application/json"}
		if _, err := s.store.client.Publish(s.ctx, m); err != nil {
			t.Fatal(err)
		}
		published := time.Now()
		s.sleep(time.Minute)
		if err := s.store.Move(s.ctx, testPlace("a"), "", time.Now().Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		found, err := s.store.Find(s.ctx, testPlace("a"))
		if err != nil || found.header.Get("Content-Type") != "application/json" || found.Life != "" || !found.EnqueuedAt.Equal(published) {
			t.Errorf("moved to %+v, %v", found, err)
		}
	})
}

func TestRunNow(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.enqueueLater("a", time.Hour)
		for range 2 { // the second time it is ready
			if err := s.store.RunNow(s.ctx, testPlace("a"), r.Life); err != nil {
				t.Errorf("RunNow = %v", err)
			}
			s.sleep(firesEvery)
		}
		h := n.pull()
		if err := s.store.RunNow(s.ctx, testPlace("a"), ""); err != nil {
			t.Errorf("RunNow of a job that runs = %v", err)
		}
		if err := n.settle(h, Outcome{Kind: job.EventRetrying, Error: "boom", Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if err := s.store.RunNow(s.ctx, testPlace("a"), ""); err != nil {
			t.Errorf("RunNow of a retry = %v", err)
		}
		s.sleep(firesEvery)
		if h = n.pull(); h.Attempt != 2 || !h.Started {
			t.Errorf("retried as %+v", h.Record)
		}
		if err := n.settle(h, succeed(nil)); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Millisecond) // acks are not confirmed
		s.checkEnded(r.Life)
	})
}

func TestJobsThatCannotBeMoved(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		ended := s.enqueue("ended")
		if err := n.settle(n.pull(), succeed(nil)); err != nil {
			t.Fatal(err)
		}
		second := s.record("ended")
		s.sleep(time.Millisecond) // acks are not confirmed
		e := enqueueOf(second, true, 0)
		e.Delay = time.Hour
		if err := s.store.Enqueue(s.ctx, e); err != nil {
			t.Fatal(err)
		}
		s.enqueue("ready")
		s.enqueueLater("soon", moveGuard-1)
		s.enqueueLater("in-time", moveGuard)
		s.hold("held", "gone", time.Now().Add(time.Hour))
		at := time.Now().Add(time.Hour)
		for _, tt := range []struct {
			id, life  string
			at        time.Time
			move, run error // nil: done
		}{
			{id: "ready", at: at, move: ErrNotScheduled},
			{id: "soon", at: at, move: ErrNotScheduled},
			{id: "unknown", at: at, move: ErrNotFound, run: ErrNotFound},
			{id: "held", at: at, move: ErrNotFound, run: ErrNotFound},
			{id: "ended", life: ended.Life, at: at, move: &FinishedError{State: job.Succeeded}, run: &FinishedError{State: job.Succeeded}},
			{id: "ended", life: "none", at: at, move: ErrNotFound, run: ErrNotFound},
			{id: "ended", life: second.Life, at: at},
		} {
			is := func(err, want error) bool {
				if f, ok := errors.AsType[*FinishedError](err); ok {
					w, ok := errors.AsType[*FinishedError](want)
					return ok && f.State == w.State
				}
				return errors.Is(err, want)
			}
			if err := s.store.Move(s.ctx, testPlace(tt.id), tt.life, tt.at); !is(err, tt.move) {
				t.Errorf("Move of %s, life %q = %v, want %v", tt.id, tt.life, err, tt.move)
			}
			if err := s.store.RunNow(s.ctx, testPlace(tt.id), tt.life); !is(err, tt.run) {
				t.Errorf("RunNow of %s, life %q = %v, want %v", tt.id, tt.life, err, tt.run)
			}
		}
		far := s.enqueueLater("far", time.Hour)
		err := s.store.Move(s.ctx, testPlace("far"), far.Life, time.Now().AddDate(11, 0, 0))
		if _, ok := errors.AsType[*job.InvalidError](err); !ok {
			t.Errorf("Move by 11 years = %v", err)
		}
	})
}

// An answer that is lost is no failure: what was written is recognized.
func TestAMoveWhoseAnswerIsLost(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i, fate := range []natstest.Fate{natstest.CutBefore, natstest.CutAfter, natstest.Lost} {
			id := fmt.Sprintf("j%d", i)
			r := s.enqueueLater(id, time.Hour)
			l := s.server.Link()
			store := s.open(l.Connect(t), Config{})
			writes := 0
			l.Watch(func(subject string) natstest.Fate {
				if !strings.Contains(subject, ".later.") {
					return natstest.Pass
				}
				if writes++; writes > 1 {
					return natstest.Pass
				}
				return fate
			})
			at := time.Now().Add(2 * time.Hour)
			if err := store.Move(s.ctx, testPlace(id), r.Life, at); err != nil {
				t.Errorf("fate %d: Move = %v", fate, err)
			}
			if m, err := s.store.Find(s.ctx, testPlace(id)); err != nil || !m.RunAt.Equal(at) {
				t.Errorf("fate %d: it runs at %v, %v", fate, m.RunAt, err)
			}
			if want := map[natstest.Fate]int{natstest.CutBefore: 2, natstest.CutAfter: 1, natstest.Lost: 2}[fate]; writes != want {
				t.Errorf("fate %d: written %d times, want %d", fate, writes, want)
			}
		}
	})
}

// Moves and promotions, from any number of callers and over slow lines, meet the moment at which a
// job is due: it runs once, and at a time that somebody has wanted.
func TestMovesAgainstFiring(t *testing.T) {
	natstest.Check(t, func(rt *rapid.T, server *natstest.Server) {
		s := newScene(rt, server)
		var ran startTimes
		st := s.station("n", 10, ran.run)
		jobs := rapid.IntRange(1, 3).Draw(rt, "jobs")
		var lives []string
		wanted := make(map[string][]time.Time)
		type result struct {
			id   string
			done bool
			at   time.Time
			was  time.Time // when it was asked for
		}
		results := make(chan result, 100)
		moves := 0
		for i := range jobs {
			id := fmt.Sprintf("j%d", i)
			delay := time.Duration(rapid.IntRange(500, 4000).Draw(rt, "delay")) * time.Millisecond
			lives = append(lives, s.enqueueLater(id, delay).Life)
			due := time.Now().Add(delay)
			wanted[id] = []time.Time{due}
			for range rapid.IntRange(0, 3).Draw(rt, "callers") {
				l := server.Link()
				store := s.open(l.Connect(rt), Config{})
				l.Slow(time.Duration(rapid.IntRange(0, 400).Draw(rt, "line")) * time.Millisecond)
				before := time.Duration(rapid.IntRange(0, 2000).Draw(rt, "before")) * time.Millisecond
				to := due.Add(time.Duration(rapid.IntRange(-2000, 3000).Draw(rt, "to")) * time.Millisecond)
				now := rapid.Bool().Draw(rt, "now")
				moves++
				go func() {
					s.sleep(max(time.Until(due)-before, 0))
					r := result{id: id, at: to, was: time.Now()}
					var err error
					if now {
						r.at = time.Time{}
						err = store.RunNow(s.ctx, testPlace(id), "")
					} else {
						err = store.Move(s.ctx, testPlace(id), "", to)
					}
					_, finished := errors.AsType[*FinishedError](err)
					if err != nil && !finished && !errors.Is(err, ErrNotScheduled) && !errors.Is(err, ErrNotFound) {
						rt.Errorf("%s: %v", id, err)
					}
					r.done = err == nil
					results <- r
				}()
			}
		}
		soonest := make(map[string]time.Time)
		for range moves {
			r := <-results
			switch {
			case !r.done:
			case r.at.IsZero():
				wanted[r.id] = append(wanted[r.id], r.was)
			default:
				wanted[r.id] = append(wanted[r.id], r.at)
			}
		}
		s.sleep(10 * time.Second)
		s.checkEnded(lives...)
		st.mu.Lock()
		defer st.mu.Unlock()
		runs := make(map[string]int)
		for _, h := range st.ran {
			runs[h.ID]++
		}
		for id, times := range wanted {
			if runs[id] != 1 {
				rt.Errorf("%s ran %d times", id, runs[id])
			}
			soonest[id] = times[0]
			for _, at := range times {
				if at.Before(soonest[id]) {
					soonest[id] = at
				}
			}
			if ran.at[id].Before(soonest[id]) {
				rt.Errorf("%s ran %v before anybody had wanted it to", id, soonest[id].Sub(ran.at[id]))
			}
		}
	})
}

// A move that is held up on its way until the job is due is not answered by a success unless the job
// runs at the new time and once.
func TestAMoveThatComesTooLate(t *testing.T) {
	for held := time.Duration(0); held <= 3*time.Second; held += 125 * time.Millisecond {
		inScene(t, func(t *testing.T, s *scene) {
			var ran startTimes
			st := s.station("n", 1, ran.run)
			r := s.enqueueLater("a", 2*time.Second)
			due := time.Now().Add(2 * time.Second)
			l := s.server.Link()
			store := s.open(l.Connect(t), Config{})
			if _, err := store.Now(s.ctx, queueName()); err != nil {
				t.Fatal(err)
			}
			l.Watch(func(subject string) natstest.Fate {
				if strings.Contains(subject, ".later.") {
					l.Hold()
				}
				return natstest.Pass
			})
			to := due.Add(10 * time.Second)
			done := make(chan error, 1)
			go func() { done <- store.Move(s.ctx, testPlace("a"), "", to) }()
			s.sleep(held)
			l.Watch(nil)
			l.Release()
			err := <-done
			s.sleep(30 * time.Second)
			s.checkEnded(r.Life)
			if len(st.ran) != 1 {
				t.Errorf("held for %v: it ran %d times", held, len(st.ran))
			}
			if moved := !ran.at["a"].Before(to); moved != (err == nil) {
				t.Errorf("held for %v: Move = %v, and it ran %v after it was due", held, err, ran.at["a"].Sub(due))
			}
		})
	}
}
