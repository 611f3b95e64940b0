package filter

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
)

var now = time.Date(2026, 11, 28, 14, 2, 11, 0, time.UTC)

func parse(t testing.TB, text string) Filter {
	t.Helper()
	f, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%s) = %v", text, err)
	}
	return f
}

// What is printed of a filter is in one form, which is read as the same filter.
func TestString(t *testing.T) {
	for text, want := range map[string]string{
		``:                                ``,
		"  state:dead\ttype:a ":           `state:dead type:a`,
		`state:dead,retrying`:             `state:dead,retrying`,
		`-state:succeeded`:                `-state:succeeded`,
		`error:"refused"`:                 `error:refused`,
		`error:"a b"`:                     `error:"a b"`,
		`error:"say \"no\" \\"`:           `error:"say \"no\" \\"`,
		`error:"450 4"*`:                  `error:"450 4"*`,
		`error:"*"`:                       `error:"*"`,
		`meta.customer:42`:                `meta.customer:42`,
		`meta.a.b:"",x`:                   `meta.a.b:"",x`,
		`attempt:>3,1`:                    `attempt:>3,1`,
		`attempt:3..5`:                    `attempt:3..5`,
		`age:<24h run:>=1d2h`:             `age:<24h run:>=1d2h`,
		`age:..24h wait:5m..`:             `age:..24h wait:5m..`,
		`due:<-5m`:                        `due:<-5m`,
		`since:10m until:90s`:             `since:10m until:90s`,
		`id:0192f3c0*`:                    `id:0192f3c0*`,
		`0192f3c0`:                        `0192f3c0`,
		`-welcome,"-b","c:d",e*`:          `-welcome,"-b","c:d",e*`,
		`since:2026-12-24T18:00:00+01:00`: `since:2026-12-24T18:00:00+01:00`,
		`id:a:b..c`:                       `id:a:b..c`,
		`payload:Müller`:                  `payload:Müller`,
	} {
		f := parse(t, text)
		if got := f.String(); got != want {
			t.Errorf("Parse(%s).String() = %s, want %s", text, got, want)
		}
		if again := parse(t, f.String()); !reflect.DeepEqual(again, f) {
			t.Errorf("Parse(%s) = %#v, want %#v", f, again, f)
		}
	}
}

func TestBadFilter(t *testing.T) {
	for text, want := range map[string]string{
		`tpye:email`:                     `tpye:email: unknown key "tpye"; did you mean type?`,
		`-statr:dead a:b`:                `-statr:dead: unknown key "statr"; did you mean state?`,
		`https://example.com`:            `https://example.com: unknown key "https"; there are state queue`,
		`TYPE:email`:                     `unknown key "TYPE"`,
		`:x`:                             `unknown key ""`,
		`meta:x`:                         `meta needs the key of the metadata: meta.customer:42`,
		`meta.:x`:                        `meta needs the key`,
		`type:`:                          `type:: it has no value; "" is an empty one`,
		`type: email`:                    `type:: it has no value`,
		`type:a,`:                        `type:a,: it has no value`,
		`-`:                              `-: it has no value`,
		`,`:                              `it has no value`,
		`error:"refused`:                 `error:"refused: a quote is not closed`,
		`error:"a\nb"`:                   `in quotes a backslash stands before " or \ only`,
		`error:a"b"`:                     `error:a"b": a quote inside a word; quote the whole value`,
		`error:"a"b`:                     `error:"a"b: something follows a quoted value without a space`,
		`type:*`:                         `a * alone is anything: leave the term out`,
		`type:""*`:                       `a * alone is anything`,
		`type:a*b`:                       `a * stands at the end of a beginning only`,
		`type:>a`:                        `it takes no < and >; quote the value`,
		`state:ded`:                      `unknown state "ded"; did you mean dead?`,
		`state:x`:                        `unknown state "x"; there are scheduled ready running retrying succeeded dead cancelled later alive ended`,
		`state:de*`:                      `unknown state "de"; there are`,
		`attempt:many`:                   `"many" is no number, such as 3, >3 or 3..5`,
		`attempt:-1`:                     `is no number`,
		`attempt:>`:                      `"" is no number`,
		`attempt:5..3`:                   `nothing is between 5 and 3: the lower end comes first`,
		`attempt:..`:                     `a range has one end at least`,
		`attempt:"3"*`:                   `it has no beginning`,
		`age:1h`:                         `is more or less than 1h meant? write >1h or <1h, or with .. a range`,
		`age:<1y`:                        `"1y" is no duration, such as 90s, 10m, 1h30m or 7d`,
		`age:<40000d`:                    `"40000d" is too long: at most 36500d, which are 100 years`,
		`age:>99999999h`:                 `"99999999h" is too long: at most 36500d`,
		`since:99999999999999d`:          `"99999999999999d" is too long: at most 36500d`,
		`attempt:>99999999999`:           `"99999999999" is too large: at most 2147483647`,
		`attempt:-99999999999`:           `is no number`,
		`since:yesterday`:                `"yesterday" is no time, such as 2026-12-24T18:00:00+01:00, and no duration`,
		`since:-5m`:                      `-5m is ahead`,
		`since:1h,2h`:                    `since:1h,2h: it takes one time`,
		`-since:1h`:                      `it cannot be negated: since and until are each other's opposite`,
		strings.Repeat("a", maxLength+1): `the filter has 4097 bytes, and at most 4096 are read`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s) = %v, want %s", text, err, want)
		}
	}
}

