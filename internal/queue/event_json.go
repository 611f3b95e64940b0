package queue

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// appendEvent appends e as encoding/json has it, without the escapes for HTML: the same
// bytes, at a tenth of the cost. It is on the path of every job.
func appendEvent(b []byte, e *Event) ([]byte, error) {
	w := jsonWriter{b: append(b, `{"event":`...)}
	w.text(string(e.Kind))
	w.b = append(w.b, `,"life":`...)
	w.text(e.Life)
	w.b = strconv.AppendUint(append(w.b, `,"seq":`...), e.Seq, 10)
	w.b = append(w.b, `,"time":`...)
	w.time(e.Time)
	w.textField(`,"node":`, e.Node)
	w.textField(`,"holder":`, e.Holder)
	w.b = strconv.AppendInt(append(w.b, `,"attempt":`...), int64(e.Attempt), 10)
	if e.Crashes != 0 {
		w.b = strconv.AppendInt(append(w.b, `,"crashes":`...), int64(e.Crashes), 10)
	}
	w.textField(`,"reason":`, e.Reason)
	w.textField(`,"error":`, e.Error)
	w.textField(`,"stack":`, e.Stack)
	w.timeField(`,"enqueued_at":`, e.EnqueuedAt)
	w.timeField(`,"started_at":`, e.StartedAt)
	w.timeField(`,"run_at":`, e.RunAt)
	w.textField(`,"trace":`, e.Trace)
	if e.Overtaken {
		w.b = append(w.b, `,"overtaken":true`...)
	}
	if len(e.Result) > 0 {
		w.b = append(append(w.b, `,"result":`...), e.Result...)
	}
	if e.ResultText {
		w.b = append(w.b, `,"result_text":true`...)
	}
	if len(e.ResultBase64) > 0 {
		w.b = base64.StdEncoding.AppendEncode(append(w.b, `,"result_base64":"`...), e.ResultBase64)
		w.b = append(w.b, '"')
	}
	return append(w.b, '}'), w.err
}

// jsonWriter appends JSON and keeps the first error.
type jsonWriter struct {
	b   []byte
	err error
}

func (w *jsonWriter) textField(name, s string) {
	if s != "" {
		w.b = append(w.b, name...)
		w.text(s)
	}
}

func (w *jsonWriter) timeField(name string, t time.Time) {
	if !t.IsZero() {
		w.b = append(w.b, name...)
		w.time(t)
	}
}

func (w *jsonWriter) text(s string) {
	if plain(s) {
		w.b = append(append(append(w.b, '"'), s...), '"')
		return
	}
	w.b = append(w.b, jsonString([]byte(s))...)
}

func (w *jsonWriter) time(t time.Time) {
	if y := t.Year(); y < 0 || y > 9999 {
		_, w.err = json.Marshal(t)
		return
	}
	w.b = append(t.AppendFormat(append(w.b, '"'), time.RFC3339Nano), '"')
}

// plain reports whether s is printable ASCII that JSON does not escape.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
