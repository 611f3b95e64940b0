package queue

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
)

// The event that is written by hand is, byte for byte, that of encoding/json.
func TestEventIsEncodedAsByTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		want, wantErr := encode(&e)
		got, err := appendEvent([]byte("x"), &e)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got[1:], want) {
			t.Fatalf("\n%s, want\n%s", got[1:], want)
		}
	})
}

func drawEvent(t *rapid.T) Event {
	text := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9/-]{1,40}`), rapid.String(), rapid.SampledFrom([]string{
		"<b>&amp;</b>", "a\"b\\c", "line\n\ttab\r", "\x00\x1f\x7f", "\u2028\u2029", "\xff\xfe", "日本", "\b\f",
	}))
	at := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "zero") {
			return time.Time{}
		}
		year := rapid.SampledFrom([]int{-1, 0, 1, 1970, 2026, 9999, 10000}).Draw(t, "year")
		zone := rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("z", 5400)}).Draw(t, "zone")
		return time.Date(year, 11, 22, 15, 4, 5, rapid.IntRange(0, 999_999_999).Draw(t, "ns"), zone)
	})
	e := Event{
		Kind: job.EventKind(text.Draw(t, "kind")), Life: text.Draw(t, "life"), Seq: rapid.Uint64().Draw(t, "seq"),
		Time: at.Draw(t, "time"), Node: text.Draw(t, "node"), Holder: text.Draw(t, "holder"),
		Attempt: rapid.Int().Draw(t, "attempt"), Crashes: rapid.IntRange(-1, 2).Draw(t, "crashes"),
		Reason: text.Draw(t, "reason"), Error: text.Draw(t, "error"), Stack: text.Draw(t, "stack"),
		EnqueuedAt: at.Draw(t, "enqueued"), StartedAt: at.Draw(t, "started"), RunAt: at.Draw(t, "run"),
	}
	e.SetResult(rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 0, 20),
		rapid.SampledFrom([][]byte{[]byte(`{ "a" : [1, 2] }`), []byte(`"<a&b>\u2028"`), []byte("\"\u2028\""), []byte("text"), {0xff}}),
	).Draw(t, "result"))
	return e
}
