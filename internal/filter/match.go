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
		case Age:
			return v.lasts(j.Since, now)
		case Due:
			return !j.DueAt.IsZero() && v.holds(int64(j.DueAt.Sub(now)))
		case Wait:
			return v.lasts(j.ReadyAt, orNow(j.StartedAt, now))
		case Run:
			return v.lasts(j.StartedAt, orNow(j.EndedAt, now))
		}
		return false
	})
}

// orNow is a time, or now if it has not come.
func orNow(at, now time.Time) time.Time {
	if at.IsZero() {
		return now
	}
	return at
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

// lasts compares how long it was from one time to another. What has not begun lasts for no time at all.
func (v *Value) lasts(from, to time.Time) bool { return !from.IsZero() && v.holds(int64(to.Sub(from))) }
