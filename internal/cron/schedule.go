package cron

import (
	"errors"
	"fmt"
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
		return nil, &InvalidError{What: "zone", Name: zone, Rule: "not in the tz database, such as Europe/Amsterdam"}
	}
	return loc, nil
}

func parse(schedule string) (Schedule, error) {
	text := strings.TrimSpace(schedule)
	first, rest, _ := strings.Cut(text, " ")
	switch {
	case text == "":
		return Schedule{}, fmt.Errorf("must not be empty: %w", fiveFields())
	case strings.HasPrefix(text, "TZ="), strings.HasPrefix(text, "CRON_TZ="):
		return Schedule{}, errors.New("set zone instead") // and the parser would panic on some
	case first == "@every":
		return parseEvery(strings.TrimSpace(rest))
	case strings.HasPrefix(text, "@"):
		return parseName(text)
	}
	return parseFields(text)
}

func fiveFields() error { return errors.New(`five fields, minutes first, such as "30 2 * * *"`) }

func parseEvery(duration string) (Schedule, error) {
	d, err := time.ParseDuration(duration)
	switch {
	case err != nil:
		return Schedule{}, errors.New(`want a duration, such as "@every 90s"`)
	case d < minEvery || d%time.Second != 0:
		return Schedule{}, errors.New("from 1s, in whole seconds")
	case d > maxEvery:
		return Schedule{}, errors.New("at most 8784h")
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

func parseFields(text string) (Schedule, error) {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return Schedule{}, fiveFields()
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return Schedule{}, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return Schedule{}, fiveFields()
	}
	spec.Location = time.UTC // wall times are walked as if they were UTC: see [Schedule.Next]
	// The year 2000 had every date there is.
	if spec.Next(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("never comes")
	}
	return Schedule{fields: spec, followsClock: strings.HasPrefix(fields[1], "*") || strings.HasPrefix(fields[1], "?")}, nil
}
