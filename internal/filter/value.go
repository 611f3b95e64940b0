package filter

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/timespan"
)

// A kind is what the values of a key are.
type kind int

const (
	name    kind = iota // compared as a whole, or by its beginning
	text                // of which a part is enough
	count               // a number
	length              // a duration
	instant             // a time
)

func (k Key) kind() kind {
	switch k {
	case Error, Payload, Word:
		return text
	case Attempt, Crashes:
		return count
	case Age, Due, Wait, Run:
		return length
	case Since, Until:
		return instant
	case State, Queue, Type, ID, Worker, Reason, Group, Meta, Life, By, Trace:
	}
	return name
}

// split takes a word apart that is not quoted.
func split(word string, k Key) Value {
	switch k.kind() {
	case name, text:
		if before, ok := strings.CutSuffix(word, string(Prefix)); ok {
			return Value{Op: Prefix, Text: before}
		}
	case count, length: // the others take no comparison
		for _, op := range []Op{AtMost, AtLeast, Less, More} { // the longer ones first
			if after, ok := strings.CutPrefix(word, string(op)); ok {
				return Value{Op: op, Text: after}
			}
		}
		if low, high, ok := strings.Cut(word, string(Range)); ok {
			return Value{Op: Range, Text: low, To: high}
		}
	case instant:
	}
	return Value{Text: word}
}

// newValue checks what was read, and completes it.
func newValue(k Key, v Value, isQuoted bool) (Value, error) {
	switch k.kind() {
	case name, text:
		if v.Op == Prefix && v.Text == "" {
			return v, errors.New("a * alone is anything: leave the term out")
		}
		if !isQuoted {
			if err := checkWord(v); err != nil {
				return v, err
			}
		}
		if k == State {
			return v, checkState(v)
		}
		return v, nil
	case count, length, instant:
	}
	if v.Op == Prefix {
		return v, errors.New("it has no beginning: it is a number, a duration or a time")
	}
	if k.kind() == instant {
		return v, v.setTime()
	}
	return v, v.setBounds(k.kind())
}

// checkWord refuses a word that may be meant as more than that.
func checkWord(v Value) error {
	switch {
	case strings.Contains(v.Text, string(Prefix)):
		return errors.New("a * stands at the end of a beginning only; quote the value if it is a part of it")
	case strings.HasPrefix(v.Text, string(Less)), strings.HasPrefix(v.Text, string(More)):
		return errors.New("it takes no < and >; quote the value if they are a part of it")
	}
	return nil
}

// Words for several states.
const (
	later = "later" // waits for its time
	alive = "alive"
	ended = "ended"
)

func states() []job.State {
	return []job.State{job.Scheduled, job.Ready, job.Running, job.Retrying, job.Succeeded, job.Dead, job.Cancelled}
}

// inState reports whether s is the state, or among the states, that a filter calls so.
func inState(s job.State, called string) bool {
	switch called {
	case later:
		return s == job.Scheduled || s == job.Retrying
	case alive:
		return !s.Final()
	case ended:
		return s.Final()
	}
	return string(s) == called
}

func checkState(v Value) error {
	var known []string
	for _, s := range states() {
		known = append(known, string(s))
	}
	known = append(known, later, alive, ended)
	switch {
	case v.Op == Equals && slices.Contains(known, v.Text):
		return nil
	case Nearest(v.Text, known) != "":
		return fmt.Errorf("unknown state %q; did you mean %s?", v.Text, Nearest(v.Text, known))
	}
	return fmt.Errorf("unknown state %q; there are %s", v.Text, strings.Join(known, " "))
}

// setBounds makes a comparison the range that it is.
func (v *Value) setBounds(k kind) error {
	v.low, v.high = math.MinInt64, math.MaxInt64
	if v.Op == Range {
		return v.setRange(k)
	}
	n, err := number(k, v.Text)
	if err != nil {
		return err
	}
	switch v.Op {
	case Equals:
		if k == length {
			return fmt.Errorf("is more or less than %s meant? write >%s or <%s, or with .. a range", v.Text, v.Text, v.Text)
		}
		v.low, v.high = n, n
	case Less:
		v.high = n - 1
	case AtMost:
		v.high = n
	case More:
		v.low = n + 1
	case AtLeast:
		v.low = n
	case Range, Prefix:
	}
	return nil
}

func (v *Value) setRange(k kind) (err error) {
	if v.Text == "" && v.To == "" {
		return errors.New("a range has one end at least")
	}
	if v.Text != "" {
		if v.low, err = number(k, v.Text); err != nil {
			return err
		}
	}
	if v.To != "" {
		if v.high, err = number(k, v.To); err != nil {
			return err
		}
	}
	if v.low > v.high {
		return fmt.Errorf("nothing is between %s and %s: the lower end comes first", v.Text, v.To)
	}
	return nil
}

// number reads a count, or a duration in ns.
func number(k kind, written string) (int64, error) {
	if k == length {
		d, err := Duration(written)
		return int64(d), err
	}
	n, err := strconv.ParseInt(written, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && !strings.HasPrefix(written, "-"):
		return 0, fmt.Errorf("%q is too large: at most %d", written, math.MaxInt32)
	case err != nil || n < 0:
		return 0, fmt.Errorf("%q is no number, such as 3, >3 or 3..5", written)
	}
	return n, nil
}

func (v *Value) setTime() error {
	d, err := Duration(v.Text)
	switch {
	case errors.Is(err, timespan.ErrTooLong):
		return err
	case err == nil && d < 0:
		return fmt.Errorf("%s is ahead; want how long ago it is, such as 10m, or a time", v.Text)
	case err == nil:
		v.ago = d
		return nil
	}
	at, err := Time(v.Text)
	v.at = at
	return err
}

// Time reads a time in the form of RFC 3339.
func Time(written string) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(written)); err != nil || t.IsZero() { // stricter than time.Parse, which takes an hour of one digit
		return t, fmt.Errorf("%q is no time, such as 2026-12-24T18:00:00+01:00, and no duration, such as 90s, 10m or 7d", written)
	}
	return t, nil
}

// maxDuration is more than any job has lived, and far from what would overflow. longest is that in words.
const (
	maxDuration = 100 * 365 * 24 * time.Hour
	longest     = "36500d, which are 100 years"
)

const day = 24 * time.Hour

// Duration reads a duration of Go, which may begin with days: 7d, 1d12h, 90s. Its error wraps
// [timespan.ErrTooLong] for one that is longer than 100 years.
func Duration(written string) (time.Duration, error) {
	invalid, tooLong := fmt.Errorf("%q is no duration, such as 90s, 10m, 1h30m or 7d", written), timespan.TooLong(written, longest)
	number, negative := strings.CutPrefix(written, "-")
	days, rest, hasDays := strings.Cut(number, "d")
	var d time.Duration
	if hasDays {
		n, err := strconv.ParseUint(days, 10, 32)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange), rest != "" && !isSpan(rest):
			return 0, invalid
		case err != nil || n > uint64(maxDuration/day):
			return 0, tooLong
		}
		d, number = time.Duration(n)*day, rest
	}
	if !hasDays || rest != "" {
		more, err := timespan.Parse(number)
		switch {
		case !isSpan(number):
			return 0, invalid
		case err != nil || more > maxDuration:
			return 0, tooLong
		}
		d += more
	}
	switch {
	case d > maxDuration:
		return 0, tooLong
	case negative:
		return -d, nil
	}
	return d, nil
}

// isSpan reports whether a text is a duration of Go without a sign.
func isSpan(text string) bool { return timespan.Is(text) && !strings.ContainsAny(text[:1], "+-") }
