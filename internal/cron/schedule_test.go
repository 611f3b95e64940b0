package cron

import (
	"errors"
	"testing"
	"time"
)

func TestParseRefuses(t *testing.T) {
	const fields = `: five fields, minutes first, such as "30 2 * * *"`
	for schedule, want := range map[string]string{
		"60 2 * * *":                       `: end of range (60) above maximum (59): 60`,
		"30 2 * * 7":                       `: end of range (7) above maximum (6): 7`,
		"0 30 2 * * *":                     fields,
		"30 2 * *":                         fields,
		"":                                 ` must not be empty: five fields`,
		"TZ=UTC 0 3 * * *":                 `: set zone instead`,
		"TZ=Europe/Amsterdam":              `: set zone instead`,
		"CRON_TZ=UTC 0 3 * * *":            `: set zone instead`,
		"@every 500ms":                     `: from 1s, in whole seconds`,
		"@every 0s":                        `: from 1s, in whole seconds`,
		"@every -1h":                       `: from 1s, in whole seconds`,
		"@every 1500ms":                    `: from 1s, in whole seconds`,
		"@every 9000h":                     `: at most 8784h`,
		"@every":                           `: want a duration, such as "@every 90s"`,
		"@every day":                       `: want a duration, such as "@every 90s"`,
		"@reboot":                          `: want @hourly, @daily, @weekly, @monthly, @yearly or @every with a duration`,
		"0 0 31 2 *":                       `: never comes`,
		", * * * *":                        `: never comes`,
		"*/0 * * * *":                      `: step of range should be a positive number: */0`,
		"a * * * *":                        `: failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax`,
		"99999999999999999999 2 30 feb tu": ``,
	} {
		_, err := Parse(schedule, "", time.Time{})
		invalid, ok := errors.AsType[*InvalidError](err)
		if !ok || invalid.What != "schedule" || invalid.Name != schedule || want != "" && ": "+invalid.Rule != want && schedule != "" {
			t.Errorf("Parse(%q): %v, want %q", schedule, err, want)
		}
	}
	for _, zone := range []string{"Amsterdam", "Local", "local", "+02:00", "Europe/Amsterdam/", "../zoneinfo/UTC"} {
		_, err := Parse("0 3 * * *", zone, time.Time{})
		if want := `zone "` + zone + `": not in the tz database, such as Europe/Amsterdam`; err == nil || err.Error() != want {
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
