package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestNewServerRefusesImpossibleSpecs(t *testing.T) {
	init := func(context.Context, *Self[int]) (Handler[int], error) { return nil, ErrIgnore }
	for _, spec := range []ServerSpec[int]{{Init: init}, {Name: "s"}, {Name: "s", Init: init, Mailbox: -1}} {
		if _, err := NewServer(spec); !errors.Is(err, ErrSpec) {
			t.Errorf("NewServer(%+v) = %v, want %v", spec, err, ErrSpec)
		}
	}
}

func TestMailboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _ := startCounter(t, 0, nil)
		if err := s.Cast(t.Context(), sleepFor{time.Minute}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range DefaultMailbox {
			if err := s.Cast(t.Context(), addValue{1}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Cast(ctx, addValue{1}); !errors.Is(err, ErrTimeout) {
			t.Errorf("Cast = %v, want %v", err, ErrTimeout)
		}
		begin := time.Now()
		if _, err := get(t.Context(), s); !errors.Is(err, ErrTimeout) || time.Since(begin) != DefaultTimeout {
			t.Errorf("Call = %v after %v, want %v after %v", err, time.Since(begin), ErrTimeout, DefaultTimeout)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := get(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want %v", err, context.Canceled)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(c.recorded()); got != 1+DefaultMailbox {
			t.Errorf("events = %d, want %d", got, 1+DefaultMailbox)
		}
	})
}

// Whoever waits when the server ends learns so at once; what waits in the mailbox is lost.
func TestWaitingCallersOfAServerThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, r := startCounter(t, 0, nil)
		if err := s.Cast(t.Context(), sleepFor{time.Minute}); err != nil {
			t.Fatal(err)
		}
		ends := make(chan error, 3)
		for range cap(ends) - 1 {
			go func() {
				_, err := get(t.Context(), s)
				ends <- err
			}()
		}
		go func() { ends <- s.Stop(t.Context()) }()
		synctest.Wait()
		r.stop(nil)
		for range cap(ends) {
			if err := <-ends; !errors.Is(err, ErrShutdown) && !errors.Is(err, ErrTimeout) {
				t.Errorf("caller = %v, want %v or %v", err, ErrShutdown, ErrTimeout)
			}
		}
	})
}

func TestTerminateRunsWhenASupervisorStopsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		s, err := NewServer(ServerSpec[counterMessage]{
			Name: "counter",
			Init: func(context.Context, *Self[counterMessage]) (Handler[counterMessage], error) { return c, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		sup := mustNew(t, Spec{Children: []Child{{Name: "counter", Part: s}}})
		r := start(t, sup)
		if got := sup.Tree().Children[0]; got.Kind != KindServer || got.State != StateRunning {
			t.Errorf("node = %+v, want a running server", got)
		}
		if err := r.end(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if diff := cmp.Diff([]caseEvent{event("terminate", "shutdown", 0)}, c.recorded()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// A server that fails comes back with the state of its Init.
func TestServerIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewServer(ServerSpec[counterMessage]{
			Name: "counter",
			Init: func(context.Context, *Self[counterMessage]) (Handler[counterMessage], error) {
				return &counter{value: 1}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		start(t, mustNew(t, Spec{Children: []Child{{Name: "counter", Part: s}}}))
		_ = s.Cast(t.Context(), addValue{1})
		if got, err := get(t.Context(), s); got != 2 || err != nil {
			t.Errorf("get = %d, %v, want 2", got, err)
		}
		_ = s.Cast(t.Context(), crashWith{how: func() error { return errBoom }})
		synctest.Wait()
		if got, err := get(t.Context(), s); got != 1 || err != nil {
			t.Errorf("get after the crash = %d, %v, want 1", got, err)
		}
	})
}

// stopper answers a call, or continues with what it is sent, and a negative number is its end.
type stopper struct {
	self  *Self[stopperMessage]
	order *[]int
}

type stopperMessage struct {
	reply     Reply[int]
	n         int
	continues []int
}

func (s stopper) Handle(_ context.Context, m stopperMessage) error {
	*s.order = append(*s.order, m.n)
	for _, n := range m.continues {
		s.self.Continue(stopperMessage{n: n})
	}
	m.reply.Send(m.n)
	if m.n < 0 {
		return errBoom
	}
	return nil
}

func startStopper(t *testing.T) (s *Server[stopperMessage], order *[]int) {
	t.Helper()
	order = new([]int)
	s, err := NewServer(ServerSpec[stopperMessage]{
		Name: "stopper",
		Init: func(_ context.Context, self *Self[stopperMessage]) (Handler[stopperMessage], error) {
			return stopper{self, order}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, s)
	return s, order
}

func TestAnswerBeforeTheEndCounts(t *testing.T) {
	for range 50 { // both are there at the same time, and either may be seen first
		synctest.Test(t, func(t *testing.T) {
			s, _ := startStopper(t)
			got, err := Call(t.Context(), s, func(r Reply[int]) stopperMessage { return stopperMessage{reply: r, n: -1} })
			if got != -1 || err != nil {
				t.Errorf("Call = %d, %v, want -1", got, err)
			}
		})
	}
}

func TestContinuesKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, order := startStopper(t)
		for _, m := range []stopperMessage{{n: 1, continues: []int{2, 3, 4}}, {n: 5}} {
			if err := s.Cast(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if diff := cmp.Diff([]int{1, 2, 3, 4, 5}, *order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

// ticker is a server whose timer is due again before its handler has returned.
type ticker struct{ self *Self[string] }

func (h ticker) Handle(_ context.Context, msg string) error {
	if msg == "stop" {
		return ErrShutdown
	}
	h.self.After(time.Second, "tick")
	time.Sleep(2 * time.Second)
	return nil
}

// A timer that is always due does not keep a server from its mailbox.
func TestTimersDoNotStarveTheMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewServer(ServerSpec[string]{
			Name: "ticker", Init: func(_ context.Context, self *Self[string]) (Handler[string], error) {
				self.After(0, "tick")
				return ticker{self}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		r := start(t, s)
		for _, msg := range []string{"wait", "stop"} {
			if err := s.Cast(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if !r.ended() {
			t.Error("the server never came to its mail")
		}
	})
}

// A hint that may be lost is cast with a context that is done: it is sent if there is room.
func TestCastThatDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _ := startCounter(t, 0, nil)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Cast(done, sleepFor{time.Minute}); err != nil {
			t.Errorf("Cast = %v, want nil: there is room", err)
		}
		synctest.Wait()
		for range DefaultMailbox {
			if err := s.Cast(done, addValue{1}); err != nil {
				t.Errorf("Cast = %v, want nil: there is room", err)
			}
		}
		if err := s.Cast(done, addValue{1}); !errors.Is(err, context.Canceled) {
			t.Errorf("Cast = %v, want %v", err, context.Canceled)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(c.recorded()); got != 1+DefaultMailbox {
			t.Errorf("events = %d, want %d", got, 1+DefaultMailbox)
		}
	})
}

func TestReplyCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := startCounter(t, 0, nil)
		got, err := Call(t.Context(), s, func(r Reply[int]) counterMessage {
			r.Send(1) // before the server does
			return getValue{r}
		})
		if got != 1 || err != nil {
			t.Errorf("Call = %d, %v, want 1", got, err)
		}
		if got, err := get(t.Context(), s); got != 0 || err != nil {
			t.Errorf("next call = %d, %v, want 0", got, err)
		}
	})
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, r := startCounter(t, 0, nil)
		if err := s.Cast(t.Context(), sleepFor{time.Minute}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop = %v, want %v", err, context.DeadlineExceeded)
		}
		time.Sleep(time.Minute)
		if !r.ended() || r.err != nil {
			t.Errorf("Run = %v, want nil", r.err)
		}
		if err := s.Stop(t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("Stop after the end = %v, want %v", err, ErrNotRunning)
		}
	})
}

// timerHandler records the numbers it receives.
type timerHandler struct{ got *[]int }

func (h timerHandler) Handle(_ context.Context, n int) error {
	*h.got = append(*h.got, n)
	return nil
}

// Timers come in the order of their time, those of one time in the order they were set, and not if
// they were cancelled.
func TestTimersComeInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) {
			delays := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 20).Draw(rt, "delays")
			cancels := rapid.SliceOfN(rapid.Bool(), len(delays), len(delays)).Draw(rt, "cancelled")
			var want []int
			for i := range delays {
				if !cancels[i] {
					want = append(want, i)
				}
			}
			slices.SortStableFunc(want, func(a, b int) int { return delays[a] - delays[b] })
			var got []int
			s, err := NewServer(ServerSpec[int]{Name: "s", Init: func(_ context.Context, self *Self[int]) (Handler[int], error) {
				var cancel []func() bool
				for i, d := range delays {
					cancel = append(cancel, self.After(time.Duration(d)*time.Second, i))
				}
				for i, c := range cancels {
					if c && (!cancel[i]() || cancel[i]()) {
						rt.Errorf("timer %d: cancelled not once", i)
					}
				}
				return timerHandler{&got}, nil
			}})
			if err != nil {
				rt.Fatal(err)
			}
			r := launch(t, s)
			time.Sleep(time.Minute)
			if err := r.end(); !errors.Is(err, ErrShutdown) {
				rt.Errorf("Run = %v, want %v", err, ErrShutdown)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Errorf("timers (-want +got):\n%s", diff)
			}
		})
	})
}
