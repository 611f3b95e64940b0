package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand"
)

func newControl() (c *control, log *bytes.Buffer) {
	log = new(bytes.Buffer)
	return &control{progress: func(int64, int64, string) {}, log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, log
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
		{said: "snooze 99999999h\n", want: failed, ignored: "99999999h: want a duration of at most 10 years (87840h)"},
		{said: "progress 99999999999999999999\n", want: failed, ignored: "99999999999999999999 is too large: at most 9223372036854775807"},
		{said: "snooze\n", want: failed, ignored: "is no duration"},
		{said: "SNOOZE 1h\nnoise\x00\xff\n", want: failed, ignored: "want progress, retry-after or snooze"},
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

func TestControlOfProgress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ said, want string }{
		{"progress 3/10\n", "3 of 10: "},
		{"progress 3\n", "3 of 0: "},
		{"progress 10/10   all  done \n", "10 of 10: all  done"},
		{"progress 12/10 too many\n", "12 of 10: too many"},
		{"progress 9223372036854775807 \xff\n", "9223372036854775807 of 0: \uFFFD"},
		{"progress\n", ""},
		{"progress -1/3\n", ""},
		{"progress 1/\n", ""},
		{"progress 1.5/3\n", ""},
		{"progress 9223372036854775808\n", ""},
		{"progress half\n", ""},
	} {
		c, log := newControl()
		got := ""
		c.progress = func(done, total int64, note string) { got = fmt.Sprintf("%d of %d: %s", done, total, note) }
		_, _ = c.Write([]byte(tt.said))
		if got != tt.want || (log.Len() > 0) != (tt.want == "") {
			t.Errorf("%q: %q, log %q, want %q", tt.said, got, log, tt.want)
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
