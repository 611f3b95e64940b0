package queue

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

func TestOffsetOfTheBrokersClock(t *testing.T) {
	sent := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	tests := []struct{ roundTrip, broker, want time.Duration }{
		{0, 0, 0},
		{0, 5 * time.Minute, 5 * time.Minute},
		{0, -time.Nanosecond, -time.Nanosecond},
		{2 * time.Millisecond, time.Millisecond, 0},
		{2 * time.Millisecond, 2 * time.Millisecond, 0}, // 1 ms, which the way may have taken
		{2 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond},
		{time.Second, -5 * time.Minute, -5*time.Minute - time.Second/2},
	}
	for _, tt := range tests {
		if got := offsetOf(sent, sent.Add(tt.roundTrip), sent.Add(tt.broker)); got != tt.want {
			t.Errorf("asked for %v, the broker was at +%v: offset %v, want %v", tt.roundTrip, tt.broker, got, tt.want)
		}
	}
}

func TestAClockIsMeasuredAnew(t *testing.T) {
	now := time.Now()
	c := &clock{}
	if _, known, stale := c.read(now, 0); known || !stale {
		t.Error("a clock that was never read is known")
	}
	c.set(time.Second, now, 3)
	for name, tt := range map[string]struct {
		now        time.Time
		reconnects uint64
		stale      bool
	}{
		"at once":                 {now, 3, false},
		"soon":                    {now.Add(clockFor - 1), 3, false},
		"after a minute":          {now.Add(clockFor), 3, true},
		"over another connection": {now, 4, true},
		"this machine's was set":  {now.Round(0).Add(time.Hour), 3, true},
	} {
		offset, known, stale := c.read(tt.now, tt.reconnects)
		if offset != time.Second || !known || stale != tt.stale {
			t.Errorf("%s: %v, %t, %t", name, offset, known, stale)
		}
	}
	c.fail(now.Add(clockFor))
	if _, _, stale := c.read(now.Add(clockFor+clockAgain-1), 3); stale {
		t.Error("asked again at once after it could not be read")
	}
	if _, _, stale := c.read(now.Add(clockFor+clockAgain), 3); !stale {
		t.Error("not asked again")
	}
}

// inShift is a test with a store, and a node, for which the broker's clock is off by so much.
func inShift(t *testing.T, shift time.Duration, f func(t *testing.T, s *scene, store *Store, n *node, log *bytes.Buffer)) {
	t.Helper()
	inScene(t, func(t *testing.T, s *scene) {
		l := s.server.Link()
		l.Shift(shift)
		store := s.open(l.Connect(t), Config{AckWait: testWait, Node: "shifted"})
		var log bytes.Buffer
		store.log = slog.New(slog.NewTextHandler(&log, nil))
		n := s.node("n")
		n.link.Shift(shift)
		f(t, s, store, n, &log)
	})
}

