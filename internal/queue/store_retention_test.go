package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

func (s *scene) configOf(name string) jetstream.StreamConfig {
	s.t.Helper()
	info, err := s.store.client.Info(s.ctx, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return info.Config
}

func TestRetentionOfNewStreams(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		if c := s.configOf("millhand-dead"); c.MaxAge != 30*24*time.Hour || c.MaxMsgs > 0 {
			t.Errorf("dead jobs are kept for %v and up to %d", c.MaxAge, c.MaxMsgs)
		}
		s.lose("millhand-dead")
		s.lose("millhand-events")
		kept := Retention{Results: 48 * time.Hour, Events: 5000, Dead: 90 * 24 * time.Hour}
		own := s.open(s.server.Link().Connect(t), Config{Retention: kept})
		if err := own.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		dead, events := s.configOf("millhand-dead"), s.configOf("millhand-events")
		if got := (Retention{Results: events.MaxAge, Events: events.MaxMsgs, Dead: dead.MaxAge}); got != kept {
			t.Errorf("streams are made with %v, want %v", got, kept)
		}
	})
}

func TestSetRetention(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.editStream("millhand-dead", func(c *jetstream.StreamConfig) { c.MaxAge, c.MaxMsgs = 0, 77 }) // as earlier versions made it, and an operator edited it
		if err := s.store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		if c := s.configOf("millhand-dead"); c.MaxAge != 0 {
			t.Errorf("a stream that there was is to lose what is older than %v", c.MaxAge)
		}
		before := s.configOf("millhand-events")
		if err := s.store.SetRetention(s.ctx, Retention{Dead: 2 * time.Hour}); err != nil {
			t.Fatal(err)
		}
		if c := s.configOf("millhand-dead"); c.MaxAge != 2*time.Hour || c.MaxMsgs != 77 {
			t.Errorf("dead jobs are kept for %v and up to %d", c.MaxAge, c.MaxMsgs)
		}
		if after := s.configOf("millhand-events"); after.MaxAge != before.MaxAge || after.MaxMsgs != before.MaxMsgs {
			t.Errorf("events are kept for %v and up to %d, which nobody asked for", after.MaxAge, after.MaxMsgs)
		}
		if err := s.store.SetRetention(s.ctx, Retention{Results: 2 * time.Hour, Events: 1000}); err != nil {
			t.Fatal(err)
		}
		if c := s.configOf("millhand-events"); c.MaxAge != 2*time.Hour || c.MaxMsgs != 1000 || c.MaxMsgsPerSubject != eventsPerSubject || !c.AllowBatchPublish {
			t.Errorf("events have become %+v", c)
		}
		for _, r := range []Retention{{Results: time.Minute}, {Results: -time.Hour}, {Events: 999}, {Events: -1}, {Dead: time.Minute}} {
			err := s.store.SetRetention(s.ctx, r)
			if _, ok := errors.AsType[*job.InvalidError](err); !ok {
				t.Errorf("%+v: %v", r, err)
			}
		}
	})
}

func TestReach(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	full := func(reach, age time.Duration) jetstream.StreamInfo {
		return jetstream.StreamInfo{
			Config: jetstream.StreamConfig{MaxMsgs: 1000, MaxAge: age},
			State:  jetstream.StreamState{Msgs: 1000, FirstTime: now.Add(-reach)},
		}
	}
	young := full(time.Minute, 0)
	young.State.Msgs = 10
	for name, c := range map[string]struct {
		info jetstream.StreamInfo
		want time.Duration // before now; 0: nothing is said
	}{
		"full, and half an hour": {full(30*time.Minute, eventsMaxAge), 30 * time.Minute},
		"full, and two hours":    {full(2*time.Hour, eventsMaxAge), 0},
		"dropped nothing yet":    {young, 0},
		"kept for ten minutes":   {full(2*time.Hour, 10*time.Minute), 10 * time.Minute},
	} {
		since := reachOf(&c.info, now)
		if got := now.Sub(since); since.IsZero() != (c.want == 0) || c.want != 0 && got != c.want {
			t.Errorf("%s: reaches back to %v", name, since)
		}
	}
}

func TestAShortHistoryIsTold(t *testing.T) {
	inStreamCheck(t, func(t *testing.T, s *scene, check func() string) {
		if err := s.store.SetRetention(s.ctx, Retention{Events: 1000}); err != nil {
			t.Fatal(err)
		}
		s.editStream("millhand-events", func(c *jetstream.StreamConfig) { c.MaxMsgs = 20 })
		s.station("n", 10, succeed)
		for i := range 30 {
			s.enqueue(fmt.Sprint("j", i))
			s.sleep(2 * time.Minute)
		}
		got := check()
		if !strings.Contains(got, "less than an hour") || !strings.Contains(got, "--keep-events") {
			t.Errorf("says %q", got)
		}
		if ago := time.Since(s.store.HistorySince()); ago < 30*time.Minute || ago > 40*time.Minute {
			t.Errorf("history reaches back %v", ago)
		}
		if got := check(); got != "" {
			t.Errorf("said again at once: %s", got)
		}
		if err := s.store.SetRetention(s.ctx, Retention{Events: 2000}); err != nil {
			t.Fatal(err)
		}
		check()
		if !s.store.HistorySince().IsZero() {
			t.Error("says still that it is short")
		}
	})
}
