package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

func everyMinute(t interface{ Fatal(...any) }, name string) Cron {
	s, err := cron.Parse("@every 1m", "Europe/Amsterdam", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return Cron{
		Entry: cron.Entry{Name: name, Schedule: s, Overlap: cron.AllowOverlap, CatchUp: cron.CatchUpAll, Grace: 90 * time.Second},
		Job: job.Record{
			Queue: "q", Type: "report", Payload: []byte(`{"html":"<b>&\u2028"}`), MaxAttempts: 3, Timeout: time.Minute, Expires: time.Hour,
			Meta: map[string]string{"a": "b"}, Trace: map[string]string{"traceparent": "00-1"},
		},
	}
}

// view is an entry as far as it can be compared.
func view(c Cron) any {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	return struct {
		Name, Schedule, Zone, Overlap, CatchUp string
		Next                                   time.Time
		Grace                                  time.Duration
		Job                                    job.Record
	}{c.Name, c.Schedule.String(), c.Schedule.ZoneName(), string(c.Overlap), string(c.CatchUp), c.Schedule.Next(at), c.Grace, c.Job}
}

func (s *scene) putCron(c Cron) Cron {
	s.t.Helper()
	if _, err := s.store.PutCron(s.ctx, c); err != nil {
		s.t.Fatalf("put %s: %v", c.Name, err)
	}
	return s.cron(c.Name)
}

func (s *scene) cron(name string) Cron {
	s.t.Helper()
	there, err := s.store.bucket.Last(s.ctx, cronKey(name))
	if err != nil {
		s.t.Fatalf("read %s: %v", name, err)
	}
	c, err := decodeCron(there)
	if err != nil {
		s.t.Fatalf("read %s: %v", name, err)
	}
	return c
}

func TestCronIsWrittenWhenItChanges(t *testing.T) {
	inScene(t, func(s *scene) {
		put := time.Now()
		want := everyMinute(s.t, "e")
		first := s.putCron(want)
		time.Sleep(40 * time.Second)
		if again := s.putCron(want); again.Rev != first.Rev {
			s.t.Errorf("put as it is, it got the revision %d after %d", again.Rev, first.Rev)
		}
		if !first.Edited.Equal(put) || !first.Schedule.Since().Equal(put.Truncate(time.Second)) {
			s.t.Errorf("edited %v, counts from %v, put at %v", first.Edited, first.Schedule.Since(), put)
		}
		// With another payload it goes on at the same pace, with another schedule it begins anew.
		want.Job.Payload = []byte{0xff}
		second := s.putCron(want)
		if second.Rev <= first.Rev || !second.Schedule.Since().Equal(first.Schedule.Since()) {
			s.t.Errorf("revision %d after %d, since %v", second.Rev, first.Rev, second.Schedule.Since())
		}
		if again := s.putCron(want); again.Rev != second.Rev {
			s.t.Errorf("put as it is, it got the revision %d after %d", again.Rev, second.Rev)
		}
		want.Schedule, _ = cron.Parse("@every 2m", "", time.Time{})
		if third := s.putCron(want); !third.Schedule.Since().Equal(time.Now().Truncate(time.Second)) {
			s.t.Errorf("another schedule counts from %v", third.Schedule.Since())
		}
	})
}

func TestCronComesBackAsItWasPut(t *testing.T) {
	inScene(t, func(s *scene) {
		for name, payload := range map[string]string{"json": `{"html":"<b>&\u2028"}`, "spaced": `{ "a": 1 }`, "text": "grist", "bytes": "\xff\x00", "none": ""} {
			want := everyMinute(s.t, name)
			want.Job.Payload = []byte(payload)
			got := s.putCron(want)
			want.Schedule = got.Schedule // but for what it counts from
			if len(payload) == 0 {
				want.Job.Payload = nil
			}
			if diff := cmp.Diff(view(want), view(got)); diff != "" {
				s.t.Errorf("%s (-put +got):\n%s", name, diff)
			}
		}
	})
}

func TestCronRefusesWhatBreaksARule(t *testing.T) {
	inScene(t, func(s *scene) {
		for want, edit := range map[string]func(*Cron){
			`cron entry "a b": only A-Z a-z 0-9 _ and - are allowed`: func(c *Cron) { c.Name = "a b" },
			`overlap "no": want skip or allow`:                       func(c *Cron) { c.Overlap = "no" },
			`catch_up all: needs overlap allow`:                      func(c *Cron) { c.Overlap = cron.SkipOverlap },
			`type must not be empty`:                                 func(c *Cron) { c.Job.Type = "" },
			`timeout -1s: must not be negative`:                      func(c *Cron) { c.Job.Timeout = -time.Second },
		} {
			c := everyMinute(s.t, "e")
			edit(&c)
			_, err := s.store.PutCron(s.ctx, c)
			if invalid, ok := errors.AsType[*job.InvalidError](err); !ok || invalid.Error() != want {
				s.t.Errorf("%v, want %s", err, want)
			}
		}
	})
}

// A paused entry is removed for all who follow it, and is there as it was for those who look. What is put
// meanwhile keeps it paused.
func TestPausedCron(t *testing.T) {
	inScene(t, func(s *scene) {
		want := everyMinute(s.t, "e")
		first := s.putCron(want)
		listed := func() *Cron {
			all, err := s.store.Crons(s.ctx)
			if err != nil || len(all) != 1 {
				s.t.Fatalf("entries %+v, %v", all, err)
			}
			return &all[0]
		}
		before, err := s.store.PauseCron(s.ctx, "e", "flood")
		if err != nil || before.Name != "e" || before.Rev != first.Rev {
			s.t.Errorf("pause: %+v, %v", before, err)
		}
		if c := s.cron("e"); !c.Removed {
			s.t.Error("those who follow it see it still")
		}
		paused := listed()
		if paused.Paused == nil || paused.Paused.Reason != "flood" || time.Since(paused.Paused.Since) > time.Minute {
			s.t.Errorf("paused %+v", paused.Paused)
		}
		if diff := cmp.Diff(view(first), view(*paused)); diff != "" {
			s.t.Errorf("while it is paused (-put +listed):\n%s", diff)
		}
		time.Sleep(time.Hour)
		if before, err := s.store.PauseCron(s.ctx, "e", "storm"); err != nil || before.Name != "" {
			s.t.Errorf("pause again: %+v, %v", before, err)
		}
		again := s.putCron(want)
		if p := listed().Paused; p == nil || p.Reason != "storm" || !p.Since.Equal(paused.Paused.Since) {
			s.t.Errorf("paused again %+v", p)
		}
		if s.putCron(want).Rev != again.Rev {
			s.t.Error("it was written though it is there as it is")
		}
		want.Job.Payload = []byte(`"<other>"`)
		s.putCron(want)
		for range 2 {
			if err := s.store.ResumeCron(s.ctx, "e"); err != nil {
				s.t.Error(err)
			}
		}
		got := s.cron("e")
		want.Schedule = first.Schedule // it keeps its pace
		if diff := cmp.Diff(view(want), view(got)); diff != "" || listed().Paused != nil {
			s.t.Errorf("resumed (-put +got):\n%s", diff)
		}
		// It can be removed while it is paused.
		if _, err := s.store.PauseCron(s.ctx, "e", ""); err != nil {
			s.t.Error(err)
		}
		if _, err := s.store.RemoveCron(s.ctx, "e"); err != nil {
			s.t.Error(err)
		}
		for name, err := range map[string]error{"resume": s.store.ResumeCron(s.ctx, "e"), "never there": s.store.ResumeCron(s.ctx, "f")} {
			if !errors.Is(err, ErrNoEntry) {
				s.t.Errorf("%s: %v, want ErrNoEntry", name, err)
			}
		}
		if _, err := s.store.PauseCron(s.ctx, "e", ""); !errors.Is(err, ErrNoEntry) {
			s.t.Errorf("pause of a removed one: %v, want ErrNoEntry", err)
		}
	})
}

func TestCronIsFollowed(t *testing.T) {
	inScene(t, func(s *scene) {
		if err := s.store.Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		before := s.putCron(everyMinute(s.t, "before"))
		link := s.server.Link()
		f := s.open(link.Connect(s.t)).FollowCrons()
		ctx, cancel := context.WithCancel(s.ctx)
		ready, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_ = f.RunReady(ctx, func() { close(ready) })
		}()
		defer func() { cancel(); <-ended }()
		<-ready
		check := func(name string, want Cron) {
			s.t.Helper()
			time.Sleep(time.Second)
			got, known := f.Get(name)
			if !known || got.Rev != want.Rev || !got.Edited.Equal(want.Edited) || got.Removed != want.Removed || !want.Removed && cmp.Diff(view(got), view(want)) != "" {
				s.t.Errorf("%s is known as %+v, want %+v", name, got, want)
			}
		}
		check("before", before)
		after := s.putCron(everyMinute(s.t, "after"))
		check("after", after)

		// What cannot be read does not take away what is known.
		if _, err := s.store.bucket.Put(s.ctx, stream.Write{Key: cronKey("after"), Value: []byte(`{"schedule":"never"}`)}); err != nil {
			s.t.Fatal(err)
		}
		check("after", after)

		link.Cut()
		if was, err := s.store.RemoveCron(s.ctx, "before"); err != nil || cmp.Diff(view(before), view(was)) != "" {
			s.t.Fatalf("removed %+v, %v", was, err)
		}
		removed := s.cron("before")
		time.Sleep(10 * time.Second)
		check("before", removed)
		if _, err := s.store.RemoveCron(s.ctx, "before"); !errors.Is(err, ErrNoEntry) {
			s.t.Errorf("removed twice: %v", err)
		}
		if all, err := s.store.Crons(s.ctx); err != nil || len(all) != 0 { // but for the unreadable one
			s.t.Errorf("crons: %v, %v", all, err)
		}
		if back := s.putCron(everyMinute(s.t, "before")); back.Removed || back.Rev <= removed.Rev {
			s.t.Errorf("put again: %+v", back)
		}
	})
}

