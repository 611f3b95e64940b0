package cron

import (
	"fmt"
	"strconv"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"
)

func mustParse(t *testing.T, schedule, zone string) Schedule {
	t.Helper()
	s, err := Parse(schedule, zone, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What happens where the clocks are put forward and back. The times of the day stand as UTC.
func TestNextAcrossChangesOfTheClock(t *testing.T) {
	const amsterdam, lordHowe, santiago = "Europe/Amsterdam", "Australia/Lord_Howe", "America/Santiago"
	tests := []struct {
		schedule, zone, after string // on the wall
		want                  []string
	}{
		{"30 2 * * *", amsterdam, "2026-03-28 12:00", []string{"29T01:00", "30T00:30", "31T00:30"}},
		{"*/15 2 * * *", amsterdam, "2026-03-28 12:00", []string{"29T01:00", "30T00:00", "30T00:15"}},
		{"0 3 * * *", amsterdam, "2026-03-28 12:00", []string{"29T01:00", "30T01:00"}},
		{"0 2,3 * * *", amsterdam, "2026-03-28 12:00", []string{"29T01:00", "30T00:00", "30T01:00"}},
		{"30 * * * *", amsterdam, "2026-03-29 00:00", []string{"28T23:30", "29T00:30", "29T01:30", "29T02:30"}},
		{"0 */2 * * *", amsterdam, "2026-03-28 23:30", []string{"28T23:00", "29T02:00", "29T04:00"}},
		{"30 2 * * *", amsterdam, "2026-10-24 12:00", []string{"25T00:30", "26T01:30", "27T01:30"}},
		{"0 2 * * *", amsterdam, "2026-10-24 12:00", []string{"25T00:00", "26T01:00"}},
		{"*/15 2 * * *", amsterdam, "2026-10-25 01:50", []string{"25T00:00", "25T00:15", "25T00:30", "25T00:45", "26T01:00"}},
		{"30 * * * *", amsterdam, "2026-10-25 01:00", []string{"24T23:30", "25T00:30", "25T01:30", "25T02:30", "25T03:30"}},
		{"45 1 * * *", lordHowe, "2026-04-04 12:00", []string{"04T14:45", "05T15:15", "06T15:15"}},
		{"15 2 * * *", lordHowe, "2026-10-03 12:00", []string{"03T15:30", "04T15:15", "05T15:15"}},
		{"0 0 * * *", santiago, "2026-09-05 12:00", []string{"06T04:00", "07T03:00", "08T03:00"}},
		{"0 12 * * *", "Pacific/Apia", "2011-12-28 13:00", []string{"29T22:00", "30T10:00", "30T22:00"}}, // there was no 30th
		{"0 9 * * mon-fri", "", "2026-11-27 10:00", []string{"30T09:00", "01T09:00"}},
		{"0 0 29 2 *", "UTC", "2096-03-01 00:00", []string{"29T00:00", "29T00:00"}}, // 2104, 2108
		{"@daily", amsterdam, "2026-03-28 12:00", []string{"28T23:00", "29T22:00"}},
		{"@hourly", amsterdam, "2026-10-25 01:30", []string{"25T00:00", "25T01:00", "25T02:00"}},
	}
	for _, tt := range tests {
		loc, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation("2006-01-02 15:04", tt.after, loc)
		if err != nil {
			t.Fatal(err)
		}
		s := mustParse(t, tt.schedule, tt.zone)
		var got []string
		for range tt.want {
			at = s.Next(at)
			got = append(got, at.Format("02T15:04"))
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s in %q after %s: %v, want %v", tt.schedule, tt.zone, tt.after, got, tt.want)
		}
	}
}

// The oracle walks every minute of UTC, looks at the clock on the wall, and knows of a minute
// that was shown before or left out only by what the wall showed in the two days before.
type oracle struct {
	fields Schedule // matched against wall times
	zone   *time.Location
}

const memory = 2 * 24 * 60 // minutes

// ticks returns the ticks after one time, up to another.
func (o oracle) ticks(after, until time.Time) []time.Time {
	var found []time.Time
	shown := make(map[time.Time]time.Time) // wall minute to when it was shown first
	newest := time.Time{}                  // the farthest that the wall was
	for at := after.Add(-memory * time.Minute).Truncate(time.Minute); !at.After(until); at = at.Add(time.Minute) {
		wall := wallTime(at, o.zone)
		_, again := shown[wall]
		if !again {
			shown[wall] = at
		}
		hit := o.matches(wall)
		if !o.fields.followsClock {
			hit = hit && !again
			if !newest.IsZero() && wall.Sub(newest) > time.Minute {
				for left := newest.Add(time.Minute); left.Before(wall); left = left.Add(time.Minute) {
					hit = hit || o.matches(left)
				}
			}
		}
		if wall.After(newest) {
			newest = wall
		}
		if hit && at.After(after) {
			found = append(found, at.UTC())
		}
	}
	return found
}

func (o oracle) matches(wall time.Time) bool {
	return o.fields.fields.Next(wall.Add(-time.Second)).Equal(wall)
}

func wallTime(t time.Time, zone *time.Location) time.Time {
	y, m, d := t.In(zone).Date()
	return time.Date(y, m, d, t.In(zone).Hour(), t.In(zone).Minute(), 0, 0, time.UTC)
}

// changes are times near which a zone's clocks change.
var changes = []struct{ zone, at string }{
	{"Europe/Amsterdam", "2026-03-29T01:00:00Z"},
	{"Europe/Amsterdam", "2026-10-25T01:00:00Z"},
	{"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
	{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
	{"America/Santiago", "2026-04-05T03:00:00Z"},
	{"America/Santiago", "2026-09-06T04:00:00Z"},
	{"America/New_York", "2027-03-14T07:00:00Z"},
	{"America/New_York", "2027-11-07T06:00:00Z"},
	{"Asia/Kathmandu", "1985-12-31T18:30:00Z"}, // a quarter of an hour, for good
	{"Pacific/Apia", "2011-12-30T10:00:00Z"},   // a whole day
	{"Africa/Casablanca", "2026-02-15T02:00:00Z"},
	{"Africa/Casablanca", "2026-03-22T02:00:00Z"},
	{"Europe/Dublin", "2026-10-25T01:00:00Z"},
	{"Antarctica/Troll", "2026-03-29T01:00:00Z"}, // two hours
	{"Antarctica/Troll", "2026-10-25T01:00:00Z"},
	{"UTC", "2026-06-01T00:00:00Z"},
}

func TestNextAsAClockOnTheWallWouldSay(t *testing.T) {
	field := func(most int, star bool) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			n := func(name string) int { return rapid.IntRange(0, most).Draw(t, name) }
			from := n("from")
			forms := []string{strconv.Itoa(from), fmt.Sprintf("%d,%d", from, n("other")), fmt.Sprintf("%d-%d", from, from+rapid.IntRange(0, most-from).Draw(t, "width"))}
			if star {
				forms = append(forms, "*", fmt.Sprintf("*/%d", 1+n("step")))
			}
			return rapid.SampledFrom(forms).Draw(t, "form")
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		change := rapid.SampledFrom(changes).Draw(t, "change")
		schedule := fmt.Sprintf("%s %s * * *", field(59, true).Draw(t, "minute"), field(23, true).Draw(t, "hour"))
		s, err := Parse(schedule, change.zone, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		around, err := time.Parse(time.RFC3339, change.at)
		if err != nil {
			t.Fatal(err)
		}
		after := around.Add(time.Duration(rapid.IntRange(-30*3600, 6*3600).Draw(t, "offset")) * time.Second)
		until := around.Add(30 * time.Hour)
		loc, err := time.LoadLocation(change.zone)
		if err != nil {
			t.Fatal(err)
		}
		at := after
		for _, want := range (oracle{fields: s, zone: loc}).ticks(after, until) {
			if at = s.Next(at); !at.Equal(want) {
				t.Fatalf("%s in %s after %s: %s, want %s", schedule, change.zone, after, at, want)
			}
		}
		if next := s.Next(at); !next.After(until) {
			t.Fatalf("%s in %s after %s: %s as well", schedule, change.zone, after, next)
		}
	})
}

func TestNextOfEvery(t *testing.T) {
	since := time.Date(2026, 3, 1, 10, 0, 0, 700_000_000, time.UTC)
	s, err := Parse("@every 90s", "Europe/Amsterdam", since)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[string]string{
		"2026-01-01T00:00:00Z":      "2026-03-01T10:01:30Z",
		"2026-03-01T10:00:00Z":      "2026-03-01T10:01:30Z",
		"2026-03-01T10:01:29.9Z":    "2026-03-01T10:01:30Z",
		"2026-03-01T10:01:30Z":      "2026-03-01T10:03:00Z",
		"2026-03-29T00:59:59+00:00": "2026-03-29T01:00:00Z",
	} {
		at, err := time.Parse(time.RFC3339Nano, after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(at).Format(time.RFC3339Nano); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
}