// A shell takes quotes away. Where only one reading makes sense they come back.
func TestParseArgs(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // in the filter's language
		err  string // or what it is refused with
	}{
		{nil, ``, ``},
		{[]string{"state:dead", "type:email"}, `state:dead type:email`, ``},
		{[]string{"state:dead type:email"}, `state:dead type:email`, ``},
		{[]string{`error:connection refused`, "type:a"}, `error:"connection refused" type:a`, ``},
		{[]string{`-meta.city:New York`}, `-meta.city:"New York"`, ``},
		{[]string{`error:dial tcp: lookup x`}, `error:"dial tcp: lookup x"`, ``},
		{[]string{`error:"connection refused" type:a`}, `error:"connection refused" type:a`, ``},
		{[]string{`error:connection refused type:a`}, ``, `the shell has taken the quotes around a value`},
		{[]string{`type:a b`}, ``, `the shell has taken the quotes`},
		{[]string{"a", "b"}, `a b`, ``},
		{[]string{strings.Repeat("a", maxLength), "b"}, ``, `at most 4096`},
	} {
		f, err := ParseArgs(tt.args)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParseArgs(%q) = %v, %v, want %s", tt.args, f, err, tt.err)
			}
		} else if err != nil || f.String() != tt.want {
			t.Errorf("ParseArgs(%q) = %s, %v, want %s", tt.args, f, err, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "0": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour, "-1d1s": -day - time.Second, "36500d": maxDuration,
	} {
		if got, err := Duration(text); err != nil || got != want {
			t.Errorf("Duration(%s) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", "d", "1", "1D", "1w", "1.5d", "1d-1h", "1d1d", "--1h", "+1d", "1d+1h", "36501d", "99999999999999999d", "876001h", "36500d1s", " 1h"} {
		if got, err := Duration(text); err == nil {
			t.Errorf("Duration(%q) = %v, want an error", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"state", "queue", "type", "id"}
	for written, want := range map[string]string{"stat": "state", "tpye": "type", "queues": "queue", "elephant": "", "": "", "x": "", "di": "id", "qeueu": "queue", "tye": "type"} {
		if got := Nearest(written, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", written, got, want)
		}
	}
}

func TestClass(t *testing.T) {
	for text, want := range map[string]Class{
		``:                                  Window,
		`id:a`:                              Point,
		`type:email id:a,b error:x`:         Point,
		`state:dead type:email,sms queue:a`: Window,
		`-queue:a state:ready`:              Window,
		`queue:a* since:1h until:10m`:       Window,
		`-type:email`:                       Scan,
		`type:e*`:                           Scan,
		`id:0192f3c0*`:                      Window,
		`id:0192f3c0*,0192f3c1-7a1e*`:       Window,
		`id:0192f3c0*,welcome*`:             Scan,
		`id:0192f3c*`:                       Scan,
		`-id:a`:                             Scan,
		`-id:0192f3c0*`:                     Scan,
		`welcome`:                           Scan,
		`state:dead error:x`:                Scan,
		`meta.a:1`:                          Scan,
		`age:>1h`:                           Scan,
	} {
		if got := parse(t, text).Class(); got != want {
			t.Errorf("class of %s = %s, want %s", text, got, want)
		}
	}
}

func TestStatesAndNames(t *testing.T) {
	all := states()
	for text, want := range map[string][]job.State{
		``:                           all,
		`type:a`:                     all,
		`state:dead`:                 {job.Dead},
		`state:later`:                {job.Scheduled, job.Retrying},
		`state:alive -state:later`:   {job.Ready, job.Running},
		`state:ended state:alive`:    {},
		`-state:ended,ready,running`: {job.Scheduled, job.Retrying},
	} {
		if got := parse(t, text).States(); !slices.Equal(got, want) {
			t.Errorf("states of %s = %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string][]string{
		`type:a`:             {"a"},
		`type:a,b,a -type:c`: {"a", "b"},
		`type:a,b type:b,c`:  {"b"},
		`type:a type:b`:      nil,
	} {
		if got, ok := parse(t, text).Names(Type); !ok || !slices.Equal(got, want) {
			t.Errorf("types of %s = %q, %v, want %q", text, got, ok, want)
		}
	}
	for _, text := range []string{``, `queue:a`, `-type:a`, `type:a*`, `type:b,a*`} {
		if got, ok := parse(t, text).Names(Type); ok {
			t.Errorf("types of %s = %q, want all", text, got)
		}
	}
}

func TestWindow(t *testing.T) {
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	since, until := parse(t, `since:1d since:2026-11-28T12:00:00Z until:10m until:5m`).Window(now)
	if !since.Equal(noon) || !until.Equal(now.Add(-10*time.Minute)) {
		t.Errorf("window = %v to %v", since, until)
	}
	if since, until := parse(t, `type:a`).Window(now); !since.IsZero() || !until.IsZero() {
		t.Errorf("window = %v to %v, want an open one", since, until)
	}
}

// A filter is about whatever it has a word for.
func TestMatch(t *testing.T) {
	j := &Job{
		State: job.Retrying, Queue: "default", Type: "import", ID: "0192f3c0-80b1", Life: "7f0e", Worker: "web-1", Reason: "", Error: "dial: Connection refused",
		Group: "a1f3", By: "oncall", Trace: "4bf92f35", Payload: []byte(`{"to":"Ann@Example.com"}`), Meta: map[string]string{"customer": "42", "note": ""},
		Attempt: 3, Crashes: 1,
		Since: now.Add(-4 * time.Minute), DueAt: now.Add(10 * time.Minute), ReadyAt: now.Add(-5 * time.Minute),
		StartedAt: now.Add(-4*time.Minute - 12*time.Second), EndedAt: now.Add(-4 * time.Minute),
	}
	yes := []string{
		``, `state:retrying`, `state:dead,later`, `-state:dead`, `queue:default type:import`, `type:imp*`, `id:0192*`, `life:7f0e worker:web-1`, `reason:""`,
		`error:"connection refused"`, `error:DIAL*`, `group:a1f3`, `by:oncall trace:4bf9*`, `payload:ann@example`, `meta.customer:42,43 meta.note:""`,
		`-meta.customer:4`, `-meta.absent:""`, `attempt:3`, `attempt:>2 attempt:<4 attempt:>=3 attempt:<=3 attempt:3..3`, `crashes:1..`,
		`age:>3m59s age:<=4m age:4m..1h`, `due:<11m due:>9m -due:<0s`, `wait:48s..48s`, `run:12s..12s`, `since:4m until:3m`, `until:2026-11-28T14:00:00Z`,
		`ann`, `0192f3c0-80b1`, `-nowhere`,
	}
	no := []string{
		`state:alive state:dead`, `-state:later`, `queue:other`, `type:importer`, `type:"imp*"`, `id:0192f3c0`, `worker:""`, `error:timeout`, `error:refused*`,
		`meta.customer:4`, `meta.absent:""`, `attempt:<3`, `attempt:4`, `age:<4m`, `due:<10m`, `run:>12s`, `since:3m`, `until:4m`, `nowhere`, `-ann`, `type:import queue:other`,
	}
	for _, text := range yes {
		if !parse(t, text).Match(j, now) {
			t.Errorf("%s does not match", text)
		}
	}
	for _, text := range no {
		if parse(t, text).Match(j, now) {
			t.Errorf("%s matches", text)
		}
	}
	for _, text := range []string{`age:<100d`, `due:<100d`, `wait:>0s`, `run:>0s`} {
		if parse(t, text).Match(&Job{}, now) {
			t.Errorf("%s matches a job that has none", text)
		}
	}
	if ready := (&Job{ReadyAt: now.Add(-time.Minute)}); !parse(t, `wait:1m..1m`).Match(ready, now) {
		t.Error("a ready job waits until now")
	}
	if runs := (&Job{StartedAt: now.Add(-time.Minute)}); !parse(t, `run:1m..1m`).Match(runs, now) {
		t.Error("a running job runs until now")
	}
}

// drawFilter makes a filter of any form by its own text, as nobody would write it.
func drawFilter(t *rapid.T) Filter {
	var terms []string
	for range rapid.IntRange(0, 4).Draw(t, "terms") {
		k := rapid.SampledFrom(append(Keys(), Word)).Draw(t, "key")
		value := rapid.SampledFrom([]string{"a", "b*", "a*", `"b c"`, `"\"*"`, `"-x:y"`, `""`, "a..b"})
		switch k.kind() {
		case count:
			value = rapid.SampledFrom([]string{"0", "3", ">1", "<2", "..2", "1..", "1..3"})
		case length:
			value = rapid.SampledFrom([]string{">0s", "<1d", "1m..", "..2h", "<-1s", ">=5m", "<=5m"})
		case instant:
			value = rapid.SampledFrom([]string{"1m", "2h", "1d1h", "2026-11-28T14:00:00.5Z", "2026-11-28T15:01:00+01:00"})
		case name, text:
			if k == State {
				value = rapid.SampledFrom([]string{"dead", "ready", "later", "ended", "alive"})
			}
		}
		n := 3
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		if k.kind() == instant {
			n, sign = 1, ""
		}
		term := sign
		if k == Meta {
			term += "meta.m:"
		} else if k != Word {
			term += string(k) + ":"
		}
		terms = append(terms, term+strings.Join(rapid.SliceOfN(value, 1, n).Draw(t, "values"), ","))
	}
	f, err := Parse(strings.Join(terms, " "))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func drawJob(t *rapid.T) *Job {
	word := rapid.SampledFrom([]string{"", "a", "b", "b c", "a..b", "abc"})
	ago := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "none") {
			return time.Time{}
		}
		return now.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(30*time.Hour)).Draw(t, "ago")))
	})
	return &Job{
		State: rapid.SampledFrom(states()).Draw(t, "state"), Queue: word.Draw(t, "queue"), Type: word.Draw(t, "type"), ID: word.Draw(t, "id"),
		Error: word.Draw(t, "error"), Worker: word.Draw(t, "worker"), Meta: map[string]string{"m": word.Draw(t, "meta")},
		Payload: []byte(word.Draw(t, "payload")), Attempt: rapid.IntRange(0, 4).Draw(t, "attempt"),
		Since: ago.Draw(t, "since"), DueAt: ago.Draw(t, "due"), ReadyAt: ago.Draw(t, "ready"), StartedAt: ago.Draw(t, "started"), EndedAt: ago.Draw(t, "ended"),
	}
}

func TestRoundTripOfAnyFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t)
		again, err := Parse(f.String())
		if err != nil || !reflect.DeepEqual(again, f) {
			t.Fatalf("Parse(%s) = %#v, %v, want %#v", f, again, err, f)
		}
	})
}

