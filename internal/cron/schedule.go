package cron

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Bounds of "@every".
const (
	minEvery = time.Second
	maxEvery = 366 * 24 * time.Hour
)

// An InvalidError says which rule an entry breaks.
type InvalidError struct {
	What string // what is at fault, such as "schedule"
	Name string // what it was given; empty if it was given nothing
	Rule string // to be read after What and Name
}

func (e *InvalidError) Error() string {
	if e.Name == "" {
		return e.What + " " + e.Rule
	}
	return fmt.Sprintf("%s %q: %s", e.What, e.Name, e.Rule)
}

// A Schedule says when ticks come, in whole seconds. See [Parse].
type Schedule struct {
	text, zoneName string // as they were given

	fields *cron.SpecSchedule // nil: every so often
	zone   *time.Location
	// followsClock is true if the hours are a star: then ticks come whenever a clock on the
	// wall shows their minute. Else they are times of the day, each of which comes once.
	followsClock bool

	every time.Duration
	since time.Time
}

// String returns the schedule as it was given.
func (s Schedule) String() string { return s.text }

// ZoneName returns the zone as it was given.
func (s Schedule) ZoneName() string { return s.zoneName }

// Zone is the one that the schedule holds in.
func (s Schedule) Zone() *time.Location { return s.zone }

// Since is when "@every" counts from.
func (s Schedule) Since() time.Time { return s.since }

// Parse reads five fields or a name such as "@daily", which hold in a zone of the tz database,
// UTC if it is empty; or "@every" with a duration, which counts from since, or from 1970 if that
// is zero. The error is an [*InvalidError].
func Parse(schedule, zone string, since time.Time) (Schedule, error) {
	loc, err := parseZone(zone)
	if err != nil {
		return Schedule{}, err
	}
	s, err := parse(schedule)
	if err != nil {
		return Schedule{}, &InvalidError{What: "schedule", Name: schedule, Rule: err.Error()}
	}
	s.text, s.zoneName, s.zone = schedule, zone, loc
	if s.since = since.Truncate(time.Second); since.IsZero() {
		s.since = time.Unix(0, 0)
	}
	return s, nil
}

func parseZone(zone string) (*time.Location, error) {
	loc, err := time.LoadLocation(zone) // UTC for an empty one
	if err != nil || strings.EqualFold(zone, "local") {
		return nil, &InvalidError{What: "zone", Name: zone, Rule: "want one of the tz database, such as Europe/Amsterdam"}
	}
	return loc, nil
}

func parse(schedule string) (Schedule, error) {
	text := strings.TrimSpace(schedule)
	first, rest, _ := strings.Cut(text, " ")
	switch {
	case text == "":
		return Schedule{}, errors.New(`must not be empty: "30 2 * * *", "@daily" or "@every 90s" is one`)
	case strings.HasPrefix(text, "TZ="), strings.HasPrefix(text, "CRON_TZ="): // the parser would panic on some
		return Schedule{}, errors.New("must not have a zone in it: set zone, to one such as Europe/Amsterdam")
	case first == "@every":
		return parseEvery(strings.TrimSpace(rest))
	case strings.HasPrefix(text, "@"):
		return parseName(text)
	}
	return parseFields(text)
}

func parseEvery(duration string) (Schedule, error) {
	d, err := time.ParseDuration(duration)
	if err != nil || d < minEvery || d > maxEvery || d%time.Second != 0 {
		return Schedule{}, errors.New(`want a duration from 1s to 8784h in whole seconds, such as "@every 90s"`)
	}
	return Schedule{every: d}, nil
}

func parseName(name string) (Schedule, error) {
	switch name {
	case "@hourly":
		return parseFields("0 * * * *")
	case "@daily":
		return parseFields("0 0 * * *")
	case "@weekly":
		return parseFields("0 0 * * 0")
	case "@monthly":
		return parseFields("0 0 1 * *")
	case "@yearly":
		return parseFields("0 0 1 1 *")
	}
	return Schedule{}, errors.New("want @hourly, @daily, @weekly, @monthly, @yearly or @every with a duration")
}

// A field is one of five.
type field struct {
	name, rule string
	most       int // the longest step that somebody can mean
	option     cron.ParseOption
}

func fields() [5]field {
	return [5]field{
		{"minute", "want 0 to 59, such as 30 or */15", 60, cron.Minute},
		{"hour", "want 0 to 23, such as 2 or 9-17", 24, cron.Hour},
		{"day of the month", "want 1 to 31, such as 1 or 1,15", 31, cron.Dom},
		{"month", "want 1 to 12 or jan to dec, such as 1-6", 12, cron.Month},
		{"day of the week", "want 0 (Sunday) to 6 or sun to sat, such as mon-fri", 7, cron.Dow},
	}
}

func (f field) check(text string) error {
	if !f.takes(text) {
		return fmt.Errorf("%s %s: %s", f.name, text, f.rule)
	}
	return nil
}

// takes reports whether the parser takes a text that somebody can mean.
func (f field) takes(text string) bool {
	if strings.Contains(text, "=") { // or it may take it for a zone, and panic
		return false
	}
	for part := range strings.SplitSeq(text, ",") {
		_, step, _ := strings.Cut(part, "/")
		if n, _ := strconv.Atoi(step); part == "" || n > f.most {
			return false
		}
	}
	_, err := cron.NewParser(f.option).Parse(text)
	return err == nil
}

func parseFields(text string) (Schedule, error) {
	texts := strings.Fields(text)
	if len(texts) != 5 {
		return Schedule{}, fmt.Errorf(`want five fields, minutes first, such as "30 2 * * *", and not %d`, len(texts))
	}
	var all cron.ParseOption
	for i, f := range fields() {
		if err := f.check(texts[i]); err != nil {
			return Schedule{}, err
		}
		all |= f.option
	}
	parsed, err := cron.NewParser(all).Parse(text)
	spec, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return Schedule{}, fmt.Errorf("cannot be read: %w", err)
	}
	spec.Location = time.UTC // wall times are walked as if they were UTC: see [Schedule.Next]
	// The year 2000 had every date there is.
	if spec.Next(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("never comes: no month of it has such a day")
	}
	return Schedule{fields: spec, followsClock: strings.HasPrefix(texts[1], "*") || strings.HasPrefix(texts[1], "?")}, nil
}
