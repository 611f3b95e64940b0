package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestReadHeaderOfPlainPublish(t *testing.T) {
	for name, h := range map[string]map[string][]string{
		"none":        nil,
		"foreign":     {"Content-Type": {"application/json"}, "Nats-Msg-Id": {"x"}, "Status": {"100"}},
		"empty":       {HeaderAttempt: {""}, HeaderTimeout: {""}, HeaderLife: {}, HeaderDue: {""}, HeaderOnce: {""}, HeaderCron: {""}, "traceparent": {""}},
		"zero counts": {HeaderAttempt: {"0"}, HeaderCrashes: {"0"}, HeaderMaxAttempts: {"0"}, HeaderTimeout: {"0s"}, HeaderLastEvent: {"0"}},
	} {
		var r Record
		if err := r.ReadHeader(h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := (Record{Attempt: 1}); !reflect.DeepEqual(r, want) {
			t.Errorf("%s: %+v, want %+v", name, r, want)
		}
	}
}

func TestReadHeader(t *testing.T) {
	at := time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.UTC)
	h := map[string][]string{
		HeaderLife: {"l1"}, HeaderAttempt: {"3"}, HeaderCrashes: {"2"}, HeaderMaxAttempts: {"7"},
		HeaderTimeout: {"1m30s"}, HeaderExpires: {"2h0m0s"}, HeaderEnqueuedAt: {"2026-11-22T16:04:05.123456789+01:00"},
		HeaderLastEvent: {"18446744073709551615"}, HeaderFrom: {"host-1/9"},
		HeaderDue: {"2026-11-22T15:04:05.123456789Z"}, HeaderStarted: {"1"}, HeaderUniqueUntil: {"2026-11-22T16:04:05.123456789+01:00"},
		HeaderOnce: {"1"}, HeaderAwait: {"1"}, HeaderRetryOf: {"l0"},
		HeaderCron: {"nightly"}, HeaderCronRev: {"12"}, HeaderTick: {"2026-11-22T15:04:05Z"},
		HeaderMeta + "tenant": {"acme, Inc."}, HeaderMeta + "empty": {""},
		"traceparent": {"00-a-b-01"}, "tracestate": {"v=1"}, "Nats-Scheduler": {"x"},
	}
	want := Record{
		Life: "l1", Attempt: 3, Crashes: 2, MaxAttempts: 7, Timeout: 90 * time.Second, Expires: 2 * time.Hour,
		EnqueuedAt: at, Due: at, Started: true, LastEvent: 1<<64 - 1, From: "host-1/9",
		UniqueUntil: at, Reused: true, Awaited: true, RetryOf: "l0",
		Tick:  &Tick{Entry: "nightly", Rev: 12, Time: at.Truncate(time.Second)},
		Meta:  map[string]string{"tenant": "acme, Inc.", "empty": ""},
		Trace: map[string]string{"traceparent": "00-a-b-01", "tracestate": "v=1"},
	}
	var got Record
	if err := got.ReadHeader(h); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
	delete(h, "Nats-Scheduler")
	h[HeaderEnqueuedAt] = []string{"2026-11-22T15:04:05.123456789Z"}
	h[HeaderUniqueUntil] = h[HeaderEnqueuedAt]
	if wrote := got.Header(); !reflect.DeepEqual(wrote, h) {
		t.Errorf("wrote %v\nwant %v", wrote, h)
	}
}

// A tick is written in the zone of its entry, whatever the zone of this machine.
func TestATickKeepsItsZone(t *testing.T) {
	const at = "2026-10-25T02:30:00.5+02:00"
	var r Record
	if err := r.ReadHeader(map[string][]string{HeaderTick: {at}}); err != nil {
		t.Fatal(err)
	}
	if got := r.Header()[HeaderTick]; len(got) != 1 || got[0] != at {
		t.Errorf("written %q, want %s", got, at)
	}
}

// Of several headers that break their rules the error is about the same one each time.
func TestTheFirstOfBrokenHeadersIsNamed(t *testing.T) {
	for range 50 {
		var r Record
		err := r.ReadHeader(map[string][]string{
			HeaderTimeout: {"soon"}, HeaderAttempt: {"two"}, HeaderLife: {"caf\xe9"}, HeaderDue: {"now"}, HeaderMeta + "a b": {"v"},
		})
		if e, ok := errors.AsType[*HeaderError](err); !ok || e.Header != HeaderAttempt {
			t.Fatalf("error %v, want one about %s", err, HeaderAttempt)
		}
		if len(r.Meta) > 0 {
			t.Fatalf("kept what cannot be written again: %v", r.Meta)
		}
	}
}

