package problem_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// A look is one row of the tables: what is so, and what is said of it.
type look struct {
	name string
	set  func(s *scene)
	want string // "ID subject, since" of each; since is left out where it is not known
}

func check(t *testing.T, looks []look) {
	t.Helper()
	for _, l := range looks {
		t.Run(l.name, func(t *testing.T) {
			s := newScene()
			l.set(s)
			var got []string
			for _, p := range problem.Decide(s.Facts).Problems {
				text := strings.TrimSpace(p.ID + " " + p.Subject)
				if !p.Since.IsZero() {
					text += ", " + now.Sub(p.Since).String()
				}
				got = append(got, text)
				if p.Level == "" || p.About == "" || p.Is == "" || p.Text != p.About+": "+p.Is || p.Advice == nil {
					t.Errorf("not all is said: %+v", p)
				}
			}
			if diff := cmp.Diff(l.want, strings.Join(got, "; ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatWaits(t *testing.T) {
	unserved := func(s *scene) { s.email.Workers, s.worker.Types = 0, []string{"other"} }
	check(t, []look{
		{"all is well", func(*scene) {}, ""},
		{"P01", func(s *scene) { s.waits(412, 6*time.Minute); unserved(s) }, "P01 default/email, 6m0s"},
		{"P01 only draining", func(s *scene) { s.waits(1, time.Minute); unserved(s); s.email.Draining = 1 }, "P01 default/email, 1m0s"},
		{"P01 handed out a minute ago", func(s *scene) { s.waits(1, 6*time.Minute); unserved(s); s.email.LastActive = ago(time.Minute) }, "P01 default/email, 1m0s"},
		{"P01 not yet", func(s *scene) { s.waits(1, 29*time.Second); unserved(s) }, ""},
		{"P01 its worker left a moment ago", func(s *scene) { s.waits(1, time.Hour); unserved(s); s.email.LastActive = ago(10 * time.Second) }, ""},
		{"P01 age not known, new", func(s *scene) { s.waits(1, 0); unserved(s); s.email.Oldest = view.Oldest{How: view.Unknown} }, ""},
		{"P01 age not known, seen before", func(s *scene) {
			s.waits(1, 0)
			unserved(s)
			s.email.Oldest = view.Oldest{How: view.Unknown}
			s.saw(problem.NoWorker, "default/email", 50*time.Second)
		}, "P01 default/email, 50s"},
		{"P01 never served", func(s *scene) {
			s.queue.Unclaimed = view.Counted(3, view.About, now)
			s.saw(problem.NoWorker, "default", time.Minute)
		}, "P01 default, 1m0s"},
		{"P01 no worker at all", func(s *scene) { s.waits(5, time.Minute); s.email.Workers, s.Snapshot.Workers = 0, nil }, "P01, 1m0s"},
		{"P01 nothing waits, no worker", func(s *scene) { s.email.Workers, s.Snapshot.Workers = 0, nil }, ""},
		{"P01 the registry is silent", func(s *scene) {
			s.waits(5, time.Minute)
			s.email.Workers, s.Snapshot.Workers = 0, nil
			s.Snapshot.Missing = []view.Missing{{What: "registry", Err: nats.ErrPermissionViolation}}
		}, ""},

		{"P03 asked for", func(s *scene) { s.waits(9, 40*time.Second); s.email.Pulls = 2 }, "P03 default/email, 40s"},
		{"P03 not asked for", func(s *scene) { s.waits(9, 40*time.Second); s.worker.SlotsFree = new(3) }, "P03 default/email, 40s"},
		{"P03 not yet", func(s *scene) { s.waits(9, 29*time.Second); s.email.Pulls = 2 }, ""},
		{"P03 handed out just now", func(s *scene) { s.waits(9, time.Minute); s.email.Pulls, s.email.LastActive = 2, ago(time.Second) }, ""},
		{"P03 no slot is free", func(s *scene) { s.waits(9, time.Minute) }, ""},
		{"P03 the queue's own slots are taken", func(s *scene) {
			s.waits(9, time.Minute)
			s.worker.SlotsFree, s.worker.QueueSlotsFree = new(3), map[string]int{"default": 0}
		}, ""},
		{"P03 paused", func(s *scene) {
			s.waits(9, time.Minute)
			s.email.Pulls, s.queue.Paused = 2, &registry.Pause{Since: ago(time.Minute)}
		}, ""},
		{"P03 the type is paused", func(s *scene) {
			s.waits(9, time.Minute)
			s.email.Pulls, s.email.Paused = 2, &registry.Pause{Since: ago(time.Minute)}
		}, ""},
		{"P03 the quota is full", func(s *scene) {
			s.waits(9, time.Minute)
			s.worker.SlotsFree = new(3)
			s.Snapshot.Pools = []view.Pool{{Name: "email", Kind: "type", Limit: 1, Used: 1, Held: 1}}
		}, ""},
		{"P03 a heavier queue goes first", func(s *scene) {
			s.waits(9, time.Minute)
			s.worker.SlotsFree, s.worker.StrictWeights = new(3), map[string]int{"default": 1, "critical": 9}
			s.Snapshot.Queues = append(s.Snapshot.Queues, view.Queue{Name: "critical", Ready: view.Counted(1, view.Exact, now)})
			s.queue, s.email = &s.Snapshot.Queues[0], &s.Snapshot.Queues[0].Types[0]
		}, ""},

		{"P04", func(s *scene) { s.waits(9, 6*time.Minute) }, "P04 default, 1m0s"},
		{"P04 not yet", func(s *scene) { s.waits(9, 5*time.Minute) }, ""},
		{"P04 an objective", func(s *scene) {
			s.waits(9, 20*time.Second)
			s.Objectives = problem.Objectives{"default": 10 * time.Second}
		}, "P04 default, 10s"},
		{"P04 paused", func(s *scene) { s.waits(9, 6*time.Minute); s.queue.Paused = &registry.Pause{Since: ago(time.Minute)} }, ""},
		{"P04 another objective", func(s *scene) {
			s.waits(9, 20*time.Second)
			s.Objectives = problem.Objectives{"other": 10 * time.Second}
		}, ""},
		{"P04 the objective of the worker that started last", func(s *scene) {
			s.waits(9, 20*time.Second)
			s.worker.Objectives = map[string]float64{"default": 10}
			other := *s.worker
			other.ID, other.Started, other.Objectives = "old", s.worker.Started.Add(-time.Hour), map[string]float64{"default": 3600}
			s.Snapshot.Workers = append(s.Snapshot.Workers, other)
			other.ID, other.Started, other.Objectives = "new", s.worker.Started.Add(time.Hour), nil
			s.Snapshot.Workers = append(s.Snapshot.Workers, other)
		}, "P04 default, 10s"},
		{"P04 late for longer than this job is", func(s *scene) { s.waits(9, 6*time.Minute); s.saw(problem.Late, "default", 9*time.Minute) }, "P04 default, 9m0s"},

		{"P09", func(s *scene) {
			s.queue.Paused = &registry.Pause{Since: ago(3 * time.Hour), By: "oncall", Reason: "database move"}
		}, "P09 default, 3h0m0s"},
		{"P09 a type", func(s *scene) { s.email.Paused = &registry.Pause{Since: ago(2 * time.Hour)} }, "P09 default/email, 2h0m0s"},
		{"P09 not yet", func(s *scene) { s.queue.Paused = &registry.Pause{Since: ago(59 * time.Minute)} }, ""},
		{"P09 since when is not known", func(s *scene) { s.queue.Paused = new(registry.Pause) }, ""},
	})
}

func TestHowRunsEnd(t *testing.T) {
	check(t, []look{
		{"P02", func(s *scene) { s.runs(8 * time.Minute); s.took(9, time.Second) }, "P02 default/email, 8m0s"},
		{"P02 since the last end", func(s *scene) { s.runs(20 * time.Minute); s.took(6, time.Second) }, "P02 default/email, 6m20s"},
		{"P02 one ended", func(s *scene) { s.runs(8 * time.Minute); s.took(3, time.Second) }, ""},
		{"P02 not yet", func(s *scene) { s.runs(4 * time.Minute); s.took(9, time.Second) }, ""},
		{"P02 such jobs take long", func(s *scene) { s.runs(8 * time.Minute); s.took(9, 4*time.Minute) }, ""},
		{"P02 nobody knows how long they take", func(s *scene) { s.runs(50 * time.Minute) }, ""},
		{"P02 nobody knows, and it is very long", func(s *scene) { s.runs(2 * time.Hour); s.Past = map[tally.Pair]*stats.Past{} }, "P02 default/email, 2h0m0s"},
		{"P02 long ago they were short", func(s *scene) {
			s.runs(2 * time.Hour)
			p := &stats.Past{LastEnd: ago(90 * time.Minute)}
			p.Runs.Add(tally.NewHistogram(time.Minute))
			s.Past = map[tally.Pair]*stats.Past{{Queue: "default", Type: "email"}: p}
		}, "P02 default/email, 1h30m0s"},
		{"P02 a worker keeps no statistics", func(s *scene) { s.runs(8 * time.Minute); s.took(9, time.Second); s.worker.NoStats = true }, ""},

		{"P05", func(s *scene) { s.counted(0, tally.Dead, 11); s.counted(5, tally.Succeeded, 1000) }, "P05 email"},
		{"P05 seen before", func(s *scene) { s.counted(0, tally.Dead, 31); s.saw(problem.Dying, "email", 4*time.Minute) }, "P05 email, 4m0s"},
		{"P05 ten", func(s *scene) { s.counted(0, tally.Dead, 10) }, ""},
		{"P05 of many", func(s *scene) { s.counted(0, tally.Dead, 11); s.counted(0, tally.Succeeded, 1089) }, ""},
		{"P05 long ago", func(s *scene) { s.counted(11, tally.Dead, 100) }, ""},
		{"P06", func(s *scene) { s.counted(1, tally.Retrying, 5); s.counted(2, tally.Succeeded, 15) }, "P06 email"},
		{"P06 a fifth", func(s *scene) { s.counted(1, tally.Retrying, 4); s.counted(2, tally.Succeeded, 16) }, ""},
		{"P06 few", func(s *scene) { s.counted(1, tally.Retrying, 19) }, ""},
		{"P06 handed back is no failure", func(s *scene) { s.counted(1, tally.HandedBack, 50) }, ""},
		{"P08", func(s *scene) { s.counted(9, tally.Lost, 1) }, "P08 email"},
		{"P08 by itself", func(s *scene) { s.counted(9, tally.LostLeases, 1) }, "P08 email"},
		{"P08 long ago", func(s *scene) { s.counted(10, tally.Lost, 1) }, ""},
		{"P11", func(s *scene) { s.counted(0, tally.Due, 20); s.counted(1, tally.Fired, 9) }, "P11 default"},
		{"P11 half", func(s *scene) { s.counted(0, tally.Due, 20); s.counted(1, tally.Fired, 10) }, ""},
		{"P11 few", func(s *scene) { s.counted(0, tally.Due, 19) }, ""},
		{"P11 long ago", func(s *scene) { s.counted(5, tally.Due, 100) }, ""},
		{"P11 late", func(s *scene) { s.late(2, 7*time.Second) }, "P11 default"},
		{"P11 a little late", func(s *scene) { s.late(2, 4*time.Second) }, ""},

		{"P19", func(s *scene) { s.Minutes = s.Minutes[:8] }, "P19, 4m20s"},
		{"P19 none at all", func(s *scene) { s.Minutes = nil }, "P19"},
		{"P19 not yet", func(s *scene) { s.Minutes = s.Minutes[:10] }, ""},
		{"P19 the worker has just started", func(s *scene) { s.Minutes, s.worker.Started = nil, ago(3*time.Minute) }, ""},
		{"P19 the worker keeps none", func(s *scene) { s.Minutes, s.worker.NoStats = nil, true }, ""},
		{"P19 no worker", func(s *scene) { s.Minutes, s.Snapshot.Workers = nil, nil }, ""},
		{"P19 nobody can read them", func(s *scene) { s.Minutes, s.MinutesErr = nil, errors.New("denied") }, ""},
	})
}

func TestWorkersAndBroker(t *testing.T) {
	clustered := func(s *scene) {
		s.Snapshot.Server.Cluster = "c"
		s.stream.Leader, s.stream.Info.Cluster = "s1", &jetstream.ClusterInfo{Leader: "s1"}
	}
	replica := func(r view.Replica) func(*scene) {
		return func(s *scene) { clustered(s); s.stream.Replicas = []view.Replica{r} }
	}
	quota := func(own, other registry.Grant) func(*scene) {
		return func(s *scene) {
			s.Snapshot.Pools = []view.Pool{{Name: "email", Kind: "type", Limit: 5, Grants: []view.Grant{{Worker: "web-1", Grant: own}, {Worker: "web-2", Grant: other}}}}
			s.saw(problem.QuotaIdle, "email at web-1", time.Minute)
		}
	}
	lost := func(s *scene) {
		s.email.InHand = view.Counted(3, view.Exact, now)
		s.email.Claimed = view.Counted(1, view.Exact, now)
		s.email.LastActive = ago(time.Minute)
	}
	check(t, []look{
		{"P07", func(s *scene) { lost(s); s.saw(problem.UnclaimedInHand, "default/email", 50*time.Second) }, "P07 default/email, 50s"},
		{"P07 in one look", lost, ""},
		{"P07 a lease has begun", func(s *scene) { lost(s); s.saw(problem.UnclaimedInHand, "default/email", 9*time.Second) }, ""},
		{"P07 handed out since the worker said what it has", func(s *scene) {
			lost(s)
			s.email.LastActive = ago(2 * time.Second)
			s.saw(problem.UnclaimedInHand, "default/email", time.Minute)
		}, ""},
		{"P10", quota(registry.Grant{Held: 5, Used: 1, Need: 1, Want: 5}, registry.Grant{Need: 3, Want: 3}), "P10 email at web-1, 1m0s"},
		{"P10 nobody wants them", quota(registry.Grant{Held: 5, Used: 1, Need: 1, Want: 5}, registry.Grant{Want: 3}), ""},
		{"P10 it needs them", quota(registry.Grant{Held: 5, Used: 1, Need: 5, Want: 5}, registry.Grant{Need: 3, Want: 3}), ""},
		{"P12", func(s *scene) { s.worker.Stuck = 2 }, "P12 web-1-9f86d081"},
		{"P13", func(s *scene) { s.worker.Rebuilt = ago(9 * time.Minute) }, "P13 web-1-9f86d081, 9m0s"},
		{"P13 long ago", func(s *scene) { s.worker.Rebuilt = ago(10 * time.Minute) }, ""},
		{"P14", func(s *scene) { s.worker.ClockAhead = -2.1 }, "P14 web-1-9f86d081"},
		{"P14 two seconds", func(s *scene) { s.worker.ClockAhead = 2 }, ""},
		{"P15 silent", func(s *scene) {
			s.Snapshot.Missing = []view.Missing{{What: "stream millhand-events", Err: context.DeadlineExceeded}}
		}, "P15 millhand-events"},
		{"P15 denied", func(s *scene) {
			s.Snapshot.Missing = []view.Missing{{What: "stream millhand-events", Err: nats.ErrPermissionViolation}}
		}, ""},
		{"P15 no leader", func(s *scene) { clustered(s); s.stream.Leader = "" }, "P15 millhand-events"},
		{"P15 a consumer", func(s *scene) { clustered(s); s.email.Info.Cluster = new(jetstream.ClusterInfo) }, "P15 default/email"},
		{"P15 a consumer is silent", func(s *scene) { s.email.Info = nil }, "P15 default/email"},
		{"P15 a server by itself", func(s *scene) { s.stream.Info.Cluster = new(jetstream.ClusterInfo) }, ""},
		{"P16 offline", replica(view.Replica{Server: "s2", Offline: true}), "P16 millhand-events at s2"},
		{"P16 silent", replica(view.Replica{Server: "s2", Current: true, Active: 11 * time.Second}), "P16 millhand-events at s2, 11s"},
		{"P16 behind for a moment", replica(view.Replica{Server: "s2", Lag: 9}), ""},
		{"P16 behind", func(s *scene) {
			replica(view.Replica{Server: "s2", Lag: 9})(s)
			s.saw(problem.Lagging, "millhand-events at s2", time.Minute)
		}, "P16 millhand-events at s2, 1m0s"},
		{"P16 current", replica(view.Replica{Server: "s2", Current: true, Active: 9 * time.Second, Lag: 3}), ""},
		{"P17 a stream", func(s *scene) {
			s.stream.Bytes, s.stream.Info.Config = view.Counted(81, view.Exact, now), jetstream.StreamConfig{MaxBytes: 100, Discard: jetstream.DiscardNew}
		}, "P17 millhand-events"},
		{"P17 a stream that drops the oldest", func(s *scene) {
			s.stream.Bytes, s.stream.Info.Config = view.Counted(100, view.Exact, now), jetstream.StreamConfig{MaxBytes: 100}
		}, ""},
		{"P17 four fifths", func(s *scene) { s.Account = &problem.Account{Used: 80, Limit: 100} }, ""},
		{"P17 the account", func(s *scene) { s.Account = &problem.Account{Used: 81, Limit: 100} }, "P17 account"},
		{"P17 history", func(s *scene) { s.stream.Info.Config.MaxMsgs = 1000 }, "P17 millhand-events"},
		{"P17 a long history", func(s *scene) { s.stream.Info.Config.MaxMsgs, s.stream.FirstTime = 1000, ago(61*time.Minute) }, ""},
		{"P18", func(s *scene) { s.Snapshot.Workers = append(s.Snapshot.Workers, registry.Node{ID: "old", Seen: now}) }, "P18 workers"},
		{"P18 all alike", func(s *scene) { s.worker.ByType = nil }, ""},
		{"P18 the server", func(s *scene) { s.Server = stream.Server{Version: "2.10.1"} }, "P18 server"},
		{"P20", func(s *scene) {
			s.runs(2 * time.Minute)
			s.worker.State, s.worker.DrainingSince = registry.Draining, ago(61*time.Second)
		}, "P20 web-1-9f86d081, 1m1s"},
		{"P20 within its time", func(s *scene) {
			s.runs(2 * time.Minute)
			s.worker.State, s.worker.DrainingSince = registry.Draining, ago(59*time.Second)
		}, ""},
		{"P21", unserved(31*time.Second, 7), "P21 crm, 31s"},
		{"P21 for a moment", unserved(29*time.Second, 7), ""},
		{"P21 nothing waits", unserved(time.Hour, 0), ""},
		{"P21 served", func(s *scene) {
			unserved(time.Hour, 7)(s)
			s.Snapshot.Pipelines[0].Processes = []view.PipelineProcess{{Worker: "crm-1"}}
		}, ""},
		{"P20 nothing is left", func(s *scene) { s.worker.State, s.worker.DrainingSince = registry.Draining, ago(time.Hour) }, ""},
	})
}

// What cannot be known is told, and not taken for well.
func TestWhatIsNotKnownIsTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set  func(*scene)
		want problem.Code
		why  string
	}{
		"registry":      {func(s *scene) { s.Snapshot.Missing = []view.Missing{{What: "registry", Err: context.DeadlineExceeded}} }, problem.Clock, "registry"},
		"consumers":     {func(s *scene) { s.Snapshot.Missing = []view.Missing{{What: "consumers of queue default", Why: "no"}} }, problem.Late, "consumers of queue default: no"},
		"no statistics": {func(s *scene) { s.worker.NoStats, s.Minutes = true, nil }, problem.Dying, "keep no statistics"},
		"a new worker":  {func(s *scene) { s.worker.Started, s.Minutes = now, nil }, problem.Dying, "first minute"},
		"a gap":         {func(s *scene) { s.Minutes = nil }, problem.Stalled, "last minutes"},
		"denied":        {func(s *scene) { s.MinutesErr = errors.New("denied") }, problem.ScheduleLate, "denied"},
	} {
		s := newScene()
		tt.set(s)
		r := problem.Decide(s.Facts)
		found := false
		for _, g := range r.Unknown {
			for _, c := range g.Codes {
				found = found || c == tt.want && strings.Contains(g.Why, tt.why)
			}
		}
		if !found {
			t.Errorf("%s: %+v, want %s", name, r.Unknown, tt.want)
		}
	}
	if r := problem.Decide(newScene().Facts); len(r.Unknown) > 0 {
		t.Errorf("all is known, and yet %+v", r.Unknown)
	}
}

// The signs of a look are what the next one builds on: since when there was one, and whom that was told.
func TestSignsGoOn(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.worker.Stuck = 1
	s.waits(1, 10*time.Second)
	s.email.Workers, s.worker.Types = 0, nil
	s.email.InHand = view.Counted(1, view.Exact, now)
	first := problem.Decide(s.Facts).Signs
	want := []tally.Sign{
		{Code: "stuck", Subject: "web-1-9f86d081", Since: now, Problem: true},
		{Code: "unclaimed_in_hand", Subject: "default/email", Since: now},
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Fatal(diff)
	}
	first[0].Told = now
	b := s.Minutes[len(s.Minutes)-1].Periods[0].Backlog
	b.Signs = first
	s.Snapshot.At = now.Add(time.Minute)
	second := problem.Decide(s.Facts)
	if got := second.Signs[1]; len(second.Signs) != 3 || got.Code != "stuck" || !got.Since.Equal(now) || !got.Told.Equal(now) {
		t.Errorf("sign %+v", got)
	}
	if len(second.Problems) != 3 || second.Problems[0].Code != problem.NoWorker {
		t.Errorf("problems %+v", second.Problems)
	}
	s.Snapshot.At = now.Add(5 * time.Minute) // nobody looked for long
	for _, p := range problem.Decide(s.Facts).Problems {
		if p.Code == problem.Stuck && !p.Since.IsZero() {
			t.Errorf("it is not known since when: %+v", p)
		}
	}
}

// A day is read only if jobs run for longer than the last minutes tell of.
func TestPastIsAskedForRarely(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]bool{4 * time.Minute: false, 6 * time.Minute: true} {
		s := newScene()
		s.runs(d)
		if got := s.NeedsPast(); got != want {
			t.Errorf("with a job that runs for %v: %t", d, got)
		}
	}
	s := newScene()
	s.runs(time.Hour)
	s.took(1, time.Second)
	if s.NeedsPast() {
		t.Error("others have ended a minute ago")
	}
}

// The codes are a contract, and each has what it means.
func TestKinds(t *testing.T) {
	t.Parallel()
	var got []string
	for _, k := range problem.Kinds() {
		got = append(got, k.ID+" "+string(k.Code)+" "+string(k.Level))
		if k.Means == "" {
			t.Errorf("%s has no meaning", k.ID)
		}
	}
	want := "P01 no_worker error\nP02 stalled error\nP03 not_pulled error\nP04 late warning\nP05 dying warning\nP06 failing warning\nP07 unclaimed_in_hand warning\n" +
		"P08 lost warning\nP09 paused_long notice\nP10 quota_idle warning\nP11 schedule_late error\nP12 stuck warning\nP13 rebuilt warning\nP14 clock warning\n" +
		"P15 leaderless error\nP16 lagging warning\nP17 disk warning\nP18 versions notice\nP19 stats_gap notice\nP20 drain_long warning\nP21 unserved error"
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Error(diff)
	}
}

// unserved has a pipeline that no process serves.
func unserved(since time.Duration, lag int64) func(*scene) {
	return func(s *scene) {
		s.Snapshot.Pipelines = []view.Pipeline{{Name: "crm", Stream: "CHANGES", Consumer: "g", Lag: &lag, LastActive: ago(since)}}
	}
}
