package job

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// decoder reads one header after the other, and keeps the error of the one whose name is the
// first.
type decoder struct {
	key, value string // where it is; not empty
	err        *HeaderError
}

func (d *decoder) fail(rule string) {
	if d.err == nil || d.key < d.err.Header {
		d.err = &HeaderError{Header: d.key, Value: d.value, Rule: rule}
	}
}

func (d *decoder) text(most int) string {
	// An event carries it as JSON, which would replace what is no text: the job would
	// not know its own events any more.
	if strings.ContainsFunc(d.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		d.fail("only printable ASCII is allowed")
		return ""
	}
	if len(d.value) > most {
		d.fail(fmt.Sprintf("at most %d characters", most))
		return d.value[:most]
	}
	return d.value
}

func (d *decoder) count(most int) int {
	n, err := strconv.Atoi(d.value)
	if err != nil || n < 0 || n > most {
		d.fail(fmt.Sprintf("want a number from 0 to %d", most))
		return 0
	}
	return n
}

func (d *decoder) sequence() uint64 {
	n, err := strconv.ParseUint(d.value, 10, 64)
	if err != nil {
		d.fail("want a sequence number")
		return 0
	}
	return n
}

func (d *decoder) duration() time.Duration {
	t, err := time.ParseDuration(d.value)
	if err != nil || t < 0 {
		d.fail("want a duration such as 30s, at most 2562047h")
		return 0
	}
	return t
}

// time returns a time in the zone that it was written in.
func (d *decoder) time() time.Time {
	t, err := time.Parse(time.RFC3339Nano, d.value)
	if err != nil || !writableYear(t) || !writableYear(t.UTC()) {
		d.fail("want an RFC 3339 time")
		return time.Time{}
	}
	return t
}

// writableYear reports whether a time can be written again.
func writableYear(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

func (d *decoder) flag() bool {
	if d.value != "1" {
		d.fail("want 1, or no such header")
	}
	return d.value == "1"
}
