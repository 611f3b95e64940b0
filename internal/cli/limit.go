package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The bounds of a limit. They are those of the public package, which this one does not know: a test
// holds them to it.
const (
	maxLimit  = 1_000_000
	minPeriod = 100 * time.Millisecond
	maxPeriod = 24 * time.Hour
)

// ParseLimit reads a number such as 5, or a number of starts in a period such as 100/1m, whose period
// is 0 otherwise.
func ParseLimit(text string) (limit int, per time.Duration, err error) {
	number, period, rate := strings.Cut(text, "/")
	limit, err = strconv.Atoi(number)
	if err != nil || limit < 0 || limit > maxLimit || strconv.Itoa(limit) != number {
		return 0, 0, fmt.Errorf("%q is no limit: want a whole number up to %d, or 0 to remove it", number, maxLimit)
	}
	if !rate {
		return limit, 0, nil
	}
	if period != "" && period[0] >= 'a' { // 100/m for 100/1m
		period = "1" + period
	}
	per, err = time.ParseDuration(period)
	if err != nil || per < minPeriod || per > maxPeriod {
		return 0, 0, fmt.Errorf("%q is no period such as 1m, from %v to %v", period, minPeriod, maxPeriod)
	}
	return limit, per, nil
}
