package verify_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/verify"
)

var cleanRuns = flag.Int("clean-runs", 25, "how often a namespace under load is verified")

// A namespace under load passes at whatever moment it is verified: with quotas that are full, rates,
// retries, deaths, jobs that wait for their time, ticks, and workers that come and are killed.
func TestCleanNamespacePasses(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		cfg := millhand.WorkerConfig{Concurrency: 8, Queues: []millhand.Queue{{Name: "default"}, {Name: "low"}}}
		m.hire(t, cfg, "quick", "wait", "fail", "tick")
		m.hire(t, cfg, "quick", "wait", "fail", "tick")
		victim := s.Link()
		m.hireOver(t, victim.Connect(t), cfg, "quick", "wait", "fail")
		for _, q := range []millhand.Quota{{Type: "wait", Limit: 3}, {Queue: "low", Limit: 2}, {Type: "fail", Limit: 20, Per: 10 * time.Second}} {
			if err := m.client.SetQuota(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.client.PutCron(t.Context(), millhand.Cron{Name: "often", Schedule: "@every 10s", Args: millhand.Raw{Name: "tick", Payload: []byte(`{}`)}}); err != nil {
			t.Fatal(err)
		}
		m.enqueue(t, 6, "wait")
		for i := range *cleanRuns {
			m.enqueue(t, 20, "quick")
			m.enqueue(t, 3, "quick", millhand.WithQueue("low"))
			m.enqueue(t, 2, "fail", millhand.WithMaxAttempts(2))
			m.enqueue(t, 2, "quick", millhand.WithDelay(7*time.Second))
			time.Sleep(time.Duration(i%7) * 37 * time.Millisecond)
			if i == *cleanRuns/3 {
				victim.Crash()
			}
			if i == *cleanRuns/2 {
				m.hire(t, cfg, "quick", "wait")
			}
			began := time.Now()
			r := m.verify(t, verify.Options{Deep: i%5 == 4})
			for _, c := range r.Checks {
				if c.Status == verify.Violated {
					t.Errorf("run %d: %s violated: %+v", i, c.ID, c.Findings)
				}
				if c.Status == verify.Passed && c.LookedAt == 0 || c.Status == verify.Skipped && c.Why == "" {
					t.Errorf("run %d: %s is %s, looked at %d, why %q", i, c.ID, c.Status, c.LookedAt, c.Why)
				}
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("run %d took %v", i, took)
			}
			time.Sleep(time.Second)
		}
		r := m.verify(t, verify.Options{})
		for _, c := range r.Checks {
			if skips := c.ID == "S06" || c.ID == "B01"; (c.Status == verify.Skipped) != skips {
				t.Errorf("%s is %s (%s)", c.ID, c.Status, c.Why)
			}
		}
	})
}

// Of nothing nothing passes, and looking makes nothing.
func TestNothingIsSkipped(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		r := m.verify(t, verify.Options{})
		for _, c := range r.Checks {
			if c.ID != "S01" && c.ID != "S07" && c.Status != verify.Skipped {
				t.Errorf("%s is %s", c.ID, c.Status)
			}
		}
		if names, err := m.cfg.Client.Names(t.Context(), ""); err != nil || len(names) > 0 {
			t.Errorf("there are streams %q, %v", names, err)
		}
	})
}

// The output names a section for each check.
func TestEachCheckIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, c := range verify.Checks() {
		if !strings.Contains(string(doc), "\n### "+c.ID+"\n") {
			t.Errorf("docs/verify.md has no section %s", c.ID)
		}
		if ids[c.ID] || c.Invariant == "" || c.Advice == "" || c.Doc() != "docs/verify.md#"+strings.ToLower(c.ID) {
			t.Errorf("check %+v", c)
		}
		ids[c.ID] = true
	}
	if len(ids) != 21 {
		t.Errorf("%d checks", len(ids))
	}
}
