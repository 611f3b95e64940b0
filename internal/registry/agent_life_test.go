package registry

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

// A rate is used to the full and shared, and never exceeded in any window, which the
// observer sees to.
func TestRate(t *testing.T) {
	inScene(t, func(s *scene) {
		cfg := nodeConfig{concurrency: 10, types: []string{"email"}, jobs: 10 * time.Millisecond}
		s.limit(mails, 100, 5*time.Second)
		a := s.node("a", cfg)
		time.Sleep(5 * time.Second)
		if got := s.startsWithin(mails, 5*time.Second); got < 95 {
			s.t.Errorf("one node started %d in a period, limit 100", got)
		}
		s.node("b", cfg)
		time.Sleep(30 * time.Second) // it has more by its ten slots, or twice that, in each period
		s.checkFair(mails, 100)
		s.limit(mails, 20, 5*time.Second)
		time.Sleep(20 * time.Second)
		if got := s.startsWithin(mails, 5*time.Second); got < 19 {
			s.t.Errorf("%d starts in a period, limit 20", got)
		}
		s.limit(mails, 30, time.Second) // another period
		time.Sleep(20 * time.Second)
		if got := s.startsWithin(mails, time.Second); got < 29 {
			s.t.Errorf("%d starts in a period, limit 30", got)
		}
		a.crash()
		time.Sleep(DefaultTTL + 5*time.Second) // its starts count for a while longer
		if got := s.startsWithin(mails, time.Second); got < 29 {
			s.t.Errorf("%d starts in a period after a crash, limit 30", got)
		}
	})
}

// A node that stops gives its permits back at once, but for the starts of a rate that are
// younger than the period.
func TestStopGivesBack(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 10, 0)
		s.limit(mails, 10, 20*time.Second)
		a := s.node("a", nodeConfig{concurrency: 20, jobs: 50 * time.Millisecond})
		b := s.node("b", nodeConfig{concurrency: 20, jobs: 50 * time.Millisecond})
		time.Sleep(10 * time.Second)
		started := s.held(mails)[a.id].Used
		if started == 0 {
			s.t.Fatalf("the node started nothing: %v", s.held(mails))
		}
		a.leave()
		if nodes, err := s.store.Nodes(s.ctx); err != nil || len(nodes) != 1 || nodes[0].ID != b.id {
			s.t.Errorf("nodes %v, %v, want b alone", nodes, err)
		}
		time.Sleep(300 * time.Millisecond)
		s.checkUsed(imports, 10, time.Second)
		if got := s.held(mails)[a.id]; got.Held != started {
			s.t.Errorf("it left %v of a rate, want its %d starts", got, started)
		}
		time.Sleep(25 * time.Second)
		if got, ok := s.held(mails)[a.id]; ok {
			s.t.Errorf("after the period %v is still there", got)
		}
	})
}

// Types share the limit of a key, and come under it and leave it while their jobs run.
func TestKeyOfTypes(t *testing.T) {
	inScene(t, func(s *scene) {
		crm := slots.Key{Kind: slots.OfKey, Name: "crm"}
		s.limit(crm, 6, 0)
		n := s.node("a", nodeConfig{concurrency: 20, types: []string{"sync", "push"}, jobs: 50 * time.Millisecond})
		s.key("sync", "crm")
		s.key("push", "crm")
		time.Sleep(time.Second)
		s.checkUsed(crm, 6, time.Second)
		s.key("push", "")
		s.key("sync", "")
		time.Sleep(time.Second)
		if got := s.held(crm); len(got) != 0 {
			s.t.Errorf("grants of a key that no type has: %v", got)
		}
		if got := len(n.snapshot().Running); got < 15 {
			s.t.Errorf("%d run without a limit, want 20", got)
		}
	})
}

// A queue that is paused is told to the nodes that serve it, also to one that starts later.
func TestPause(t *testing.T) {
	inScene(t, func(s *scene) {
		a := s.node("a", nodeConfig{concurrency: 1})
		if err := errors.Join(s.store.Pause(s.ctx, "default"), s.store.Pause(s.ctx, "default"), s.store.Pause(s.ctx, "other")); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		b := s.node("b", nodeConfig{concurrency: 1})
		for _, n := range []*node{a, b} {
			if got := n.pauses(); !got["default"] || len(got) != 1 {
				s.t.Errorf("%s knows of pauses of %v", n.id, got)
			}
		}
		paused, err := s.store.Paused(s.ctx)
		if err != nil || len(paused) != 2 || time.Since(paused["default"].Since) > time.Minute {
			s.t.Errorf("paused %v, %v", paused, err)
		}
		if err := errors.Join(s.store.Resume(s.ctx, "default"), s.store.Resume(s.ctx, "default")); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if a.pauses()["default"] || b.pauses()["default"] {
			s.t.Error("the pause has not ended")
		}
	})
}

