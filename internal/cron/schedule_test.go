package cron

import (
	"errors"
	"testing"
	"time"
)

func TestParseRefuses(t *testing.T) {
	const (
		fields  = `want five fields, minutes first, such as "30 2 * * *", and not `
		minute  = `: want 0 to 59, such as 30 or */15`
		weekday = `: want 0 (Sunday) to 6 or sun to sat, such as mon-fri`
		every   = `want a duration from 1s to 8784h in whole seconds, such as "@every 90s"`
		zoned   = `must not have a zone in it: set zone, to one such as Europe/Amsterdam`
	)
	for schedule, want := range map[string]string{
		"60 2 * * *":                   "minute 60" + minute,
		"*/90 2 * * *":                 "minute */90" + minute, // the parser makes 0 of it
		"1,,2 2 * * *":                 "minute 1,,2" + minute, // and leaves this out
		", * * * *":                    "minute ," + minute,
		"*/0 * * * *":                  "minute */0" + minute,
		"a * * * *":                    "minute a" + minute,
		"99999999999999999999 2 * * *": "minute 99999999999999999999" + minute,
		"0 24 * * *":                   "hour 24: want 0 to 23, such as 2 or 9-17",
		"0 TZ=UTC * * *":               "hour TZ=UTC: want 0 to 23, such as 2 or 9-17",
		"0 0 0 * *":                    "day of the month 0: want 1 to 31, such as 1 or 1,15",
		"0 0 1 13 *":                   "month 13: want 1 to 12 or jan to dec, such as 1-6",
		"30 2 * * 7":                   "day of the week 7" + weekday,
		"30 2 * * monday":              "day of the week monday" + weekday,
		"0 30 2 * * *":                 fields + "6",
		"30 2 * *":                     fields + "4",
		"every day":                    fields + "2",
		"":                             `must not be empty: "30 2 * * *", "@daily" or "@every 90s" is one`,
		"TZ=UTC 0 3 * * *":             zoned,
		"TZ=Europe/Amsterdam":          zoned,
		"CRON_TZ=UTC 0 3 * * *":        zoned,
		"@every 500ms":                 every,
		"@every 0s":                    every,
		"@every -1h":                   every,
		"@every 1500ms":                every,
		"@every 9000h":                 every,
		"@every":                       every,
		"@every day":                   every,
		"@reboot":                      `want @hourly, @daily, @weekly, @monthly, @yearly or @every with a duration`,
		"0 0 31 2 *":                   `never comes: no month of it has such a day`,
	} {
		_, err := Parse(schedule, "", time.Time{})
		invalid, ok := errors.AsType[*InvalidError](err)
		if !ok || invalid.What != "schedule" || invalid.Name != schedule || invalid.Rule != want {
			t.Errorf("Parse(%q): %v, want %q", schedule, err, want)
		}
	}
	for _, zone := range []string{"Amsterdam", "Local", "local", "+02:00", "Europe/Amsterdam/", "../zoneinfo/UTC"} {
		_, err := Parse("0 3 * * *", zone, time.Time{})
		if want := `zone "` + zone + `": want one of the tz database, such as Europe/Amsterdam`; err == nil || err.Error() != want {
			t.Errorf("zone %q: %v, want %s", zone, err, want)
		}
	}
}

// No text makes the parser panic, and what it takes has a next tick.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"30 2 * * *", "@daily", "@every 90s", "TZ=UTC 0 3 * * *", "*/15 2-4,7 ? jan-mar mon", "0 0 29 2 *"} {
		f.Add(s, "Europe/Amsterdam")
	}
	f.Fuzz(func(t *testing.T, schedule, zone string) {
		s, err := Parse(schedule, zone, time.Time{})
		if err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok {
				t.Errorf("%v is no InvalidError", err)
			}
			return
		}
		now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
		if next := s.Next(now); !next.After(now) || next.Nanosecond() != 0 {
			t.Errorf("%q in %q: next is %v", schedule, zone, next)
		}
	})
}
