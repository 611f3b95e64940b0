package cron

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var edited = time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC)

func entry(t interface{ Fatal(...any) }, schedule string, o Overlap, c CatchUp) Entry {
	s, err := Parse(schedule, "Europe/Amsterdam", edited)
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Name: "e", Schedule: s, Overlap: o, CatchUp: c, Grace: DefaultGrace, Rev: 7, Edited: edited}
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestCheckRefuses(t *testing.T) {
	for want, e := range map[string]Entry{
		`overlap "no": want skip or allow`:                     {Overlap: "no", CatchUp: CatchUpOne},
		`catch_up "some": want skip, one or all`:               {Overlap: SkipOverlap, CatchUp: "some"},
		`catch_up all: needs overlap allow`:                    {Overlap: SkipOverlap, CatchUp: CatchUpAll},
		`grace "-1s": must not be negative; 1m is the default`: {Overlap: SkipOverlap, CatchUp: CatchUpOne, Grace: -time.Second},
	} {
		if err := e.Check(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What a worker publishes that comes back after a while, as seconds from the edit.
func TestPlan(t *testing.T) {
	tests := []struct {
		schedule string
		overlap  Overlap
		catchUp  CatchUp
		last     int // published last
		now      int
		ticks    string
		missed   int
	}{
		{"@every 10m", AllowOverlap, CatchUpOne, 0, 0, "[600]", 0},                   // the next one, at once
		{"@every 10m", SkipOverlap, CatchUpOne, 600, 600, "[1200]", 0},               // once the one before has passed
		{"@every 10m", AllowOverlap, CatchUpSkip, 0, 630, "[600 1200]", 0},           // within the grace
		{"@every 10m", AllowOverlap, CatchUpSkip, 0, 700, "[1200]", 1},               // late
		{"@every 10m", AllowOverlap, CatchUpOne, 0, 1900, "[1800 2400]", 2},          // the latest of three
		{"@every 10m", SkipOverlap, CatchUpOne, 0, 1900, "[1800]", 2},                // one at a time
		{"@every 10m", AllowOverlap, CatchUpAll, 0, 1900, "[600 1200 1800 2400]", 0}, // oldest first
		{"@every 3s", AllowOverlap, CatchUpOne, 6, 6, "[9 12 15]", 0},                // ten seconds ahead
		{"@every 3s", SkipOverlap, CatchUpOne, 6, 6, "[9]", 0},
		{"@every 30s", AllowOverlap, CatchUpOne, 0, 100, "[60 90 120]", 1}, // what is not late runs in any case
		{"@every 30s", SkipOverlap, CatchUpOne, 0, 100, "[90]", 2},
	}
	at := func(seconds int) time.Time { return edited.Add(time.Duration(seconds) * time.Second) }
	for _, tt := range tests {
		e := entry(t, tt.schedule, tt.overlap, tt.catchUp)
		p := e.Plan(Cursor{Rev: e.Rev, Last: at(tt.last)}, at(tt.now))
		var got []int
		for _, at := range p.Ticks {
			got = append(got, int(at.Sub(edited)/time.Second))
		}
		if fmt.Sprint(got) != tt.ticks || p.Missed != tt.missed {
			t.Errorf("%s, %s, %s, last %ds, now %ds: %v and %d missed, want %s and %d", tt.schedule, tt.overlap, tt.catchUp, tt.last, tt.now, got, p.Missed, tt.ticks, tt.missed)
		}
	}
}

func TestPlanAfterAYear(t *testing.T) {
	for _, schedule := range []string{"* * * * *", "@every 1s"} {
		e := entry(t, schedule, AllowOverlap, CatchUpAll)
		now := edited.Add(365 * 24 * time.Hour)
		p := e.Plan(Cursor{}, now)
		if len(p.Ticks) != maxTicks || !p.Last.Equal(now) || p.Missed < maxCount {
			t.Errorf("%s: %d ticks up to %v, %d missed", schedule, len(p.Ticks), p.Last, p.Missed)
		}
	}
}

// Whenever workers look, each tick is published or given up, once, and which of the two is as the
// catch-up says.
func TestPlanLeavesNoTickOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := entry(t, rapid.SampledFrom([]string{"@every 1s", "@every 7s", "@every 1m", "* * * * *", "*/7 1-3 * * *", "30 * * * *"}).Draw(t, "schedule"),
			rapid.SampledFrom([]Overlap{SkipOverlap, AllowOverlap}).Draw(t, "overlap"), CatchUpOne)
		e.CatchUp = rapid.SampledFrom([]CatchUp{CatchUpSkip, CatchUpOne, CatchUpAll}).Draw(t, "catch-up")
		if e.Overlap == SkipOverlap && e.CatchUp == CatchUpAll {
			e.CatchUp = CatchUpOne
		}
		e.Grace = time.Duration(rapid.IntRange(0, 120).Draw(t, "grace")) * time.Second
		var c Cursor
		now, total := edited, 0
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			at, first, ok := e.Wake(c)
			if !ok || !first.Equal(e.Schedule.Next(e.from(c))) {
				t.Fatalf("wake at %v for %v, %v", at, first, ok)
			}
			if at.After(now) {
				now = at
			}
			now = now.Add(time.Duration(rapid.OneOf(rapid.IntRange(0, 3_000), rapid.IntRange(0, 4*3_600_000)).Draw(t, "later")) * time.Millisecond)
			p := e.Plan(c, now)
			passed := slices.Collect(e.ticks(e.from(c), p.Last))
			if len(p.Ticks)+p.Missed != len(passed) || len(p.Ticks) > maxTicks {
				t.Fatalf("%d published and %d missed of %d", len(p.Ticks), p.Missed, len(passed))
			}
			for _, tick := range p.Ticks {
				if !slices.Contains(passed, tick) {
					t.Fatalf("%v is no tick", tick)
				}
				if e.Judge(Tick{Rev: e.Rev, At: tick}, now) != Runs {
					t.Fatalf("%v was published, to be missed at once", tick)
				}
			}
			for _, tick := range passed[max(0, len(passed)-maxTicks):] {
				if e.Overlap == AllowOverlap && !slices.Contains(p.Ticks, tick) && e.Judge(Tick{Rev: e.Rev, At: tick}, now) == Runs {
					t.Fatalf("%v was given up, though it is not late", tick)
				}
			}
			if len(p.Ticks) > 0 && p.Ticks[len(p.Ticks)-1].After(now.Add(horizon)) && len(p.Ticks) > 1 && p.Ticks[len(p.Ticks)-2].After(now) {
				t.Fatalf("more than one tick beyond the horizon: %v", p.Ticks)
			}
			total += len(passed)
			c = Cursor{Rev: e.Rev, Last: p.Last}
		}
		if all := slices.Collect(e.ticks(edited, c.Last)); len(all) != total {
			t.Fatalf("%d of %d ticks were decided about", total, len(all))
		}
	})
}