// A pause for a time ends by itself, also for a node that cannot see it end. Until then it says who
// made it, what for, and since when the queue is paused in any way.
func TestPauseForATime(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b := s.node("a", nodeConfig{concurrency: 1}), s.node("b", nodeConfig{concurrency: 1})
		began := time.Now()
		if err := s.store.Pause(s.ctx, "default"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := s.store.PauseFor(s.ctx, "default", "database move", 10*time.Minute); err != nil {
			s.t.Fatal(err)
		}
		paused, err := s.store.Paused(s.ctx)
		want := Pause{Since: began.UTC(), By: s.store.by(), Reason: "database move", Until: began.Add(11 * time.Minute).UTC()}
		if got := paused["default"]; err != nil || got.Since.Sub(want.Since).Abs() > time.Second || got.Until.Sub(want.Until).Abs() > time.Second || got.Reason != want.Reason || got.By != want.By {
			s.t.Errorf("paused %+v, %v, want %+v", got, err, want)
		}
		time.Sleep(9*time.Minute + 50*time.Second)
		if !a.pauses()["default"] || !b.pauses()["default"] {
			s.t.Error("the pause has ended before its time")
		}
		b.link.Crash()
		time.Sleep(time.Minute)
		b.link.Up()
		time.Sleep(10 * time.Second)
		if a.pauses()["default"] || b.pauses()["default"] {
			s.t.Errorf("the pause has not ended: %v, %v", a.pauses(), b.pauses())
		}
		if paused, err := s.store.Paused(s.ctx); err != nil || len(paused) != 0 {
			s.t.Errorf("paused %v, %v", paused, err)
		}
	})
}

// A type is paused in one queue, beside the pause of the queue itself.
func TestPauseOfAType(t *testing.T) {
	inScene(t, func(s *scene) {
		a := s.node("a", nodeConfig{concurrency: 1})
		if err := s.store.PauseType(s.ctx, "default", "import", "bad feed", 10*time.Minute); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		b := s.node("b", nodeConfig{concurrency: 1})
		for _, n := range []*node{a, b} {
			if got := n.pauses(); !got["default/import"] || len(got) != 1 {
				s.t.Errorf("%s knows of pauses of %v", n.id, got)
			}
		}
		v, err := s.store.Survey(s.ctx)
		if p := v.PausedTypes["default/import"]; err != nil || len(v.Paused) != 0 || p.Reason != "bad feed" || p.By != s.store.by() || p.Until.IsZero() {
			s.t.Errorf("survey %+v, %v", v, err)
		}
		if queues, err := s.store.Paused(s.ctx); err != nil || len(queues) != 0 {
			s.t.Errorf("paused queues %v, %v", queues, err)
		}
		if err := errors.Join(s.store.Pause(s.ctx, "default"), s.store.Resume(s.ctx, "default")); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := a.pauses(); !got["default/import"] || got["default"] {
			s.t.Errorf("the pause of the queue has ended, and what is left is %v", got)
		}
		if err := s.store.ResumeType(s.ctx, "default", "import"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if a.pauses()["default/import"] || b.pauses()["default/import"] {
			s.t.Error("the pause has not ended")
		}
		if err := s.store.PauseType(s.ctx, "default", "import", "", time.Minute); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Minute + 5*time.Second)
		if a.pauses()["default/import"] || b.pauses()["default/import"] {
			s.t.Error("the pause has not ended by itself")
		}
	})
}

