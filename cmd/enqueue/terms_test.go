package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// The same mistake has the same text, whether it is made with a flag or in a line.
func TestTermsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags string // separated by |
		line  string
		want  string // of the flags; of the line without dashes
	}{
		{"--in=-5m", `{"in":"-5m"}`, "--in -5m: must not be negative; leave it out to run at once"},
		{"--in=100000h", `{"in":"100000h"}`, "--in 100000h: at most 10 years ahead"},
		{"--at=yesterday", `{"at":"yesterday"}`, `--at "yesterday": want RFC 3339, such as 2026-12-24T18:00:00+01:00`},
		{"--at=", `{"at":""}`, `--at "": want RFC 3339, such as 2026-12-24T18:00:00+01:00`},
		{"--at=--x", `{"at":"--x"}`, `--at "--x": want RFC 3339, such as 2026-12-24T18:00:00+01:00`},
		{"--at=2026-02-30T00:00:00Z", `{"at":"2026-02-30T00:00:00Z"}`, `--at "2026-02-30T00:00:00Z": want RFC 3339, such as 2026-12-24T18:00:00+01:00`},
		{"--at=2026-12-24 18:00", `{"at":"2026-12-24 18:00"}`, `--at "2026-12-24 18:00": want RFC 3339, such as 2026-12-24T18:00:00+01:00`},
		{"--at=2140-01-01T00:00:00Z", `{"at":"2140-01-01T00:00:00Z"}`, "--at 2140-01-01T00:00:00Z: at most 10 years ahead"},
		{"--in=1h|--at=2026-12-24T18:00:00Z", `{"in":"1h","at":"2026-12-24T18:00:00Z"}`, "--in and --at: use one"},
		{"--in=0s|--at=", `{"in":"0s","at":""}`, "--in and --at: use one"},
		{"--expires=0s", `{"expires":"0s"}`, "--expires 0s: must be at least 1s"},
		{"--expires=10ms", `{"expires":"10ms"}`, "--expires 10ms: must be at least 1s"},
		{"--unique=500ms", `{"unique":"500ms"}`, "--unique 500ms: must be from 1s to 8784h"},
		{"--in=99999999h", `{"in":"99999999h"}`, "--in 99999999h: at most 10 years ahead"},
		{"--expires=99999999h", `{"expires":"99999999h"}`, "--expires 99999999h: too long: at most 2562047h"},
		{"--unique=99999999h", `{"unique":"99999999h"}`, "--unique 99999999h: must be from 1s to 8784h"},
		{"--unique=9000h", `{"unique":"9000h"}`, "--unique 9000h: must be from 1s to 8784h"},
		{"--unique|--id=x", `{"unique":true,"id":"x"}`, "--id gives the id, --unique derives it: use one; --id x --unique=1h keeps x for a while"},
	} {
		c, err := parseFlags(t, tt.flags)
		if err == nil {
			err = c.checkFlags()
		}
		if fmt.Sprint(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.flags, err, tt.want)
		}
		_, err = (&template{typ: "email"}).parse([]byte(tt.line))
		want := tt.want
		for _, flag := range []string{"in", "at", "expires", "unique", "id"} {
			for _, before := range []string{"", " "} {
				want = strings.ReplaceAll(want, before+"--"+flag, before+flag)
			}
		}
		if fmt.Sprint(err) != want {
			t.Errorf("%s: %v, want %s", tt.line, err, want)
		}
	}
}

// What is no duration is refused by who reads it.
func TestTermsThatAreUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ flags, flagWant, line, lineWant string }{
		{"--in=soon", `invalid argument "soon" for "--in" flag: "soon" is no duration, such as 90s, 10m or 1h30m`, `{"in":"soon"}`, `in: "soon" is no duration, such as 90s, 10m or 1h30m`},
		{"--in=", `invalid argument "" for "--in" flag: "" is no duration, such as 90s, 10m or 1h30m`, `{"in":""}`, `in: "" is no duration, such as 90s, 10m or 1h30m`},
		{"--expires=1", `invalid argument "1" for "--expires" flag: "1" is no duration, such as 90s, 10m or 1h30m`, `{"expires":"1"}`, `expires: "1" is no duration, such as 90s, 10m or 1h30m`},
		{"--unique=no", `invalid argument "no" for "--unique" flag: "no" is no duration, such as 90s, 10m or 1h30m`, `{"unique":"no"}`, `unique: "no" is no duration, such as 90s, 10m or 1h30m`},
		{"--unique=", `invalid argument "" for "--unique" flag: "" is no duration, such as 90s, 10m or 1h30m`, `{"unique":3600}`, `unique: want true, or a duration in quotes`},
	} {
		if _, err := parseFlags(t, tt.flags); fmt.Sprint(err) != tt.flagWant {
			t.Errorf("%s: %v, want %s", tt.flags, err, tt.flagWant)
		}
		if _, err := (&template{typ: "email"}).parse([]byte(tt.line)); fmt.Sprint(err) != tt.lineWant {
			t.Errorf("%s: %v, want %s", tt.line, err, tt.lineWant)
		}
	}
}

