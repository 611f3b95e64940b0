package explain_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/view"
)

func bubble(t *testing.T, f func(t *testing.T, m *mill)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) { f(t, newMill(t, s)) })
}

func TestWhyEnded(t *testing.T) {
	bubble(t, func(_ *testing.T, m *mill) {
		m.want("die/nothing", "", "(not_found)", "no trace", "millhand list id:nothing")
		m.hire(millhand.WorkerConfig{}, "die", "done", "wait")
		m.enqueue("die", "d")
		m.enqueue("done", "s")
		m.enqueue("done", "c", millhand.WithDelay(time.Hour))
		_, err := m.client.Cancel(m.ctx, millhand.Ref{Queue: "default", Type: "done", ID: "c"}, millhand.WithReason("wrong file"))
		m.must(err)
		time.Sleep(2 * time.Second)
		m.want("die/d", job.Dead, "(dead)", "permanent", "no hope", "millhand retry default/die/d")
		m.want("done/s", job.Succeeded, "(succeeded)")
		m.want("done/c", job.Cancelled, "(cancelled)", "wrong file")
	})
}

func TestWhyNobodyServes(t *testing.T) {
	bubble(t, func(_ *testing.T, m *mill) {
		m.enqueue("done", "j")
		m.enqueue("done", "e", millhand.WithExpires(time.Minute))
		m.want("done/j", job.Ready, "no_worker", "there are no workers")
		other := m.hire(millhand.WorkerConfig{Name: "a", Queues: []millhand.Queue{{Name: "mail"}}}, "done")
		m.want("done/j", job.Ready, "no_worker", "serves the type, and not this queue")
		other.stop()
		other = m.hire(millhand.WorkerConfig{Name: "b"}, "wait")
		m.want("done/j", job.Ready, "no_worker", "serves the queue, and not this type")
		other.stop()
		reads := m.read("done")
		m.want("done/j", job.Ready, "no_worker", "the pipeline books reads the stream done", "millhand.WithRetries")
		reads()
		m.want("done/j", job.Ready, "no_worker", "the pipeline books, which reads the stream done, runs nowhere")
		time.Sleep(2 * time.Minute)
		m.want("done/e", job.Ready, "expired no_worker", "within 1m")

		w := m.hire(millhand.WorkerConfig{Name: "c"}, "done", "wait")
		m.enqueue("wait", "w")
		time.Sleep(time.Second)
		m.want("done/j", job.Succeeded, "(succeeded)")
		m.want("done/e", job.Dead, "(dead)", "expired")
		w.quit()
		time.Sleep(5 * time.Second)
		m.enqueue("done", "k")
		m.want("done/k", job.Ready, "no_worker", "is draining, and takes no new jobs")
	})
}

func TestWhyPaused(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.hire(millhand.WorkerConfig{}, "done")
		m.must(m.client.Pause(m.ctx, "default"))
		time.Sleep(time.Minute) // until nobody has asked for jobs before that, which would be handed back
		m.enqueue("done", "j")
		m.enqueue("done", "k")
		time.Sleep(time.Second) // the server counts what a consumer has before it a moment after it has stored it
		m.want("done/k", job.Ready, "queue_paused (behind)", "1 other of its type goes first", "millhand resume default")
		m.must(m.registry.PauseFor(m.ctx, "default", "the move", time.Hour))
		until(t, m.want("done/j", job.Ready, "queue_paused", `"the move"`), explain.QueuePaused, time.Hour)
		m.enqueue("nobody", "n")
		m.want("nobody/n", job.Ready, "no_worker queue_paused")
		m.must(m.registry.PauseType(m.ctx, "default", "done", "bad feed", 0))
		m.want("done/j", job.Ready, "type_paused queue_paused", `"bad feed"`, "millhand resume default/done")
		m.must(m.registry.ResumeType(m.ctx, "default", "done"))
		m.must(m.client.Resume(m.ctx, "default"))
		time.Sleep(2 * time.Second)
		m.want("done/j", job.Succeeded, "(succeeded)")
	})
}

func TestWhyLimited(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.must(m.client.SetQuota(m.ctx, millhand.Quota{Type: "wait-a", Limit: 2}))
		m.must(m.client.SetQuota(m.ctx, millhand.Quota{Key: "crm", Limit: 1, Types: []string{"wait-b", "wait-c"}}))
		m.must(m.client.SetQuota(m.ctx, millhand.Quota{Queue: "mail", Limit: 1}))
		m.must(m.client.SetQuota(m.ctx, millhand.Quota{Type: "done", Limit: 1, Per: time.Hour}))
		m.hire(millhand.WorkerConfig{Concurrency: 20, Queues: []millhand.Queue{{Name: "default"}, {Name: "mail"}}}, "wait-a", "wait-b", "wait-c", "done")
		for _, id := range []string{"1", "2", "3"} {
			m.enqueue("wait-a", id)
			time.Sleep(time.Second)
		}
		m.enqueue("wait-b", "1")
		time.Sleep(2 * time.Second) // the worker may ask for wait-c first
		m.enqueue("wait-c", "1")
		m.enqueue("wait-a", "m1", millhand.WithQueue("mail"))
		m.enqueue("done", "1")
		time.Sleep(time.Second)
		m.enqueue("done", "2")
		time.Sleep(5 * time.Second)
		a := m.want("wait-a/3", job.Ready, "quota_full", "wait-a allows 2 at once", "millhand quota wait-a 3", "millhand inspect default/wait-a/1")
		if d, ok := a.First().Data.(explain.PoolData); !ok || len(d.Holders) != 2 || d.Holders[0].ID != "1" || d.Used != 2 || d.Limit != 2 {
			t.Errorf("%+v", a.First().Data)
		}
		m.want("wait-c/1", job.Ready, "quota_full", "key=crm allows 1 at once", "default/wait-b/1")
		m.want("mail/wait-a/m1", job.Ready, "quota_full")
		m.want("done/1", job.Succeeded, "(succeeded)")
		until(t, m.want("done/2", job.Ready, "rate_exhausted", "done allows 1 starts in 1h0m0s", "millhand rate done 2/1h0m0s"), explain.RateExhausted, time.Hour)
	})
}