// A node drains by order, says so at once, and works again when the order ends, at the latest in an hour.
func TestDrainByOrder(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b := s.node("a", nodeConfig{concurrency: 1}), s.node("b", nodeConfig{concurrency: 1})
		states := func() string {
			nodes, err := s.store.Nodes(s.ctx)
			if err != nil || len(nodes) != 2 {
				s.t.Fatalf("%v, %v", nodes, err)
			}
			return nodes[0].State + " " + nodes[1].State
		}
		time.Sleep(5 * time.Second)
		if err := s.store.Drain(s.ctx, "a"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := states(); got != "draining working" || !a.isSuspended() || b.isSuspended() {
			s.t.Errorf("after the order: %s", got)
		}
		if err := s.store.Undrain(s.ctx, "a"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := states(); got != "working working" || a.isSuspended() {
			s.t.Errorf("after its end: %s", got)
		}
		if err := s.store.Drain(s.ctx, "b"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		if !b.isSuspended() {
			s.t.Error("the order ended before its time")
		}
		time.Sleep(2 * time.Minute)
		if b.isSuspended() {
			s.t.Error("the order has not ended")
		}
		if err := s.store.Drain(s.ctx, "*"); err == nil {
			s.t.Error("an order to no node was given")
		}
	})
}

func TestBadPause(t *testing.T) {
	inScene(t, func(s *scene) {
		for name, err := range map[string]error{
			"queue of":    s.store.PauseType(s.ctx, "a.b", "t", "", 0),
			"type":        s.store.PauseType(s.ctx, "default", "*", "", 0),
			"no type":     s.store.ResumeType(s.ctx, "default", ""),
			"queue":       s.store.PauseFor(s.ctx, "a.b", "", 0),
			"short":       s.store.PauseFor(s.ctx, "default", "", time.Millisecond),
			"negative":    s.store.PauseFor(s.ctx, "default", "", -time.Hour),
			"long":        s.store.PauseFor(s.ctx, "default", "", MaxPause+time.Second),
			"long reason": s.store.PauseFor(s.ctx, "default", strings.Repeat("x", MaxPauseReason+1), 0),
		} {
			if _, ok := errors.AsType[*job.InvalidError](err); !ok {
				s.t.Errorf("%s: %v, want an InvalidError", name, err)
			}
		}
		err := s.store.PauseFor(s.ctx, "default", strings.Repeat("x", MaxPauseReason+1), 0)
		if want := "reason of a pause has 1025 bytes, and at most 1024 are kept"; err.Error() != want {
			s.t.Errorf("%v, want %s", err, want)
		}
	})
}

// A setting that cannot be read lets nothing start that it may concern, until it is set again; all
// else runs.
func TestBrokenSettings(t *testing.T) {
	for name, broken := range map[string]struct {
		write stream.Write
		mend  func(s *scene)
	}{
		"a word":              {stream.Write{Key: "grant.import._limit", Value: []byte("five")}, func(s *scene) { s.limit(imports, 5, 0) }},
		"a number alone":      {stream.Write{Key: "grant.import._limit", Value: []byte("5")}, func(s *scene) { s.limit(imports, 5, 0) }},
		"nothing":             {stream.Write{Key: "grant.import._limit", Value: []byte{}}, func(s *scene) { s.limit(imports, 5, 0) }},
		"below zero":          {stream.Write{Key: "grant.import._limit", Value: []byte(`{"limit":-1}`)}, func(s *scene) { s.limit(imports, 5, 0) }},
		"a quota of a period": {stream.Write{Key: "grant.import._limit", Value: []byte(`{"limit":5,"per":"1s"}`)}, func(s *scene) { s.limit(imports, 5, 0) }},
		"a rate without one": {stream.Write{Key: "rate.import._limit", Value: []byte(`{"limit":5}`)}, func(s *scene) {
			s.limit(imports, 5, 0)
			s.limit(slots.Key{Kind: slots.OfType, Name: "import", Rate: true}, 0, time.Second)
		}},
		"of the queue": {stream.Write{Key: "grant.queue=default._limit", Value: []byte("{")}, func(s *scene) {
			s.limit(imports, 5, 0)
			s.limit(slots.Key{Kind: slots.OfQueue, Name: "default"}, 0, 0)
		}},
		"a key": {stream.Write{Key: "key.import", Value: []byte(`{"key":"a b"}`)}, func(s *scene) {
			s.limit(imports, 5, 0)
			s.key("import", "")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.key("none", "none") // makes the bucket
				for _, w := range []stream.Write{broken.write, {Key: "grant.import.somebody", Value: []byte("{")}, {Key: "node.x", Value: []byte("x")}} {
					if _, err := s.store.bucket.Put(s.ctx, w); err != nil {
						s.t.Fatal(err)
					}
				}
				s.node("a", busy)
				other := s.node("b", nodeConfig{concurrency: 5, queue: "other", types: []string{"push"}, jobs: 50 * time.Millisecond})
				time.Sleep(time.Minute)
				if got := s.measure(imports, time.Second); got != 0 {
					s.t.Errorf("%.1f run under a setting that nobody can read", got)
				}
				if got := len(other.snapshot().Running); got < 4 {
					s.t.Errorf("%d of 5 jobs run that have nothing to do with it", got)
				}
				broken.mend(s)
				time.Sleep(time.Second)
				s.checkUsed(imports, 5, time.Second)
				if nodes, err := s.store.Nodes(s.ctx); err != nil || len(nodes) != 2 {
					s.t.Errorf("nodes %v, %v", nodes, err)
				}
			})
		})
	}
}

