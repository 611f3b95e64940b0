package filter

import (
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A Job is what a filter looks at. What is not known of a job is empty, and matches no term about it.
type Job struct {
	State                job.State
	Queue, Type, ID      string
	Life                 string
	Worker               string // that runs it, or ran it last
	Reason, Error, Group string
	By, Trace            string
	Payload              []byte
	Meta                 map[string]string
	Attempt, Crashes     int

	Since     time.Time // when it came into its state
	DueAt     time.Time // of one that waits for its time
	ReadyAt   time.Time // when it became ready for its last run, or the next one
	StartedAt time.Time // of its last run
	EndedAt   time.Time // of its last run; zero: it runs
}

// Match reports whether all terms hold of the job.
func (f Filter) Match(j *Job, now time.Time) bool {
	return !slices.ContainsFunc(f.Terms, func(t Term) bool { return t.match(j, now) == t.Negated })
}

func (t *Term) match(j *Job, now time.Time) bool {
	return slices.ContainsFunc(t.Values, func(v Value) bool {
		switch t.Key {
		case Word:
			return v.is(j.ID) || v.isIn(string(j.Payload))
		case State:
			return inState(j.State, v.Text)
		case Queue:
			return v.is(j.Queue)
		case Type:
			return v.is(j.Type)
		case ID:
			return v.is(j.ID)
		case Life:
			return v.is(j.Life)
		case Worker:
			return v.is(j.Worker)
		case Reason:
			return v.is(j.Reason)
		case Group:
			return v.is(j.Group)
		case By:
			return v.is(j.By)
		case Trace:
			return v.is(j.Trace)
		case Meta:
			text, ok := j.Meta[t.Name]
			return ok && v.is(text)
		case Error:
			return v.isIn(j.Error)
		case Payload:
			return v.isIn(string(j.Payload))
		case Attempt:
			return v.holds(int64(j.Attempt))
		case Crashes:
			return v.holds(int64(j.Crashes))
		case Since:
			return !j.Since.Before(v.time(now))
		case Until:
			return j.Since.Before(v.time(now))
		case Age, Due, Wait, Run:
			d, ok := j.length(t.Key, now)
			return ok && v.holds(int64(d))
		}
		return false
	})
}

// length is one of the job's durations, and false if it has none.
func (j *Job) length(k Key, now time.Time) (time.Duration, bool) {
	switch k { //nolint:exhaustive // of the keys these alone are durations
	case Age:
		return now.Sub(j.Since), !j.Since.IsZero()
	case Due:
		return j.DueAt.Sub(now), !j.DueAt.IsZero()
	case Wait:
		if j.StartedAt.IsZero() {
			return now.Sub(j.ReadyAt), !j.ReadyAt.IsZero()
		}
		return j.StartedAt.Sub(j.ReadyAt), !j.ReadyAt.IsZero()
	case Run:
		if j.EndedAt.IsZero() {
			return now.Sub(j.StartedAt), !j.StartedAt.IsZero()
		}
		return j.EndedAt.Sub(j.StartedAt), !j.StartedAt.IsZero()
	}
	return 0, false
}

// is compares a name.
func (v *Value) is(name string) bool {
	if v.Op == Prefix {
		return strings.HasPrefix(name, v.Text)
	}
	return name == v.Text
}

// isIn looks for a part of a text, whatever the case of letters.
func (v *Value) isIn(text string) bool {
	text, part := strings.ToLower(text), strings.ToLower(v.Text)
	if v.Op == Prefix {
		return strings.HasPrefix(text, part)
	}
	return strings.Contains(text, part)
}

// holds compares a number.
func (v *Value) holds(n int64) bool { return v.low <= n && n <= v.high }