func TestJudge(t *testing.T) {
	e := entry(t, "@every 10m", AllowOverlap, CatchUpOne)
	at := func(minutes int) time.Time { return edited.Add(time.Duration(minutes) * time.Minute) }
	removed := Entry{Name: "e", Rev: 9, Edited: edited, Removed: true}
	with := func(c CatchUp) Entry { e := e; e.CatchUp = c; return e }
	tests := []struct {
		what  string
		entry Entry
		tick  Tick
		now   time.Time
		want  Verdict
	}{
		{"in time", e, Tick{Rev: 7, At: at(10)}, at(10), Runs},
		{"within the grace", with(CatchUpSkip), Tick{Rev: 7, At: at(10)}, at(11), Runs},
		{"late, skip", with(CatchUpSkip), Tick{Rev: 7, At: at(10)}, at(12), Missed},
		{"late and the latest", e, Tick{Rev: 7, At: at(10)}, at(19), Runs},
		{"late and not the latest", e, Tick{Rev: 7, At: at(10)}, at(20), Missed},
		{"late, all", with(CatchUpAll), Tick{Rev: 7, At: at(10)}, at(500), Runs},
		{"moved by somebody", with(CatchUpSkip), Tick{Rev: 7, At: at(10), Due: at(60)}, at(60), Runs},
		{"run now", e, Tick{Rev: 7, At: at(10)}, at(2), Runs},
		{"of an older revision, due after the edit", e, Tick{Rev: 6, At: at(1)}, at(1), Superseded},
		{"of an older revision, due before the edit", e, Tick{Rev: 6, At: at(-1)}, at(0), Runs},
		{"of an older revision, due before the edit and late", e, Tick{Rev: 6, At: at(-30)}, at(10), Missed},
		{"of a newer revision", e, Tick{Rev: 8, At: at(10)}, at(50), Runs},
		{"of a removed entry", removed, Tick{Rev: 7, At: at(10)}, at(10), Superseded},
		{"of a removed entry, due before that", removed, Tick{Rev: 7, At: at(-1)}, at(50), Runs},
	}
	for _, tt := range tests {
		if got := tt.entry.Judge(tt.tick, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}
