package view_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
)

// fail, give up and succeed at once, by type.
func fates(m *mill) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"wait":   m.wait,
		"fail":   func(context.Context) error { return millhand.RetryAfter(time.Hour, errors.New("no luck")) },
		"die":    func(context.Context) error { return millhand.Permanent(errors.New("no hope")) },
		"finish": func(context.Context) error { return nil },
	}
}

func (m *mill) hireFates(t *testing.T) {
	t.Helper()
	of := fates(m)
	m.hireEach(t, millhand.WorkerConfig{Name: "a", Concurrency: 1, Queues: []millhand.Queue{{Name: "default"}, {Name: "other"}}}, of)
}

// A job is found by its id alone, wherever it is, with the state that it is in.
func TestFindAndJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hireFates(t)
		time.Sleep(time.Second)
		enqueue := func(id, typ string, opts ...millhand.EnqueueOption) {
			if _, err := m.client.Enqueue(t.Context(), millhand.Raw{Name: typ, Payload: []byte(`{"n":1}`)}, append(opts, millhand.WithID(id))...); err != nil {
				t.Fatal(err)
			}
		}
		enqueue("failing", "fail")
		enqueue("dead", "die")
		enqueue("done", "finish")
		enqueue("twice", "finish")
		enqueue("twice", "finish", millhand.WithQueue("other"), millhand.WithDelay(time.Hour))
		enqueue("later", "finish", millhand.WithDelay(time.Hour))
		time.Sleep(2 * time.Second)
		enqueue("running", "wait")
		time.Sleep(2 * time.Second)
		enqueue("ready", "wait")
		time.Sleep(2 * time.Second)

		for _, c := range []struct {
			id     string
			states []job.State // as found by the id alone, the newest first
			state  job.State   // of the first of them, once workers are asked
			err    string
			events int
		}{
			{"failing", []job.State{job.Retrying}, job.Retrying, "no luck", 1},
			{"dead", []job.State{job.Dead}, job.Dead, "no hope", 1},
			{"done", []job.State{job.Succeeded}, job.Succeeded, "", 1},
			{"twice", []job.State{job.Scheduled, job.Succeeded}, job.Scheduled, "", 0},
			{"later", []job.State{job.Scheduled}, job.Scheduled, "", 0},
			{"running", []job.State{job.Ready}, job.Running, "", 0},
			{"ready", []job.State{job.Ready}, job.Ready, "", 0},
		} {
			found, err := m.view.Find(t.Context(), c.id)
			if err != nil || len(found) != len(c.states) {
				t.Fatalf("%s: found %+v, %v", c.id, found, err)
			}
			for i, want := range c.states {
				if found[i].State != want || found[i].ID != c.id {
					t.Errorf("%s: found %+v, want %s", c.id, found[i], want)
				}
			}
			p, err := job.PlaceOf(found[0].Queue, found[0].Type, found[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			d, err := m.view.Job(t.Context(), p, "")
			if err != nil {
				t.Fatal(err)
			}
			if d.State != c.state || d.Error != c.err || len(d.Events) != c.events {
				t.Errorf("%s: %+v, want %s", c.id, d, c.state)
			}
			if d.Since.IsZero() || time.Since(d.Since) > 10*time.Second || d.EnqueuedAt.IsZero() {
				t.Errorf("%s: since %v, enqueued %v", c.id, d.Since, d.EnqueuedAt)
			}
			if _, err := m.view.Job(t.Context(), p, "another life"); !errors.Is(err, queue.ErrNotFound) {
				t.Errorf("%s: another life: %v", c.id, err)
			}
		}
		if found, err := m.view.Find(t.Context(), "nothing"); err != nil || len(found) > 0 {
			t.Errorf("found %+v, %v", found, err)
		}
		var invalid *job.InvalidError
		if _, err := m.view.Find(t.Context(), "a*"); !errors.As(err, &invalid) {
			t.Errorf("a wildcard: %v", err)
		}
	})
}

// To find an id costs a request for each queue and three more, whatever waits.
func TestFindAsksOncePerQueue(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		refs := m.enqueue(t, 1000, "email")
		m.enqueue(t, 1, "email", millhand.WithQueue("other"))
		asked := m.asked.during(func() {
			if found, err := m.view.Find(t.Context(), refs[500].ID); err != nil || len(found) != 1 {
				t.Errorf("found %+v, %v", found, err)
			}
		})
		if n := total(asked, ""); n != 2+3 {
			t.Errorf("%d requests: %v", n, asked)
		}
	})
}
