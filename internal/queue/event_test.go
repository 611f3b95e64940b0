package queue

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A result that is JSON stands as it is, other text as a JSON string, bytes as base64.
func TestEventResult(t *testing.T) {
	tests := []struct{ name, result, want string }{
		{"none", "", `{}`},
		{"object", `{"a": 1}`, `{"result":{"a":1}}`},
		{"number", `42`, `{"result":42}`},
		{"null", `null`, `{"result":null}`},
		{"JSON string", `"x"`, `{"result":"x"}`},
		{"JSON with markup", `"<a&b>"`, `{"result":"<a&b>"}`},
		{"text", `hello`, `{"result":"hello"}`},
		{"text with markup", `<a href="b">&`, `{"result":"<a href=\"b\">&"}`},
		{"checksum", "e3b0c442 -\n", `{"result":"e3b0c442 -\n"}`},
		{"broken JSON", `{"a":`, `{"result":"{\"a\":"}`},
		{"two values", `1 2`, `{"result":"1 2"}`},
		{"spaces", "  ", `{"result":"  "}`},
		{"NUL", "a\x00b", `{"result":"a\u0000b"}`},
		{"bytes", "\xff\xfe", `{"result_base64":"//4="}`},
		{"huge number", strings.Repeat("9", 400), `{"result":` + strings.Repeat("9", 400) + `}`},
	}
	for _, tt := range tests {
		e := Event{}
		e.SetResult([]byte(tt.result))
		b, err := encode(struct {
			Result       json.RawMessage `json:"result,omitempty"`
			ResultBase64 []byte          `json:"result_base64,omitempty"`
		}{e.Result, e.ResultBase64})
		if err != nil || string(b) != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.name, b, err, tt.want)
		}
	}
}

func TestEventComesBack(t *testing.T) {
	at := time.Date(2026, 11, 22, 15, 4, 5, 6, time.UTC)
	want := Event{
		Kind: job.EventRetrying, Life: "l", Seq: 7, Time: at, Node: "n", Holder: "n/3", Attempt: 2, Crashes: 1,
		Reason: "r", Error: "line 1\nline 2 <b> \x01", Stack: "goroutine 1", EnqueuedAt: at, StartedAt: at, RunAt: at,
	}
	want.SetResult([]byte(`[1,2]`))
	b, err := encode(&want)
	if err != nil || bytes.ContainsRune(b, '\n') {
		t.Fatalf("encode = %s, %v", b, err)
	}
	got := readEvent(&stored{Seq: 99, Data: b})
	want.Sequence = 99
	again, _ := encode(got)
	if !bytes.Equal(again, b) || got.Sequence != 99 {
		t.Errorf("came back as %s, sequence %d, want %s", again, got.Sequence, b)
	}
}

// Whoever writes rubbish to the events stream has not written about any life.
func TestForeignEventIsOfNoLife(t *testing.T) {
	for _, data := range []string{"", "hello", `[]`, `{"seq":-1,"life":"x"}`, `{"life":7}`, `null`, `{"time":"soon","life":"x","event":"succeeded"}`} {
		e := readEvent(&stored{Seq: 5, Data: []byte(data)})
		if e.Life != "" || e.Seq != 0 || e.Kind.Final() || e.Sequence != 5 {
			t.Errorf("readEvent(%s) = %+v", data, e)
		}
	}
}

func TestFailuresFitOneHeader(t *testing.T) {
	at := time.Date(2026, 11, 22, 15, 4, 5, 6, time.UTC)
	big := strings.Repeat("x", maxStackText)
	for name, failures := range map[string][]Failure{
		"none":            nil,
		"one":             {{Attempt: 1, Time: at, Event: "dead", Error: "boom\r\nNats-Rollup: all"}},
		"stacks too long": {{Attempt: 1, Error: "first", Stack: big}, {Attempt: 2, Stack: big}, {Attempt: 3, Error: "last", Stack: big}},
		"errors too long": {{Attempt: 1, Error: big}, {Attempt: 2, Error: big}, {Attempt: 3, Error: "last", Stack: "s"}},
	} {
		text, omitted := encodeFailures(failures)
		var got []Failure
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v in %s", name, err, text)
		}
		if len(text) > maxErrorsInDeadJob || strings.ContainsAny(text, "\r\n") {
			t.Errorf("%s: %d bytes: %.80q", name, len(text), text)
		}
		if len(got)+omitted != len(failures) {
			t.Errorf("%s: %d failures and %d omitted of %d", name, len(got), omitted, len(failures))
		}
		if len(failures) == 0 {
			continue
		}
		last, want := got[len(got)-1], failures[len(failures)-1]
		if last.Attempt != want.Attempt || last.Error != want.Error {
			t.Errorf("%s: the last failure is %+v, want %+v", name, last, want)
		}
	}
}

func TestHead(t *testing.T) {
	for _, tt := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"", 0, ""}, {"aäb", 2, "a…"}, {"日本", 4, "日…"}} {
		if got := head(tt.s, tt.n); got != tt.want {
			t.Errorf("head(%q, %d) = %q, want %q", tt.s, tt.n, got, tt.want)
		}
	}
}