// Of a setting that was known and cannot be read any more, what was known holds.
func TestBrokenLaterSettings(t *testing.T) {
	inScene(t, func(s *scene) {
		crm := slots.Key{Kind: slots.OfKey, Name: "crm"}
		s.limit(imports, 5, 0)
		s.limit(crm, 7, 0)
		s.key("push", "crm")
		s.node("a", nodeConfig{concurrency: 50, types: []string{"import", "push"}, jobs: 50 * time.Millisecond})
		time.Sleep(time.Second)
		for _, key := range []string{limitKey(imports), limitKey(crm), keyOf("push")} {
			if _, err := s.store.bucket.Put(s.ctx, stream.Write{Key: key, Value: []byte("x")}); err != nil {
				s.t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		s.checkUsed(imports, 5, time.Second)
		s.checkUsed(crm, 7, time.Second)
		usages, err := s.store.Usages(s.ctx)
		if err != nil || len(usages) != 2 || usages[0].Limit.Jobs != 0 || usages[1].Limit.Jobs != 0 {
			s.t.Errorf("usages %+v, %v", usages, err)
		}
		if _, _, err := s.store.Limit(s.ctx, imports); !errors.Is(err, errUnreadable) {
			s.t.Errorf("a limit that cannot be read: %v", err)
		}
		s.limit(imports, 0, 0) // it can be removed, too
		time.Sleep(time.Second)
		if got := s.measure(imports, time.Second); got < 30 {
			s.t.Errorf("%.1f run after the limit was removed", got)
		}
	})
}

// A queue whose pause cannot be read is paused, and the log says what to do.
func TestPauseThatCannotBeRead(t *testing.T) {
	inScene(t, func(s *scene) {
		s.node("a", nodeConfig{concurrency: 5, types: []string{"import"}, jobs: 50 * time.Millisecond})
		time.Sleep(time.Second)
		if _, err := s.store.bucket.Put(s.ctx, stream.Write{Key: pauseOf("default", ""), Value: []byte("garbage")}); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		paused, err := s.store.Paused(s.ctx)
		if p, ok := paused["default"]; err != nil || !ok || p != (Pause{}) {
			s.t.Errorf("Paused = %v, %v, want the queue at no known time", paused, err)
		}
		if err := s.store.Resume(s.ctx, "default"); err != nil {
			s.t.Errorf("Resume = %v", err)
		}
		if paused, err := s.store.Paused(s.ctx); err != nil || len(paused) != 0 {
			s.t.Errorf("Paused after Resume = %v, %v", paused, err)
		}
	})
}

// Whatever part of the agent fails, its supervisor heals it, and no job starts that may not.
func TestAgentHeals(t *testing.T) {
	for _, part := range []string{"agent", "listener", "watch", "sweeper"} {
		t.Run(part, func(t *testing.T) {
			inScene(t, func(s *scene) {
				fail := make(chan struct{})
				cfg := busy
				cfg.instrument = func(c supervisor.Child) supervisor.Child {
					if c.Name != part {
						return c
					}
					return failing(c, fail)
				}
				s.limit(imports, 10, 0)
				s.node("a", cfg)
				s.node("b", busy)
				time.Sleep(2 * time.Second)
				for range 3 {
					fail <- struct{}{}
					time.Sleep(2 * time.Second)
				}
				s.limit(imports, 4, 0)
				time.Sleep(time.Second)
				s.checkUsed(imports, 4, time.Second)
				s.checkFair(imports, 4)
			})
		})
	}
}

func TestAgentConfig(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 1500 * time.Millisecond, 2 * time.Hour, -time.Second} {
		if _, err := NewAgent(nil, AgentConfig{TTL: ttl}); err == nil {
			t.Errorf("a TTL of %v is accepted", ttl)
		}
	}
}
