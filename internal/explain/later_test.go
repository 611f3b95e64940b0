package explain_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
)

func TestWhyLater(t *testing.T) {
	bubble(t, func(t *testing.T, m *mill) {
		m.enqueue("done", "l", millhand.WithDelay(2*time.Hour))
		until(t, m.want("done/l", job.Scheduled, "not_due", "By:caller", "millhand run default/done/l"), explain.NotDue, 2*time.Hour)

		m.hire(millhand.WorkerConfig{}, "fail", "snooze", "done")
		m.enqueue("fail", "f", millhand.WithMaxAttempts(5))
		m.enqueue("snooze", "s")
		m.must(m.client.PutCron(m.ctx, millhand.Cron{Name: "nightly", Schedule: "@every 3h", Args: millhand.Raw{Name: "done", Payload: []byte("{}")}}))
		m.sleep(5 * time.Second)
		until(t, m.want("fail/f", job.Retrying, "backoff", "attempt 2 of 5", "no luck"), explain.Backoff, time.Hour)
		until(t, m.want("snooze/s", job.Scheduled, "not_due", "By:snooze"), explain.NotDue, time.Hour)
		for info, err := range m.client.Jobs(m.ctx, millhand.JobFilter{Type: "done"}) {
			m.must(err)
			if info.ID != "l" {
				until(t, m.want("done/"+info.ID, job.Scheduled, "not_due", "schedule nightly", "By:cron"), explain.NotDue, 3*time.Hour)
			}
		}
	})
}

// A job is late whose message the broker refuses when it is due.
func TestWhyScheduleIsLate(t *testing.T) {
	bubble(t, func(_ *testing.T, m *mill) {
		m.enqueue("done", "l", millhand.WithDelay(time.Minute))
		limit := func(size int32) {
			js, err := jetstream.New(m.nc)
			m.must(err)
			s, err := js.Stream(m.ctx, "millhand-queue-default")
			m.must(err)
			cfg := s.CachedInfo().Config
			cfg.MaxMsgSize = size
			_, err = js.UpdateStream(m.ctx, cfg)
			m.must(err)
		}
		limit(64)
		m.want("done/l", job.Scheduled, "not_due")
		m.sleep(70 * time.Second)
		m.want("done/l", job.Scheduled, "schedule_late", "the broker has not made it ready", "a limit of its stream", "millhand verify --only S02")
		limit(-1)
		m.hire(millhand.WorkerConfig{}, "done")
		m.sleep(5 * time.Minute)
		m.want("done/l", job.Succeeded, "(succeeded)")
	})
}
