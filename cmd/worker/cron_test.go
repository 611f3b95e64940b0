package main

import (
	"strings"
	"testing"
)

func TestSchedulesOfAFile(t *testing.T) {
	t.Parallel()
	c, err := configOf(t, `
x-who: &who {name: "007", at: 2001-01-01}
cron:
  nightly:
    schedule: "30 2 * * *"
    zone: Europe/Amsterdam
    type: report
    payload: {kind: daily, n: 12345678901234567890123, x: 1.50, list: [~, yes, true, "<&>"], who: *who, empty: }
    queue: slow
    max_attempts: 3
    timeout: 5m
    expires: 1h
    meta: {a: b}
    overlap: allow
    catch_up: all
    grace: 90s
  often: {schedule: "@every 90s", type: ping, payload: text}
  plain: {schedule: "@daily", type: ping}
  weekly: {remove: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"daily","n":12345678901234567890123,"x":1.50,"list":[null,"yes",true,"<&>"],"who":{"name":"007","at":"2001-01-01"},"empty":null}`
	if got := string(c.Cron["nightly"].Payload); got != want {
		t.Errorf("payload %s, want %s", got, want)
	}
	if got := string(c.Cron["often"].Payload); got != `"text"` {
		t.Errorf("payload %s", got)
	}
	put, removed := c.crons()
	if len(put) != 3 || put[0].Name != "nightly" || strings.Join(removed, " ") != "weekly" {
		t.Errorf("put %+v, removed %v", put, removed)
	}
}

func TestSchedulesThatAreRefused(t *testing.T) {
	t.Parallel()
	const nightly = "cron: {nightly: {type: report, schedule: "
	for text, want := range map[string]string{
		nightly + `"60 2 * * *"}}`:                                             `cron nightly: schedule "60 2 * * *": minute 60: want 0 to 59, such as 30 or */15`,
		nightly + `"0 30 2 * * *"}}`:                                           `cron nightly: schedule "0 30 2 * * *": want five fields, minutes first, such as "30 2 * * *", and not 6`,
		nightly + `"TZ=UTC 0 3 * * *"}}`:                                       `cron nightly: schedule "TZ=UTC 0 3 * * *": must not have a zone in it: set zone, to one such as Europe/Amsterdam`,
		nightly + `"@every 500ms"}}`:                                           `cron nightly: schedule "@every 500ms": want a duration from 1s to 8784h in whole seconds, such as "@every 90s"`,
		nightly + `"0 0 31 2 *"}}`:                                             `cron nightly: schedule "0 0 31 2 *": never comes: no month of it has such a day`,
		nightly + `"@daily", zone: Amsterdam}}`:                                `cron nightly: zone "Amsterdam": want one of the tz database, such as Europe/Amsterdam`,
		nightly + `"@daily", zone: Local}}`:                                    `cron nightly: zone "Local": want one of the tz database`,
		nightly + `"@daily", overlap: "no"}}`:                                  `cron nightly: overlap "no": want skip or allow`,
		nightly + `"@daily", catch_up: some}}`:                                 `cron nightly: catch_up "some": want skip, one or all`,
		nightly + `"@daily", catch_up: all}}`:                                  `cron nightly: catch_up all: needs overlap allow`,
		nightly + `"@daily", grace: 0s}}`:                                      `cron nightly: grace: 0s must be more than 0; leave it out for 1m`,
		nightly + `"@daily", max_attempts: 0}}`:                                `cron nightly: max_attempts 0: must be at least 1`,
		nightly + `"@daily", remove: true}}`:                                   `cron nightly: remove: an entry that is removed has nothing else`,
		`cron: {nightly: {schedule: "@daily"}}`:                                `cron nightly: type: missing, that of its jobs`,
		`cron: {nightly: {type: report}}`:                                      `cron nightly: schedule: missing, such as "30 2 * * *" or "@every 90s"`,
		`cron: {nightly: {}}`:                                                  `cron nightly: schedule: missing, such as "30 2 * * *" or "@every 90s"`,
		`cron: {"a b": {type: report, schedule: "@daily"}}`:                    `cron: entry "a b": only A-Z a-z 0-9 _ and - are allowed`,
		"cron:\n  nightly:\n    shedule: '@daily'\n":                           `[3:5] unknown field "shedule"`,
		"cron:\n  nightly:\n    grace: soon\n":                                 `[3:12] "soon" is no duration such as 30s`,
		"cron:\n  nightly:\n    payload: {a: 0x1F}\n":                          `[3:18] 0x1F: want a number as JSON has it, such as 1.5, or quotes around a text`,
		"cron:\n  nightly:\n    payload: {a: .nan}\n":                          `[3:18] .nan: want a number as JSON has it`,
		"cron:\n  nightly:\n    payload: {<<: {a: 1}}\n":                       `[3:15] << is not supported in a payload: write its keys out`,
		"cron:\n  nightly:\n":                                                  `[2:11] no value: write one, or leave the key out`,
		nightly + `"@daily", queue: ready}}`:                                   `cron nightly: queue "ready": is reserved`,
		nightly + `"@daily", payload: "` + strings.Repeat("x", 70_000) + `"}}`: `cron nightly: payload of 70002 bytes is over the limit of 64 KiB`,
	} {
		_, err := configOf(t, text)
		if err == nil {
			t.Errorf("%.100s: no error", text)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "--config: "); !strings.Contains(got, want) || strings.Contains(got, "millhand:") {
			t.Errorf("%.100s: %s, want %s", text, got, want)
		}
	}
}
