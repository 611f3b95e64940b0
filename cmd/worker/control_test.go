package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand"
)

func newControl() (c *control, log *bytes.Buffer) {
	log = new(bytes.Buffer)
	return &control{log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, log
}

func TestControlLines(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	for _, tt := range []struct {
		said    string
		want    error  // what becomes of failed
		ignored string // in the log
	}{
		{said: "", want: failed},
		{said: "retry-after 90s\n", want: millhand.RetryAfter(90*time.Second, failed)},
		{said: "snooze 1h30m\n", want: millhand.Snooze(90 * time.Minute)},
		{said: "  snooze   1h \r\n\n", want: millhand.Snooze(time.Hour)},
		{said: "snooze 1h", want: millhand.Snooze(time.Hour)},
		{said: "snooze 1h\nretry-after 0s\n", want: millhand.RetryAfter(0, failed)},
		{said: "snooze 1h\nsnooze soon\n", want: millhand.Snooze(time.Hour), ignored: `line="snooze soon"`},
		{said: "snooze -1s\n", want: failed, ignored: "at most 10 years"},
		{said: "snooze 100000h\n", want: failed, ignored: "at most 10 years"},
		{said: "snooze\n", want: failed, ignored: "invalid duration"},
		{said: "SNOOZE 1h\nnoise\x00\xff\n", want: failed, ignored: "want retry-after or snooze"},
		{said: strings.Repeat(" ", controlLine) + "snooze 1h\nretry-after 1s\n", want: millhand.RetryAfter(time.Second, failed)},
	} {
		c, log := newControl()
		_, _ = c.Write([]byte(tt.said))
		c.end()
		got := failed
		if c.later != nil {
			got = c.later(failed)
		}
		if !sameKind(got, tt.want) {
			t.Errorf("%q: %#v, want %#v", tt.said, got, tt.want)
		}
		if (log.Len() > 0) != (tt.ignored != "") || !strings.Contains(log.String(), tt.ignored) {
			t.Errorf("%q: log = %q, want %q", tt.said, log, tt.ignored)
		}
	}
}

// What was said in a second beyond what is read does no harm to what is said later.
func TestControlOfACommandThatFloods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newControl()
		write := func(text string) {
			if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatalf("Write(%.20q…) = %d, %v", text, n, err)
			}
		}
		later := func() error { return c.later(nil) }
		write(strings.Repeat("snooze 1s\n", controlRate/10))
		write("snooze 2s\nsnooze 30") // beyond the bytes of this second
		if got := later(); !sameKind(got, millhand.Snooze(time.Second)) {
			t.Errorf("%#v, want the last snooze within the second's bytes", got)
		}
		time.Sleep(time.Second)
		write("0h\nsnooze 3s\n")
		if got := later(); !sameKind(got, millhand.Snooze(3*time.Second)) {
			t.Errorf("%#v, want the first whole line of the next second", got)
		}
		write(strings.Repeat("x", 10*controlRate))
		if len(c.line) > controlLine {
			t.Errorf("%d bytes of a line are kept", len(c.line))
		}
	})
}
