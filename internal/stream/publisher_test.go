package stream

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// The answer is read as encoding/json would, or left to it.
func FuzzStoredAs(f *testing.F) {
	for _, s := range []string{
		`{"stream":"S","seq":7}`, `{"stream":"S","domain":"D","seq":18446744073709551615}`, `{"stream":"S", "seq":7}`,
		`{"stream":"S","seq":7,"duplicate":true}`, `{"error":{"code":400,"err_code":10071},"stream":"S","seq":0}`,
		`{"stream":"S","seq":}`, `{"stream":"S","seq":1234567890123456789}`, ``, `{}`, `{"stream":"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !strings.HasPrefix(s, `{"stream":"S"`) || strings.Count(s, `"seq"`) != 1 || strings.Contains(s, `\`) {
			return // no broker's answer
		}
		seq, ok := storedAs([]byte(s))
		if !ok {
			return
		}
		want, err := readPubAck(&nats.Msg{Data: []byte(s + " ")}) // the space sends it the long way
		if err == nil && want != seq {
			t.Errorf("%s: sequence %d, want %d", s, seq, want)
		}
	})
}

func TestPubAckIsRead(t *testing.T) {
	for s, want := range map[string]uint64{
		`{"stream":"S","seq":7}`: 7, `{"stream":"S","domain":"D","seq":1234567890123456789}`: 1234567890123456789,
		`{"stream":"S", "seq":7}`: 7, `{"stream":"S","seq":7,"duplicate":true}`: 7,
		`{"stream":"S","seq":18446744073709551615}`: 18446744073709551615,
	} {
		if got, err := readPubAck(&nats.Msg{Data: []byte(s)}); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{`{"error":{"code":400,"err_code":10071,"description":"wrong"},"stream":"S","seq":0}`, `{"stream":"S","seq":}`, ``, `[]`} {
		if seq, err := readPubAck(&nats.Msg{Data: []byte(s)}); err == nil {
			t.Errorf("%s: %d and no error", s, seq)
		}
	}
}
