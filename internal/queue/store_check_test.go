package queue

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inStreamCheck is a test of a check whose log it reads.
func inStreamCheck(t *testing.T, f func(t *testing.T, s *scene, check func() string)) {
	t.Helper()
	inScene(t, func(t *testing.T, s *scene) {
		var log bytes.Buffer
		s.store.log = slog.New(slog.NewTextHandler(&log, nil))
		c, err := NewStreamCheck(s.store, testQueue)
		if err != nil {
			t.Fatal(err)
		}
		f(t, s, func() string {
			log.Reset()
			if err := c.Run(s.ctx); err != nil {
				t.Fatal(err)
			}
			return log.String()
		})
	})
}

func (s *scene) editStream(name string, edit func(*jetstream.StreamConfig)) {
	s.t.Helper()
	st, err := s.store.js.Stream(s.ctx, name)
	if err != nil {
		s.t.Fatalf("look up %s: %v", name, err)
	}
	cfg := st.CachedInfo().Config
	edit(&cfg)
	if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
		s.t.Fatalf("edit %s: %v", name, err)
	}
}

func TestThePinComesBackAfterAPurge(t *testing.T) {
	inStreamCheck(t, func(t *testing.T, s *scene, check func() string) {
		st, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Purge(s.ctx); err != nil {
			t.Fatal(err)
		}
		check()
		s.enqueue("j")
		if got := len(s.waiting()); got != 1 { // which finds the pin missing
			t.Errorf("%d jobs wait", got)
		}
	})
}

func TestHistoryShorterThanALeaseIsTold(t *testing.T) {
	inStreamCheck(t, func(t *testing.T, s *scene, check func() string) {
		s.editStream(s.store.names.eventStream(), func(c *jetstream.StreamConfig) { c.MaxMsgs = 100 })
		s.station("n", 10, succeed)
		end := func(n int, pause time.Duration) {
			for i := range n {
				s.enqueue(fmt.Sprint(time.Now().UnixNano(), "-", i))
				s.sleep(pause)
			}
		}
		end(90, 10*time.Millisecond)
		if got := check(); got != "" {
			t.Errorf("said of a history that is not full: %s", got)
		}
		end(30, 10*time.Millisecond)
		got := check()
		for _, want := range []string{"lease=30s", "max_msgs=100", "nats stream edit --max-msgs", "stream=millhand-events", "max_msgs_needed="} {
			if !strings.Contains(got, want) {
				t.Errorf("%q says nothing of %q", got, want)
			}
		}
		if got := check(); got != "" {
			t.Errorf("said again at once: %s", got)
		}
		s.sleep(warnEvery)
		end(100, 2*testWait/90)
		if got := check(); strings.Contains(got, "two leases") {
			t.Errorf("said of a history that is long enough: %s", got)
		}
	})
}

func TestAQueueNearItsLimitIsTold(t *testing.T) {
	inStreamCheck(t, func(t *testing.T, s *scene, check func() string) {
		s.editStream(s.store.names.queueStream(queueName()), func(c *jetstream.StreamConfig) { c.MaxBytes = 10 << 10 })
		s.publish("small", nil, "x")
		if got := check(); got != "" {
			t.Errorf("said of an empty queue: %s", got)
		}
		s.publish("large", nil, strings.Repeat("x", 9<<10))
		if got := check(); !strings.Contains(got, "loses its oldest jobs") {
			t.Errorf("of a queue that is nearly full it says: %q", got)
		}
	})
}

// A queue that an older server made learns what it lacks once the server can.
func TestAnOldServersQueueIsUpgraded(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		name := s.store.names.queueStream(queueName())
		s.lose(name)
		cfg := s.store.queueConfig(queueName())
		cfg.AllowMsgSchedules = false
		if _, err := s.store.js.CreateStream(s.ctx, cfg); err != nil {
			t.Fatal(err)
		}
		if err := s.store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		st, err := s.store.js.Stream(s.ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if !st.CachedInfo().Config.AllowMsgSchedules {
			t.Error("the queue still has no schedules")
		}
	})
}
