package explain_test

import (
	"flag"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// Whatever happened to workers, limits and pauses, each job has a reason that is known, and its state is
// what the rest of the view says.
func TestNothingIsUnexplained(t *testing.T) {
	fewCases(t, "8") // each has several workers: there is a campaign of many
	seen := make(map[explain.Code]int)
	natstest.Check(t, func(t *rapid.T, s *natstest.Server) {
		c := &campaign{mill: newMill(t, s), t: t}
		if rapid.IntRange(0, 3).Draw(t, "served") > 0 {
			all := []millhand.Queue{{Name: "default", Weight: 1}, {Name: "mail", Weight: 5}}
			cfg := millhand.WorkerConfig{Concurrency: rapid.IntRange(1, 3).Draw(t, "slots"), Strict: rapid.Bool().Draw(t, "strict"), Queues: all}
			c.workers = append(c.workers, c.hire(cfg, "wait", "nap", "fail", "done"))
		}
		for range rapid.IntRange(3, 10).Draw(t, "steps") {
			c.step()
			time.Sleep(time.Duration(rapid.IntRange(0, 8_000).Draw(t, "pause")) * time.Millisecond)
		}
		for _, ref := range c.jobs {
			before, known := c.state(ref)
			a := c.why(ref.Queue + "/" + ref.Type + "/" + ref.ID)
			after, _ := c.state(ref)
			seen[a.First().Code]++
			switch {
			case a.First().Code == explain.Unexplained:
				t.Errorf("%s/%s/%s is unexplained:\n%s", ref.Queue, ref.Type, ref.ID, texts(a))
			case known && before == after && a.State != before:
				t.Errorf("%s/%s/%s is %s, and %s as explained:\n%s", ref.Queue, ref.Type, ref.ID, before, a.State, texts(a))
			}
		}
	})
	t.Logf("first reasons: %v", seen)
}

// fewCases has rapid make so many cases unless -rapid.checks says how many.
func fewCases(t *testing.T, n string) {
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() != checks.DefValue {
		return
	}
	_ = flag.Set(checks.Name, n) // the flag takes any number
	t.Cleanup(func() { _ = flag.Set(checks.Name, checks.DefValue) })
}

type campaign struct {
	*mill
	t       *rapid.T
	jobs    []millhand.Ref
	workers []*worker
}

func (c *campaign) state(ref millhand.Ref) (job.State, bool) {
	p, err := job.PlaceOf(ref.Queue, ref.Type, ref.ID)
	c.must(err)
	d, err := c.view.Job(c.ctx, p, "")
	if err != nil {
		return "", false
	}
	return d.State, true
}

func (c *campaign) step() {
	queue := rapid.SampledFrom([]string{"default", "mail"}).Draw(c.t, "queue")
	typ := rapid.SampledFrom([]string{"wait", "nap", "fail", "done"}).Draw(c.t, "type")
	switch rapid.SampledFrom([]string{"jobs", "jobs", "jobs", "hire", "hire", "gone", "pause", "limit", "cancel"}).Draw(c.t, "step") {
	case "jobs":
		for range rapid.IntRange(1, 3).Draw(c.t, "jobs") {
			id := strconv.Itoa(len(c.jobs))
			opts := []millhand.EnqueueOption{millhand.WithQueue(queue)}
			switch rapid.IntRange(0, 5).Draw(c.t, "kind") {
			case 0:
				opts = append(opts, millhand.WithDelay(time.Hour))
			case 1:
				opts = append(opts, millhand.WithExpires(5*time.Second))
			}
			c.enqueue(typ, id, opts...)
			c.jobs = append(c.jobs, millhand.Ref{Queue: queue, Type: typ, ID: id})
		}
	case "hire":
		cfg := millhand.WorkerConfig{Concurrency: rapid.IntRange(1, 3).Draw(c.t, "slots"), Strict: rapid.Bool().Draw(c.t, "strict"), Queues: []millhand.Queue{{Name: queue, Weight: 2}}}
		if rapid.Bool().Draw(c.t, "both queues") {
			cfg.Queues = []millhand.Queue{{Name: "default", Weight: 1}, {Name: "mail", Weight: 5}}
		}
		c.workers = append(c.workers, c.hire(cfg, typ, rapid.SampledFrom([]string{"nap-2", "done-2", "wait-2"}).Draw(c.t, "other type")))
	case "gone":
		if len(c.workers) == 0 {
			return
		}
		w := rapid.SampledFrom(c.workers).Draw(c.t, "worker")
		switch rapid.IntRange(0, 2).Draw(c.t, "how") {
		case 0:
			w.quit()
		case 1:
			w.link.Hold()
		case 2:
			w.link.Release()
		}
	case "pause":
		if rapid.Bool().Draw(c.t, "resume") {
			c.must(c.client.Resume(c.ctx, queue))
			return
		}
		c.must(c.registry.PauseFor(c.ctx, queue, "", time.Minute))
	case "limit":
		q := millhand.Quota{Limit: rapid.IntRange(0, 2).Draw(c.t, "limit")}
		switch rapid.IntRange(0, 3).Draw(c.t, "of") {
		case 0:
			q.Type = typ
		case 1:
			q.Queue = queue
		case 2:
			q.Key, q.Types = "crm", []string{"wait", "nap"}
		case 3:
			q.Type, q.Per = typ, 10*time.Second
		}
		c.must(c.client.SetQuota(c.ctx, q))
	case "cancel":
		if len(c.jobs) > 0 {
			_, _ = c.client.Cancel(c.ctx, rapid.SampledFrom(c.jobs).Draw(c.t, "job"), millhand.WithGrace(time.Second))
		}
	}
}