// Entries that were lost with the bucket come back, at the pace they had, and paused if they were.
func TestCronSurvivesALostBucket(t *testing.T) {
	inScene(t, func(s *scene) {
		before := s.putCron(everyMinute(s.t, "e"))
		s.putCron(everyMinute(s.t, "paused"))
		if _, err := s.store.PauseCron(s.ctx, "paused", "flood"); err != nil {
			s.t.Fatal(err)
		}
		f := s.open(s.server.Link().Connect(s.t)).FollowCrons()
		ctx, cancel := context.WithCancel(s.ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = f.RunReady(ctx, func() {})
		}()
		defer func() { cancel(); <-ended }()
		time.Sleep(20 * time.Second)
		if err := s.client.JetStream().DeleteStream(s.ctx, "KV_millhand-registry"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if after := s.cron("e"); cmp.Diff(view(before), view(after)) != "" || after.Rev <= before.Rev {
			s.t.Errorf("revision %d after %d, %s", after.Rev, before.Rev, cmp.Diff(view(before), view(after)))
		}
		all, err := s.store.Crons(s.ctx)
		if err != nil || len(all) != 2 || all[1].Name != "paused" || all[1].Paused == nil || all[1].Paused.Reason != "flood" {
			s.t.Errorf("entries %+v, %v, want one that is paused", all, err)
		}
	})
}

// Where there are as many entries as there may be, the next one is refused. One that is there is put
// again, and one that is removed makes room for another.
func TestCronsHaveABound(t *testing.T) {
	inScene(t, func(s *scene) {
		first := everyMinute(s.t, "e0")
		s.putCron(first)
		value := encodeCron(first, first.Schedule.Since())
		for i := 1; i < maxCrons; i++ {
			if err := s.store.putFirst(s.ctx, stream.Write{Key: cronKey(fmt.Sprintf("e%d", i)), Value: value}); err != nil {
				s.t.Fatal(err)
			}
		}
		for name, full := range map[string]bool{"e0": false, "e9999": false, "more": true} {
			_, err := s.store.PutCron(s.ctx, everyMinute(s.t, name))
			invalid, refused := errors.AsType[*job.InvalidError](err)
			if refused != full || err != nil && !full || full && !strings.Contains(invalid.Error(), `entry "more": one too many: there are 10000`) {
				s.t.Errorf("put %s: %v", name, err)
			}
		}
		if _, err := s.store.RemoveCron(s.ctx, "e7"); err != nil {
			s.t.Error(err)
		}
		s.putCron(everyMinute(s.t, "more"))
		if _, err := s.store.PutCron(s.ctx, everyMinute(s.t, "e7")); err == nil {
			s.t.Error("one that was removed came back where there was no room")
		}
	})
}
