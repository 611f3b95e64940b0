// Package timespan reads durations as Go writes them, and tells one that is too long from what is none:
// [time.ParseDuration] has one error for both, and it is for programmers.
package timespan

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// LongestText is the longest duration that there is, in whole hours: 292 years.
const LongestText = "2562047h"

// ErrTooLong says that a text is a duration, but one that is longer than it may be.
var ErrTooLong = errors.New("too long")

// ErrNone says that a text is no duration.
var ErrNone = errors.New("no duration")

// form is that of Go's durations.
var form = regexp.MustCompile(`^[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$`)

// Is reports whether a text is a duration, however long.
func Is(text string) bool { return form.MatchString(text) }

// Parse reads a duration such as 90s, 10m or 1h30m. Its error quotes the text, and wraps [ErrTooLong] if it is that.
func Parse(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err == nil:
		return d, nil
	case Is(text):
		return 0, TooLong(text, LongestText)
	}
	return 0, fmt.Errorf("%q is %w, such as 90s, 10m or 1h30m", text, ErrNone)
}

// TooLong is the error of a duration that is longer than most, which is the longest that there may be in words.
func TooLong(text, most string) error {
	return fmt.Errorf("%q is %w: at most %s", text, ErrTooLong, most)
}