// Whoever reads only what States, Names and Window allow misses nothing that matches.
func TestNothingThatMatchesIsOutsideOfTheBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, j := drawFilter(t), drawJob(t)
		if !f.Match(j, now) {
			return
		}
		if !slices.Contains(f.States(), j.State) {
			t.Fatalf("%s matches a job that is %s, but its states are %v", f, j.State, f.States())
		}
		for k, name := range map[Key]string{Queue: j.Queue, Type: j.Type, ID: j.ID, Worker: j.Worker} {
			if names, ok := f.Names(k); ok && !slices.Contains(names, name) {
				t.Fatalf("%s matches a job whose %s is %q, but its names are %q", f, k, name, names)
			}
		}
		since, until := f.Window(now)
		if j.Since.Before(since) || !until.IsZero() && !j.Since.Before(until) {
			t.Fatalf("%s matches a job of %v, but its window is %v to %v", f, j.Since, since, until)
		}
	})
}

// A term and its negation share out all jobs.
func TestNegation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, j := drawFilter(t), drawJob(t)
		for _, term := range f.Terms {
			opposite := term
			opposite.Negated = !term.Negated
			if (Filter{}).With(term).Match(j, now) == (Filter{}).With(opposite).Match(j, now) {
				t.Fatalf("%s and its negation agree on %+v", &term, j)
			}
		}
	})
}

// Whatever is read is printed as something that is read as the same, and looks at any job.
func FuzzParse(f *testing.F) {
	for _, text := range []string{`state:dead type:email error:"connection refused" age:<24h`, `-meta.a:1,b* since:2026-11-28T14:00:00Z x`, `due:<-5m "a\"b"*`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		f, err := Parse(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("the error of %q is no line: %q", text, err)
			}
			return
		}
		printed := f.String()
		again, err := Parse(printed)
		if len(printed) > maxLength {
			return // quotes made it longer than what is read
		}
		if err != nil || !reflect.DeepEqual(again, f) {
			t.Fatalf("Parse(%q) = %#v, %v, want %#v", printed, again, err, f)
		}
		f.Match(&Job{Since: now}, now)
		f.Class()
	})
}
