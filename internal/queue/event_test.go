package queue

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
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
		{"Latin-1 in JSON", "{\"name\":\"caf\xe9\"}", `{"result_base64":"eyJuYW1lIjoiY2Fm6SJ9"}`},
		{"Latin-1 key", "{\"\xe9\":1}", `{"result_base64":"eyLpIjoxfQ=="}`},
		{"overlong NUL", "[\"\xc0\x80\"]", `{"result_base64":"WyLAgCJd"}`},
		{"surrogate as bytes", "[\"\xed\xa0\x80\"]", `{"result_base64":"WyLtoIAiXQ=="}`},
		{"lone surrogate, escaped", `["\uD800"]`, `{"result":["\uD800"]}`},
		{"UTF-8 mark", "\ufeff{}", `{"result":"` + "\ufeff" + `{}"}`},
		{"UTF-16", "[\x00\"\x00\xe9\x00\"\x00]\x00", `{"result_base64":"WwAiAOkAIgBdAA=="}`},
		{"line separator", "\"\u2028\"", "{\"result\":\"\u2028\"}"},
		{"NaN", "[NaN]", `{"result":"[NaN]"}`},
		{"comment", "[1]/**/", `{"result":"[1]/**/"}`},
		{"nested as far as that goes", nested(maxNesting), `{"result":` + nested(maxNesting) + `}`},
		{"nested too deep", nested(maxNesting + 1), `{"result":"` + nested(maxNesting+1) + `"}`},
		{"nested as far as Go goes", nested(10_000), `{"result":"` + nested(10_000) + `"}`},
		{"brackets in text", `"` + nested(maxNesting+1) + `\"["`, `{"result":"` + nested(maxNesting+1) + `\"["}`},
		{"flat and long", "[" + strings.Repeat("[],", maxNesting) + "[]]", `{"result":[` + strings.Repeat("[],", maxNesting) + "[]]}"},
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

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// Whatever a handler returns or says, a reader that is strict takes the event, this package
// has from it what was returned, and the dead record's errors can be read as well.
func TestEventIsStrictJSON(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		`{"a":`, `}`, `[`, `]`, `"`, `\`, `\u00e9`, `\ud800`, "\xe9", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "é", "\ufeff",
		"\x00", "\x7f", "\r\n", "\u2028", "1", "1e999", "-", "0", "null", "NaN", ",", ":", " ", nested(maxNesting), nested(10_000),
	})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "") })
		result := text.Draw(t, "result")
		e := Event{Kind: job.EventRetrying, Life: "l", Error: text.Draw(t, "error"), Stack: text.Draw(t, "stack")}
		e.SetResult([]byte(result))
		b, err := appendEvent(nil, &e)
		if err != nil || !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("event = %q, %v", b, err)
		}
		got := readEvent(&stream.Message{Data: b})
		if got.Kind != e.Kind || !bytes.Equal(got.Result, e.Result) || got.ResultText != e.ResultText || !bytes.Equal(got.ResultBase64, e.ResultBase64) {
			t.Fatalf("came back as %+v", got)
		}
		var back string
		switch {
		case len(got.ResultBase64) > 0 && string(got.ResultBase64) != result:
			t.Fatalf("result_base64 = %q, want %q", got.ResultBase64, result)
		case len(got.ResultBase64) > 0 || json.Valid([]byte(result)) && utf8.ValidString(result) && !got.ResultText:
		case !got.ResultText && result != "":
			t.Fatalf("result %q is not told from JSON", result)
		case result != "" && (json.Unmarshal(got.Result, &back) != nil || back != result):
			t.Fatalf("result = %s, want %q as a string", got.Result, result)
		}
		errs, _ := encodeFailures(failuresOf([]Event{e}, "l"))
		if !utf8.ValidString(errs) || !json.Valid([]byte(errs)) || strings.ContainsAny(errs, "\r\n\x00") {
			t.Fatalf("Millhand-Errors = %q", errs)
		}
	})
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
	got := readEvent(&stream.Message{Seq: 99, Data: b})
	want.Sequence = 99
	again, _ := encode(got)
	if !bytes.Equal(again, b) || got.Sequence != 99 {
		t.Errorf("came back as %s, sequence %d, want %s", again, got.Sequence, b)
	}
}

// Whoever writes rubbish to the events stream has not written about any life.
func TestForeignEventIsOfNoLife(t *testing.T) {
	for _, data := range []string{"", "hello", `[]`, `{"seq":-1,"life":"x"}`, `{"life":7}`, `null`, `{"time":"soon","life":"x","event":"succeeded"}`} {
		e := readEvent(&stream.Message{Seq: 5, Data: []byte(data)})
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