// Permits that nobody uses are in the hands of a worker that stands still, or went with the registry.
func TestWhyPermitsAreIdle(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.must(m.client.SetQuota(m.ctx, millhand.Quota{Key: "crm", Limit: 1, Types: []string{"wait-b", "wait-c"}}))
		a := m.hire(millhand.WorkerConfig{Name: "a"}, "wait-b")
		m.hire(millhand.WorkerConfig{Name: "b"}, "wait-c")
		a.link.Hold()
		m.enqueue("wait-c", "1")
		time.Sleep(3 * time.Second)
		m.want("wait-c/1", job.Ready, "quota_held_idle", "the one permit of key=crm is held", "a-", "millhand quota key=crm")
		time.Sleep(15 * time.Second)
		m.want("wait-c/1", job.Running, "(running)")
		a.link.Release()
		time.Sleep(15 * time.Second)

		js, err := jetstream.New(m.nc)
		m.must(err)
		m.must(js.DeleteStream(m.ctx, "KV_millhand-registry"))
		time.Sleep(3 * time.Second)
		m.enqueue("wait-b", "1")
		time.Sleep(time.Second)
		r := m.want("wait-b/1", job.Ready, "quota_lost", "in a registry that was lost").First()
		time.Sleep(time.Until(r.Until) + time.Second)
		if a := m.why("wait-b/1"); a.First().Code == explain.QuotaLost {
			t.Errorf("after its end: %s", texts(a))
		}
	})
}

func TestWhySlotsFull(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		queues := []millhand.Queue{{Name: "high", Weight: 10}, {Name: "default", Weight: 1}}
		m.hire(millhand.WorkerConfig{Concurrency: 1, Strict: true, Queues: queues}, "wait")
		m.enqueue("wait", "1")
		time.Sleep(time.Second)
		for _, id := range []string{"2", "3", "4"} {
			m.enqueue("wait", id)
		}
		time.Sleep(3 * time.Second)
		m.want("wait/1", job.Running, "(running)", "without a timeout", "millhand cancel default/wait/1")
		m.want("wait/4", job.Ready, "slots_full (behind)", "2 others of its type go first", "no slot free of 1: default/wait 1", "millhand running")
		m.enqueue("wait", "h", millhand.WithQueue("high"))
		time.Sleep(3 * time.Second)
		m.want("wait/4", job.Ready, "outranked slots_full (behind)", "1 job waits in queues that go first: high", "millhand queues high")
		m.want("high/wait/h", job.Ready, "slots_full")
		a := m.why("wait/4")
		if d, ok := a.Reasons[1].Data.(explain.SlotsData); !ok || d.Slots != 1 || d.Used["default/wait"] != 1 || len(d.Workers) != 1 {
			t.Errorf("%+v", a.Reasons[1].Data)
		}
	})
}

// How fast those before it start comes from what the workers count, once they have.
func TestWhyBehindSaysWhen(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.hire(millhand.WorkerConfig{Concurrency: 1}, "nap")
		for i := range 100 {
			m.enqueue("nap", strconv.Itoa(i))
		}
		time.Sleep(time.Second)
		a := m.why("nap/99")
		if r := reason(t, a, explain.Behind); !r.Until.IsZero() || r.Estimate {
			t.Errorf("an estimate without statistics: %+v", r)
		}
		time.Sleep(150 * time.Second)
		a = m.why("nap/99")
		r := reason(t, a, explain.Behind)
		if !strings.Contains(r.Text, "others of its type go first; 20 start in a minute") {
			t.Errorf("%q", r.Text)
		}
		d, ok := r.Data.(explain.BehindData)
		if !ok || !r.Estimate || d.How != "exact" || d.Jobs < 40 || d.Jobs > 60 {
			t.Errorf("%+v", r)
		}
		until(t, a, explain.Behind, 3*time.Second*time.Duration(d.Jobs))
	})
}

