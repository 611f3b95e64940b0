package queue

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// cpuTime is what the process has used so far. A bubble's clock does not move while the
// broker works, and a shared machine's says little.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// deliveries returns what it costs to pull and end so many jobs, one after the other.
func (n *node) deliveries(t *testing.T, jobs int) time.Duration {
	t.Helper()
	var began time.Duration
	for i := range jobs + 1 {
		h := n.pull()
		if err := n.nc.Publish(h.reply, []byte("+ACK")); err != nil {
			t.Fatal(err)
		}
		n.sleep(time.Millisecond) // it is gone: a message in hand at the head is as good as a pin
		if i == 0 {
			began = cpuTime(t) // the first pull scans, with a pin as well
		}
	}
	return cpuTime(t) - began
}

// fill has so many jobs wait.
func (s *scene) fill(t *testing.T, jobs int) {
	t.Helper()
	for i := range jobs {
		if _, err := s.store.js.PublishAsync(s.store.names.ready(testPlace(fmt.Sprintf("0192a7c4-7f3e-7cc1-9b7e-%012d", i))), nil); err != nil {
			t.Fatal(err)
		}
	}
	<-s.store.js.PublishAsyncComplete()
}

// The cost of a delivery does not grow with the number of jobs that wait. Without the pin
// at the head of the stream the broker looks at every one of them, each time.
func TestBacklogIsFree(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a queue")
	}
	cost := func(waiting int, pinned bool, jobs int) (each time.Duration) {
		inScene(t, func(t *testing.T, s *scene) {
			if !pinned {
				m, err := s.store.client.Last(s.ctx, s.store.names.queueStream(queueName()), s.store.names.pin(queueName()))
				if err != nil {
					t.Fatal(err)
				}
				s.remove(t, m.Seq)
			}
			s.fill(t, waiting)
			each = s.node("n").deliveries(t, jobs) / time.Duration(jobs)
		})
		return each
	}
	few, many, bare := cost(2000, true, 150), cost(40_000, true, 150), cost(10_000, false, 20)
	t.Logf("a delivery takes %v with 2,000 waiting, %v with 40,000, and %v with 10,000 and no pin", few, many, bare)
	if many > 3*few {
		t.Error("a delivery costs more when more jobs wait")
	}
	if bare < 3*many {
		t.Error("the pin makes no difference: is it needed any more?")
	}
}

func (s *scene) remove(t *testing.T, seq uint64) {
	t.Helper()
	stream, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
	if err == nil {
		err = stream.DeleteMsg(s.ctx, seq)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The pin is the first message of a queue, is made once, is back after a purge, and no
// consumer ever gets it.
func TestPin(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		pin := func() *stream.Message {
			t.Helper()
			msgs := s.all(s.store.names.queueStream(queueName()))
			if len(msgs) == 0 || msgs[0].Subject != "millhand.q.pin" {
				t.Fatalf("the stream starts with %v", msgs)
			}
			return msgs[0]
		}
		first := pin().Seq
		for range 3 {
			if err := s.open(s.server.Link().Connect(t), Config{}).Open(s.ctx, testQueue); err != nil {
				t.Fatal(err)
			}
		}
		s.enqueue("a")
		s.node("n").finishAll(Outcome{Kind: job.EventSucceeded})
		if got := pin().Seq; got != first {
			t.Errorf("the pin moved from %d to %d", first, got)
		}
		if err := s.store.Probe(s.ctx, testQueue); err != nil {
			t.Errorf("Probe = %v", err)
		}
		stream, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(s.ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		pin()
		c, err := s.store.js.Consumer(s.ctx, s.store.names.queueStream(queueName()), testType)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.CachedInfo().NumPending; got != 0 {
			t.Errorf("%d messages wait for workers", got)
		}
	})
}

// A queue's stream has no limit that would drop jobs, and takes schedules.
func TestQueueStreamDropsNothing(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
		if err != nil {
			t.Fatal(err)
		}
		cfg := st.CachedInfo().Config
		if cfg.MaxMsgs > 0 || cfg.MaxBytes > 0 || cfg.MaxAge > 0 || cfg.MaxMsgsPerSubject > 0 ||
			cfg.Retention != jetstream.WorkQueuePolicy || !cfg.AllowMsgSchedules || cfg.SubjectDeleteMarkerTTL != 0 || cfg.AllowMsgTTL {
			t.Errorf("stream %+v", cfg)
		}
	})
}
