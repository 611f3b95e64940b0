package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/timespan"
)

// Bounds of what flags and lines say of time.
const (
	furthestYears = 10 // ahead
	leastExpires  = time.Second
	leastUnique   = time.Second
	mostUnique    = 366 * 24 * time.Hour
)

// terms are when a job is to run and how often: what --in, --at, --expires and --unique say, or the
// fields of a line with these names. The zero value says nothing.
type terms struct {
	in      span
	at      instant
	expires span
	unique  uniqueness
}

// A naming is how a text calls a setting: as a flag, with dashes, or as a field of a line.
type naming string

const (
	asFlag  naming = "--"
	asField naming = ""
)

// errorf is [fmt.Errorf] for a format with the names of flags.
func (n naming) errorf(format string, args ...any) error {
	return fmt.Errorf(strings.ReplaceAll(format, string(asFlag), string(n)), args...)
}

// check returns what is wrong with the terms of a job, which has the id if that is not empty.
func (t *terms) check(as naming, id string, now time.Time) error {
	furthest := now.AddDate(furthestYears, 0, 0)
	at, err := t.at.time()
	switch {
	case t.in.given() && t.at.given:
		return as.errorf("--in and --at: use one")
	case t.in.length < 0:
		return as.errorf("--in %s: must not be negative; leave it out to run at once", t.in.text)
	case t.in.length > furthest.Sub(now):
		return as.errorf("--in %s: at most %d years ahead", t.in.text, furthestYears)
	case err != nil:
		return as.errorf("--at %q: want RFC 3339, such as 2026-12-24T18:00:00+01:00", t.at.text)
	case at.After(furthest):
		return as.errorf("--at %s: at most %d years ahead", t.at.text, furthestYears)
	case t.expires.given() && t.expires.length < leastExpires:
		return as.errorf("--expires %s: must be at least %v", t.expires.text, leastExpires)
	case t.expires.length == math.MaxInt64:
		return as.errorf("--expires %s: too long: at most %s", t.expires.text, timespan.LongestText)
	case t.unique.period.given() && (t.unique.period.length < leastUnique || t.unique.period.length > mostUnique):
		return as.errorf("--unique %s: must be from %v to %.0fh", t.unique.period.text, leastUnique, mostUnique.Hours())
	case t.unique.alive && id != "":
		return as.errorf("--id gives the id, --unique derives it: use one; --id %s --unique=1h keeps %s for a while", id, id)
	}
	return nil
}

// over returns the terms of a line, which take the place of those that hold for all.
func (t *terms) over(all *terms) terms {
	own := *t
	if !own.in.given() && !own.at.given {
		own.in, own.at = all.in, all.at
	}
	if !own.expires.given() {
		own.expires = all.expires
	}
	if !own.unique.given {
		own.unique = all.unique
	}
	return own
}

// due is when a job is due by this clock, zero if it need not wait.
func (t *terms) due(now time.Time) time.Time {
	at, _ := t.at.time() // it is checked
	switch {
	case t.in.length > 0:
		return now.Add(t.in.length)
	case at.After(now):
		return at
	}
	return time.Time{}
}

// options are those of a job, whose id is derived unless it has one.
func (t *terms) options(hasID bool) []millhand.EnqueueOption {
	var opts []millhand.EnqueueOption
	if t.in.length > 0 {
		opts = append(opts, millhand.WithDelay(t.in.length))
	}
	if at, _ := t.at.time(); !at.IsZero() { // it is checked
		opts = append(opts, millhand.WithRunAt(at))
	}
	if t.expires.given() {
		opts = append(opts, millhand.WithExpires(t.expires.length))
	}
	switch {
	case t.unique.period.given():
		opts = append(opts, millhand.WithUniqueFor(t.unique.period.length))
	case t.unique.alive && !hasID:
		opts = append(opts, millhand.WithUnique())
	}
	return opts
}

// A span is a duration as it was written.
type span struct {
	text   string
	length time.Duration
}

func (s *span) given() bool { return s.text != "" }

// Set implements pflag.Value. What is longer than any duration is as long as one can be: check knows how long it may be.
func (s *span) Set(text string) (err error) {
	s.text = text
	if s.length, err = timespan.Parse(text); errors.Is(err, timespan.ErrTooLong) && !strings.HasPrefix(text, "-") {
		s.length, err = math.MaxInt64, nil
	}
	return err
}

func (s *span) String() string { return s.text }

// Type implements pflag.Value.
func (s *span) Type() string { return "duration" }

// An instant is a time as it was written.
type instant struct {
	given bool // though it may be empty
	text  string
}

// Set implements pflag.Value.
func (i *instant) Set(text string) error {
	i.given, i.text = true, text
	return nil
}

func (i *instant) String() string { return i.text }

// Type implements pflag.Value.
func (i *instant) Type() string { return "time" }

// time is zero if none was given. It is stricter than [time.Parse], which takes an hour of one digit.
func (i *instant) time() (time.Time, error) {
	if !i.given {
		return time.Time{}, nil
	}
	var t time.Time
	err := t.UnmarshalText([]byte(i.text))
	return t, err
}

// A uniqueness is --unique: alone, or with the period for which an id is kept.
type uniqueness struct {
	given  bool // though it may be given as false, by a line
	alive  bool // without a period: while the job is alive, under a derived id
	period span
}

// uniqueAlive is the value of a --unique that stands alone.
const uniqueAlive = "true"

// wanted reports whether the job is to be unique in any way.
func (u *uniqueness) wanted() bool { return u.alive || u.period.given() }

// Set implements pflag.Value.
func (u *uniqueness) Set(text string) error {
	*u = uniqueness{given: true, alive: text == uniqueAlive}
	if u.alive {
		return nil
	}
	return u.period.Set(text)
}

func (u *uniqueness) String() string {
	if u.alive {
		return uniqueAlive
	}
	return u.period.text
}

// Type implements pflag.Value.
func (u *uniqueness) Type() string { return "duration" }
