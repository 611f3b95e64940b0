package job

import (
	"encoding/json"
	"errors"
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
		"empty":       {HeaderAttempt: {""}, HeaderTimeout: {""}, HeaderLife: {}},
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
		HeaderMeta + "tenant": {"acme, Inc."}, HeaderMeta + "empty": {""},
		"traceparent": {"00-a-b-01"}, "tracestate": {"v=1"}, "Nats-Scheduler": {"x"},
	}
	want := Record{
		Life: "l1", Attempt: 3, Crashes: 2, MaxAttempts: 7, Timeout: 90 * time.Second, Expires: 2 * time.Hour,
		EnqueuedAt: at, LastEvent: 1<<64 - 1, From: "host-1/9",
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
	if wrote := got.Header(); !reflect.DeepEqual(wrote, h) {
		t.Errorf("wrote %v\nwant %v", wrote, h)
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
	tests := []struct {
		expires  time.Duration
		enqueued time.Time
		after    time.Duration
		want     bool
	}{
		{time.Minute, at, time.Minute, false},
		{time.Minute, at, time.Minute + 1, true},
		{0, at, 1000 * time.Hour, false},
		{time.Minute, time.Time{}, time.Hour, false},
	}
	for _, tt := range tests {
		r := Record{Expires: tt.expires, EnqueuedAt: tt.enqueued}
		if got := r.Expired(at.Add(tt.after)); got != tt.want {
			t.Errorf("expires %v, %v later: %t", tt.expires, tt.after, got)
		}
	}
}

// FuzzReadHeader reads whatever a publisher may put into the headers. What is accepted
// must survive being written again, and its life must survive the way through an event.
func FuzzReadHeader(f *testing.F) {
	f.Add("l", "2", "1", "3", "1s", "1h", "2026-11-22T15:04:05Z", "7", "n/1", "k", "v", "00-1-2-01")
	f.Add("", "", "", "", "", "", "", "", "", "", "", "")
	f.Add("\xff", "+5", "-0", "0x1", "1h1ns", "2562047h47m16.854775807s", "9999-12-31T23:59:59-23:59", "18446744073709551615", "", "a b", "x\r\n", "")
	f.Add("seq-7", "01", "1_000", "1000000", "0.5us", "-0s", "0001-01-01T00:00:00Z", "00", " ", "-", " v ", "\x00")
	f.Fuzz(func(t *testing.T, life, attempt, crashes, maxAttempts, timeout, expires, at, last, from, key, value, trace string) {
		var r Record
		err := r.ReadHeader(map[string][]string{
			HeaderLife: {life}, HeaderAttempt: {attempt}, HeaderCrashes: {crashes}, HeaderMaxAttempts: {maxAttempts},
			HeaderTimeout: {timeout}, HeaderExpires: {expires}, HeaderEnqueuedAt: {at}, HeaderLastEvent: {last},
			HeaderFrom: {from}, HeaderMeta + key: {value}, "traceparent": {trace},
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
		if !r.EnqueuedAt.Equal(again.EnqueuedAt) {
			t.Fatalf("enqueued at %v, then %v", r.EnqueuedAt, again.EnqueuedAt)
		}
		if r.Trace["traceparent"] == "" { // as good as none
			r.Trace = again.Trace
		}
		r.EnqueuedAt, again.EnqueuedAt = time.Time{}, time.Time{}
		if !maps.Equal(r.Meta, again.Meta) {
			t.Fatalf("meta %q, then %q", r.Meta, again.Meta)
		}
		r.Meta, again.Meta = nil, nil
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("read %+v\nthen %+v", r, again)
		}
		b, err := json.Marshal(r.Life)
		var back string
		if err != nil || json.Unmarshal(b, &back) != nil || back != r.Life {
			t.Fatalf("life %q comes back from an event as %q", r.Life, back)
		}
	})
}