func TestHeaderThatBreaksItsRule(t *testing.T) {
	long := strings.Repeat("x", 129)
	tests := []struct{ header, value string }{
		{HeaderAttempt, "two"},
		{HeaderAttempt, "-1"},
		{HeaderAttempt, "1000001"},
		{HeaderAttempt, "1.5"},
		{HeaderAttempt, "99999999999999999999"},
		{HeaderCrashes, "x"},
		{HeaderMaxAttempts, "-5"},
		{HeaderTimeout, "30"},
		{HeaderTimeout, "-1s"},
		{HeaderTimeout, "soon"},
		{HeaderExpires, "1 day"},
		{HeaderEnqueuedAt, "yesterday"},
		{HeaderEnqueuedAt, "1700000000"},
		{HeaderEnqueuedAt, "9999-12-31T23:59:59-23:59"}, // year 10000 in UTC, which no successor could carry
		{HeaderEnqueuedAt, "0000-01-01T00:00:00+01:00"},
		{HeaderLastEvent, "-1"},
		{HeaderLastEvent, "18446744073709551616"},
		{HeaderDue, "in an hour"},
		{HeaderUniqueUntil, "0000-01-01T00:00:00Z"},
		{HeaderStarted, "yes"},
		{HeaderOnce, "0"},
		{HeaderAwait, "true"},
		{HeaderRetryOf, long},
		{HeaderCron, long},
		{HeaderCronRev, "-1"},
		{HeaderTick, "02:30"},
		{HeaderTick, "9999-12-31T23:59:59-23:59"},
		{HeaderLife, long},
		{HeaderFrom, long},
		{HeaderLife, "caf\xe9"}, // would come back from an event as another life
		{HeaderLife, "a\tb"},
		{HeaderMeta + "a b", "v"},
		{HeaderMeta, "v"},
		{HeaderMeta + long, "v"},
		{HeaderMeta + "k", "a\nb"},
		{HeaderMeta + "k", " v"},
		{HeaderMeta + "k", strings.Repeat("x", maxMeta+1)},
	}
	for _, tt := range tests {
		h := map[string][]string{HeaderMaxAttempts: {"3"}, HeaderCrashes: {"4"}}
		h[tt.header] = []string{tt.value}
		var r Record
		err := r.ReadHeader(h)
		e, ok := errors.AsType[*HeaderError](err)
		if !ok || !strings.HasPrefix(tt.header, strings.TrimSuffix(e.Header, "*")) {
			t.Errorf("%s: %.40q: error %v, want a *HeaderError", tt.header, tt.value, err)
			continue
		}
		if tt.header != HeaderCrashes && r.Crashes != 4 {
			t.Errorf("%s: %.40q: the other headers were not read: %+v", tt.header, tt.value, r)
		}
	}
}

func TestCheckRecord(t *testing.T) {
	good := Record{Queue: "default", Type: "email", ID: "a"}
	if err := good.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
	tests := map[string]func(*Record){
		"queue":        func(r *Record) { r.Queue = "event" },
		"type":         func(r *Record) { r.Type = "a.b" },
		"id":           func(r *Record) { r.ID = "" },
		"meta":         func(r *Record) { r.Meta = map[string]string{"k": "a\r\nNats-Rollup: all"} },
		"max attempts": func(r *Record) { r.MaxAttempts = -1 },
		"timeout":      func(r *Record) { r.Timeout = -1 },
		"expires":      func(r *Record) { r.Expires = -1 },
	}
	for what, spoil := range tests {
		r := good
		spoil(&r)
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("bad %s: Check() = %v", what, err)
		}
	}
}

func TestExpired(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		r    Record
		at   time.Time
		want bool
	}{
		"in time":                    {Record{Expires: time.Minute, EnqueuedAt: at}, at.Add(time.Minute), false},
		"late":                       {Record{Expires: time.Minute, EnqueuedAt: at}, at.Add(time.Minute + 1), true},
		"no bound":                   {Record{EnqueuedAt: at}, at.Add(1000 * time.Hour), false},
		"no time to count from":      {Record{Expires: time.Minute}, at.Add(time.Hour), false},
		"delayed, in time":           {Record{Expires: time.Minute, EnqueuedAt: at, Due: at.Add(time.Hour)}, at.Add(time.Hour + time.Minute), false},
		"delayed, late":              {Record{Expires: time.Minute, EnqueuedAt: at, Due: at.Add(time.Hour)}, at.Add(time.Hour + time.Minute + 1), true},
		"snoozed":                    {Record{Expires: time.Minute, EnqueuedAt: at, Started: true}, at.Add(time.Hour), false},
		"failed":                     {Record{Expires: time.Minute, EnqueuedAt: at, Attempt: 2}, at.Add(time.Hour), false},
		"lost its worker":            {Record{Expires: time.Minute, EnqueuedAt: at, Crashes: 1}, at.Add(time.Hour), false},
		"its id had an earlier life": {Record{Expires: time.Minute, EnqueuedAt: at, Attempt: 1, LastEvent: 7}, at.Add(time.Hour), true},
	}
	for name, tt := range tests {
		if got := tt.r.Expired(tt.at); got != tt.want {
			t.Errorf("%s: Expired = %t", name, got)
		}
	}
}