// What a line says counts for it; what it does not say, the flags say.
func TestTermsOfLinesAndFlags(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	for _, tt := range []struct{ flags, line, want string }{
		{"", `{}`, "in= at= expires= unique="},
		{"--in=1h|--expires=2h|--unique=3h", `{}`, "in=1h at= expires=2h unique=3h"},
		{"--in=1h|--expires=2h|--unique=3h", `{"in":"0s","expires":"4h","unique":true}`, "in=0s at= expires=4h unique=true"},
		{"--in=1h", `{"at":"` + at + `"}`, "in= at=" + at + " expires= unique="},
		{"--at=" + at, `{"in":"2h"}`, "in=2h at= expires= unique="},
		{"--unique", `{"unique":false}`, "in= at= expires= unique="},
		{"--unique=1h", `{"unique":"true"}`, "in= at= expires= unique=true"},
		{"--unique", `{"unique":null,"in":null,"at":null,"expires":null}`, "in= at= expires= unique=true"},
	} {
		c, err := parseFlags(t, tt.flags)
		if err != nil {
			t.Fatal(err)
		}
		l, err := decodeLine([]byte(tt.line))
		if err != nil {
			t.Fatal(err)
		}
		own, err := l.terms()
		if err != nil {
			t.Fatal(err)
		}
		got := own.over(&c.terms)
		if text := fmt.Sprintf("in=%s at=%s expires=%s unique=%s", got.in.text, got.at.text, got.expires.text, &got.unique); text != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.line, tt.flags, text, tt.want)
		}
	}
}

// An id of a job is known before it is sent, unless it is random.
func TestIDOfALine(t *testing.T) {
	t.Parallel()
	const derived = "u-072882c8a7dd61ad1a156ad6f23878b8" // of email and {"to":"a@example.com"}
	unique := terms{unique: uniqueness{given: true, alive: true}}
	for _, tt := range []struct {
		all        terms
		line, want string
	}{
		{terms{}, `{}`, ""},
		{terms{}, `{"id":"a"}`, "a"},
		{terms{}, `{"payload":{ "to":"a@example.com"},"unique":true}`, derived},
		{terms{}, `{"payload":{ "to":"a@example.com"},"unique":"1h"}`, derived},
		{unique, `{"payload":{"to":"a@example.com"}}`, derived},
		{unique, `{"id":"a"}`, "a"},
		{unique, `{"unique":false}`, ""},
		{terms{}, `{"id":"a","unique":"1h"}`, "a"},
	} {
		e, err := (&template{typ: "email", terms: tt.all}).parse([]byte(tt.line))
		if err != nil || e.id != tt.want {
			t.Errorf("%s: id %q, %v, want %q", tt.line, e.id, err, tt.want)
		}
	}
}

func TestManyJobsDueAtOnce(t *testing.T) {
	t.Parallel()
	second := time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)
	var d dueTimes
	for range manyDue {
		d.add(time.Time{})
	}
	for i := range manyDue - 1 {
		d.add(second.Add(time.Duration(i%1000) * time.Millisecond))
		d.add(second.Add(time.Duration(i+1) * time.Second))
	}
	if got := d.note(); got != "" {
		t.Errorf("one too few: %q", got)
	}
	d.add(second.Add(999 * time.Millisecond))
	if got, want := d.note(), "note: 20000 jobs are due within the same second"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// parseFlags returns what flags separated by | say.
func parseFlags(t *testing.T, flags string) (*command, error) {
	t.Helper()
	c := &command{}
	fs := pflag.NewFlagSet("enqueue", pflag.ContinueOnError)
	c.register(fs)
	var args []string
	if flags != "" {
		args = strings.Split(flags, "|")
	}
	return c, fs.Parse(args)
}