func TestWhyInHand(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.hire(millhand.WorkerConfig{Name: "a", Concurrency: 1}, "wait-a", "wait-b", "ignore")
		m.enqueue("wait-a", "1", millhand.WithTimeout(time.Hour))
		m.enqueue("wait-b", "1", millhand.WithTimeout(time.Hour))
		time.Sleep(100 * time.Millisecond)
		first, second := "wait-a/1", "wait-b/1"
		if m.why(first).State != job.Running { // both may have come, and one of them has the slot
			first, second = second, first
		}
		until(t, m.want(first, job.Running, "(running)", "runs attempt 1", "millhand inspect default/"+first+" --watch"), explain.Running, time.Hour)
		m.want(second, job.Ready, "waits_in_hand", "worker a-")
		m.release()
		time.Sleep(time.Second)
		m.want(second, job.Succeeded, "(succeeded)")

		m.enqueue("ignore", "1", millhand.WithTimeout(time.Minute), millhand.WithMaxAttempts(1))
		time.Sleep(63 * time.Second)
		m.want("ignore/1", job.Running, "(stuck)", "was told to stop", "millhand inspect default/ignore/1 --stack")
		time.Sleep(20 * time.Second) // it is given up
		m.enqueue("ignore", "2")
		time.Sleep(time.Second)
		go func() {
			_, _ = m.client.Cancel(m.ctx, millhand.Ref{Queue: "default", Type: "ignore", ID: "2"}, millhand.WithReason("wrong"), millhand.WithGrace(10*time.Second))
		}()
		time.Sleep(3 * time.Second)
		m.want("ignore/2", job.Running, "(cancelling) (running)", "wrong", "has 10s to return")
		time.Sleep(time.Minute)
	})
}

// A worker that stands still or is killed has its jobs until their leases end. Then they go to another,
// or wait for one.
func TestWhyWorkerGone(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		w := m.hire(millhand.WorkerConfig{Name: "a", AckWait: time.Minute}, "wait")
		m.enqueue("wait", "1")
		time.Sleep(4 * time.Second)
		w.link.Hold()
		m.enqueue("wait", "2")
		time.Sleep(3 * time.Second)
		m.enqueue("wait", "3")
		until(t, m.want("wait/1", job.Running, "worker_silent", "worker a-", "does not answer"), explain.WorkerSilent, time.Minute)
		m.want("wait/2", job.Ready, "no_worker worker_silent", "it may be with one that does not")
		m.want("wait/3", job.Ready, "no_worker", "a-", "does, and does not answer")
		time.Sleep(15 * time.Second) // its presence expires
		until(t, m.want("wait/1", job.Ready, "no_worker unclaimed", "there are no workers"), explain.Unclaimed, time.Minute)
		w.link.Release()
		time.Sleep(10 * time.Second)
		m.want("wait/1", job.Running, "(running)")
	})
}

// What the broker does not answer is said, and what it did answer as well.
func TestWhyBrokerUnready(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.hire(millhand.WorkerConfig{}, "wait")
		m.must(m.client.Pause(m.ctx, "default"))
		time.Sleep(time.Second)
		m.enqueue("wait", "1")
		lose := func(parts ...string) {
			m.link.Watch(func(subject string) natstest.Fate {
				for _, p := range parts {
					if strings.Contains(subject, p) {
						return natstest.Lost
					}
				}
				return natstest.Pass
			})
		}
		lose("CONSUMER.INFO")
		m.want("wait/1", job.Ready, "broker_unready queue_paused", "the consumer of type wait in queue default does not answer")
		lose("CONSUMER.INFO", "MSG.GET.millhand-queue", "STREAM.INFO.millhand-queue")
		m.want("wait/1", "", "broker_unready", "the stream of queue default does not answer")
		lose("")
		p, err := job.PlaceOf("default", "wait", "1")
		m.must(err)
		if a, err := explain.Look(m.ctx, m.view, p); err == nil {
			t.Errorf("nothing answers: %s", codes(a))
		}
	})
}

// A case costs at most eight requests, whatever waits.
func TestWhyRequests(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		asked := 0
		m.link.Watch(func(string) natstest.Fate { asked++; return natstest.Pass })
		cost := func(ref string) {
			t.Helper()
			asked = 0
			a := m.why(ref)
			t.Logf("%s: %d requests, %s", ref, asked, codes(a))
			if asked > view.MaxCaseRequests {
				t.Errorf("%d requests for %s", asked, codes(a))
			}
		}
		m.enqueue("wait", "1")
		cost("wait/1")
		queues := []millhand.Queue{{Name: "high", Weight: 10}, {Name: "higher", Weight: 11}, {Name: "default", Weight: 1}}
		m.hire(millhand.WorkerConfig{Concurrency: 2, Strict: true, Queues: queues}, "wait", "die", "done")
		for _, id := range []string{"2", "3", "4"} {
			m.enqueue("wait", id)
			m.enqueue("wait", id, millhand.WithQueue("high"))
			m.enqueue("wait", id, millhand.WithQueue("higher"))
		}
		m.enqueue("done", "later", millhand.WithDelay(time.Hour))
		time.Sleep(3 * time.Second)
		for _, ref := range []string{"wait/1", "wait/4", "done/later", "done/nothing"} {
			cost(ref)
		}
	})
}