// FuzzReadHeader reads whatever a publisher may put into the headers. What is accepted
// must survive being written again, and its life must survive the way through an event.
func FuzzReadHeader(f *testing.F) {
	f.Add("l", "2", "1", "3", "1s", "1h", "2026-11-22T15:04:05Z", "7", "n/1", "k", "v", "00-1-2-01", "1", "nightly", "2026-10-25T02:30:00+02:00")
	f.Add("", "", "", "", "", "", "", "", "", "", "", "", "", "", "")
	f.Add("\xff", "+5", "-0", "0x1", "1h1ns", "2562047h47m16.854775807s", "9999-12-31T23:59:59-23:59", "18446744073709551615", "", "a b", "x\r\n", "", "2", "\n", "0001-01-01T00:00:00+01:00")
	f.Add("seq-7", "01", "1_000", "1000000", "0.5us", "-0s", "0001-01-01T00:00:00Z", "00", " ", "-", " v ", "\x00", "01", " ", "2026-10-25T02:30:00.000000001-12:34")
	f.Fuzz(func(t *testing.T, life, attempt, crashes, maxAttempts, timeout, expires, at, last, from, key, value, trace, flag, entry, tick string) {
		var r Record
		err := r.ReadHeader(map[string][]string{
			HeaderLife: {life}, HeaderAttempt: {attempt}, HeaderCrashes: {crashes}, HeaderMaxAttempts: {maxAttempts},
			HeaderTimeout: {timeout}, HeaderExpires: {expires}, HeaderEnqueuedAt: {at}, HeaderLastEvent: {last},
			HeaderFrom: {from}, HeaderMeta + key: {value}, "traceparent": {trace},
			HeaderDue: {at}, HeaderUniqueUntil: {tick}, HeaderStarted: {flag}, HeaderOnce: {flag}, HeaderAwait: {flag}, HeaderRetryOf: {life},
			HeaderCron: {entry}, HeaderCronRev: {last}, HeaderTick: {tick},
		})
		if r.Attempt < 1 || r.Crashes < 0 || r.MaxAttempts < 0 || r.Timeout < 0 || r.Expires < 0 {
			t.Fatalf("out of bounds: %+v", r)
		}
		if err != nil {
			if _, ok := errors.AsType[*HeaderError](err); !ok {
				t.Fatalf("error %T %v, want a *HeaderError", err, err)
			}
			_ = r.Header() // a malformed job is buried under what could be read
			return
		}
		var again Record
		if err := again.ReadHeader(r.Header()); err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if !maps.Equal(r.Meta, again.Meta) {
			t.Fatalf("meta %q, then %q", r.Meta, again.Meta)
		}
		r.Meta, again.Meta = nil, nil
		if !sameTick(r.Tick, again.Tick) {
			t.Fatalf("tick %+v, then %+v", r.Tick, again.Tick)
		}
		r.Tick, again.Tick = nil, nil
		if read, then := fmt.Sprintf("%+v", r), fmt.Sprintf("%+v", again); read != then {
			t.Fatalf("read %s\nthen %s", read, then)
		}
		b, err := json.Marshal(r.Life)
		var back string
		if err != nil || json.Unmarshal(b, &back) != nil || back != r.Life {
			t.Fatalf("life %q comes back from an event as %q", r.Life, back)
		}
	})
}

// sameTick reports whether two ticks are the same, to the zone. One that says nothing is none.
func sameTick(a, b *Tick) bool {
	for _, t := range []**Tick{&a, &b} {
		if *t == nil {
			*t = new(Tick)
		}
	}
	return a.Entry == b.Entry && a.Rev == b.Rev && a.Time.Format(time.RFC3339Nano) == b.Time.Format(time.RFC3339Nano)
}
