package millhand

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Of all options a requeue takes five, and says so of any other.
func TestOptionsOfARequeue(t *testing.T) {
	at := time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)
	how, err := revivalOf([]EnqueueOption{WithMaxAttempts(3), WithTimeout(time.Minute), WithRunAt(at)})
	if err != nil || how.MaxAttempts != 3 || how.Timeout != time.Minute || !how.RunAt.Equal(at) {
		t.Errorf("%+v, %v", how, err)
	}
	if how, err := revivalOf([]EnqueueOption{WithDelay(time.Hour)}); err != nil || how.Delay != time.Hour {
		t.Errorf("%+v, %v", how, err)
	}
	if how, err := revivalOf([]EnqueueOption{Alone()}); err != nil || !how.Alone {
		t.Errorf("%+v, %v", how, err)
	}
	const others = "is not for Requeue"
	for name, c := range map[string]struct {
		options []EnqueueOption
		want    string
	}{
		"queue":        {[]EnqueueOption{WithQueue("q")}, "option 1 of 1 " + others},
		"id":           {[]EnqueueOption{WithTimeout(time.Minute), WithID("x")}, "option 2 of 2 " + others},
		"unique":       {[]EnqueueOption{WithUnique()}, others},
		"expires":      {[]EnqueueOption{WithExpires(time.Hour)}, others},
		"meta":         {[]EnqueueOption{WithMeta("k", "v")}, others},
		"trace":        {[]EnqueueOption{WithTrace(map[string]string{"traceparent": "x"})}, others},
		"quota":        {[]EnqueueOption{WithRejectAtQuota()}, others},
		"nil":          {[]EnqueueOption{nil}, "option 1 of 1 is nil"},
		"no attempts":  {[]EnqueueOption{WithMaxAttempts(0)}, "must be at least 1"},
		"bad attempts": {[]EnqueueOption{WithMaxAttempts(-1)}, "must be from 1"},
		"two times":    {[]EnqueueOption{WithDelay(time.Hour), WithRunAt(at)}, "use one"},
	} {
		if _, err := revivalOf(c.options); err == nil || !errors.Is(publicError(err), ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