// Whatever a message says of time is the broker's, however far this machine's clock is off.
func TestTheBrokersClockDecides(t *testing.T) {
	for _, shift := range []time.Duration{5 * time.Minute, -5 * time.Minute, 0} {
		t.Run(shift.String(), func(t *testing.T) {
			inShift(t, shift, func(t *testing.T, s *scene, store *Store, n *node, log *bytes.Buffer) {
				broker := func() time.Time { return time.Now().Add(shift) }
				e := enqueueOf(s.record("a"), true, 0)
				e.Delay = 10 * time.Minute
				if err := store.Enqueue(s.ctx, e); err != nil {
					t.Fatal(err)
				}
				m, err := s.store.Find(s.ctx, testPlace("a"))
				if err != nil || !m.RunAt.Equal(broker().Add(e.Delay)) || !m.Due.Equal(m.RunAt) || !m.EnqueuedAt.Equal(broker()) {
					t.Errorf("run at %v, due %v, enqueued at %v, %v; the broker's time is %v", m.RunAt, m.Due, m.EnqueuedAt, err, broker())
				}
				s.sleep(time.Until(m.RunAt) + time.Second)
				pulled := time.Now()
				h := n.pull()
				if err := n.settle(h, Outcome{Kind: job.EventRetrying, Error: "boom", Delay: 20 * time.Minute}); err != nil {
					t.Fatal(err)
				}
				if m, err = s.store.Find(s.ctx, testPlace("a")); err != nil || !m.RunAt.Equal(broker().Add(20*time.Minute)) {
					t.Errorf("the retry runs at %v, %v; the broker's time is %v", m.RunAt, err, broker())
				}
				direction := "ahead of"
				if shift > 0 {
					direction = "behind"
				}
				want := 1
				if shift == 0 {
					want = 0
				}
				for range 3 {
					s.sleep(2 * clockFor)
					if now, err := store.Now(s.ctx, queueName()); err != nil || !now.Equal(broker()) {
						t.Errorf("Now = %v, %v, want %v", now, err, broker())
					}
				}
				text := fmt.Sprintf("this machine's clock is 5m0s %s the broker's; the broker's is used", direction)
				if got := strings.Count(log.String(), text); got != want {
					t.Errorf("said %d times, want %d: %s", got, want, log)
				}
				if got := store.ClockOffset(); got != -shift {
					t.Errorf("ClockOffset = %v, want %v", got, -shift)
				}
				h.store = store          // which knows the clock by now
				h.stored += int64(shift) // which the link leaves as it is in deliveries
				h.seenAt.Store(pulled.UnixNano())
				if got := h.Waited(); got < 900*time.Millisecond || got > 1100*time.Millisecond {
					t.Errorf("it was ready for %v before it was pulled, want a second", got)
				}
			})
		})
	}
}

// A job expires by the broker's clock.
func TestAJobExpiresByTheBrokersClock(t *testing.T) {
	for shift, want := range map[time.Duration]job.EventKind{0: job.EventSucceeded, 5 * time.Minute: job.EventDead} {
		inShift(t, shift, func(t *testing.T, s *scene, _ *Store, _ *node, _ *bytes.Buffer) {
			r := s.record("a")
			r.Expires = time.Minute
			if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
				t.Fatal(err)
			}
			n := s.station("p", 1, succeed)
			n.link.Shift(shift)
			s.sleep(10 * time.Second)
			if got := s.kinds(r.Life); got != string(want) {
				t.Errorf("shift %v: events %s, want %s", shift, got, want)
			}
		})
	}
}

// While the broker cannot be asked, what was known goes on; what was never known is an error, and
// never this machine's own time.
func TestABrokerThatDoesNotSayTheTime(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		l := s.server.Link()
		l.Shift(time.Hour)
		store := s.open(l.Connect(t), Config{})
		count(l, "$JS.API.STREAM.INFO.", natstest.Lost)
		e := enqueueOf(s.record("a"), false, 0)
		e.Delay = time.Minute
		if err := store.Enqueue(s.ctx, e); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "the broker's time is not known") {
			t.Errorf("Enqueue = %v", err)
		}
		l.Watch(nil)
		if now, err := store.Now(s.ctx, queueName()); err != nil || !now.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("Now = %v, %v", now, err)
		}
		asked := count(l, "$JS.API.STREAM.INFO.", natstest.Lost)
		s.sleep(clockFor)
		for range 5 {
			if now, err := store.Now(s.ctx, queueName()); err != nil || !now.Equal(time.Now().Add(time.Hour)) {
				t.Errorf("Now = %v, %v", now, err)
			}
		}
		if asked.Load() != 1 {
			t.Errorf("asked %d times in a row", asked.Load())
		}
	})
}

// The broker is asked once a minute, however often its time is wanted.
func TestTheClockCostsLittle(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		l := s.server.Link()
		store := s.open(l.Connect(t), Config{})
		asked := count(l, "$JS.API.", natstest.Pass)
		end := time.Now().Add(10 * clockFor)
		for time.Now().Before(end) {
			if _, err := store.Now(s.ctx, queueName()); err != nil {
				t.Fatal(err)
			}
			s.sleep(time.Second)
		}
		if asked.Load() > 10 {
			t.Errorf("asked %d times in 10 minutes", asked.Load())
		}
	})
}
