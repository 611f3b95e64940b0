package millhand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What was set in an emergency stays through a rolling restart, until it is handed back.
func TestEmergencyQuotaSurvivesARollingRestart(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		configured := millhand.Quota{Key: "crm", Types: []string{"email"}, Limit: 10}
		hire := func() func() error {
			mux := millhand.NewMux()
			millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
			_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Quotas: []millhand.Quota{configured}})
			time.Sleep(time.Second)
			return stop
		}
		want := func(limit int, source millhand.QuotaSource) {
			t.Helper()
			all, err := c.Quotas(t.Context())
			if err != nil || len(all) != 1 || all[0].Limit != limit || all[0].Source != source || all[0].SetAt.IsZero() || len(all[0].Types) != 1 {
				t.Fatalf("quotas %+v, %v; want %d by %s", all, err, limit, source)
			}
		}
		workers := []func() error{hire(), hire(), hire()}
		want(10, millhand.SetByConfig)
		emergency := configured
		emergency.Limit = 2
		if err := c.SetQuota(t.Context(), emergency); err != nil {
			t.Fatal(err)
		}
		for i, stop := range workers {
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			workers[i] = hire()
			want(2, millhand.SetByPerson)
		}
		if err := c.ResetQuota(t.Context(), configured); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		want(10, millhand.SetByConfig)
	})
}

func TestResetQuotaIsChecked(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for _, q := range []millhand.Quota{{}, {Type: "a b"}, {Type: "a", Key: "b"}, {Type: "a", Types: []string{"b"}}, {Type: "a", Per: time.Millisecond}} {
			if err := c.ResetQuota(t.Context(), q); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("ResetQuota(%+v) = %v", q, err)
			}
		}
	})
}

func TestPaused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		if err := c.Pause(t.Context(), "low"); err != nil {
			t.Fatal(err)
		}
		paused, err := c.Paused(t.Context())
		if err != nil || len(paused) != 1 || time.Since(paused["low"]) > time.Minute {
			t.Errorf("paused %v, %v", paused, err)
		}
		if err := c.Resume(t.Context(), "low"); err != nil {
			t.Fatal(err)
		}
		if paused, err := c.Paused(t.Context()); err != nil || len(paused) != 0 {
			t.Errorf("paused %v, %v", paused, err)
		}
	})
}

// What is wrong with a quota is said as data.
func TestBadQuotaSaysWhatBreaksWhichRule(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for _, tt := range []struct {
			quota            millhand.Quota
			what, name, rule string
		}{
			{millhand.Quota{}, "quota", "", "must name one of type, key and queue"},
			{millhand.Quota{Type: "a", Types: []string{"b"}}, "quota", "", "must name the key that its types share"},
			{millhand.Quota{Type: "a", Limit: millhand.MaxLimit + 1}, "quota: limit", "1000001", "must be from 1 to 1000000, or 0 for none"},
			{millhand.Quota{Type: "a", Limit: 1, Per: time.Millisecond}, "quota: period", "1ms", "must be from 100ms to 24h0m0s"},
		} {
			invalid, ok := errors.AsType[*millhand.InvalidError](c.SetQuota(t.Context(), tt.quota))
			if !ok || invalid.What != tt.what || invalid.Name != tt.name || invalid.Rule != tt.rule {
				t.Errorf("%+v: %+v", tt.quota, invalid)
			}
		}
	})
}
