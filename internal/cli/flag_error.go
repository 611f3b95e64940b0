package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millhand/millhand/internal/timespan"
)

// flagError says what is wrong with a flag in our words, where pflag's are those of Go's parsers.
func flagError(_ *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		want := wanted(invalid)
		if want == "" {
			return err
		}
		flag := "--" + invalid.GetFlag().Name
		if short := invalid.GetFlag().Shorthand; short != "" {
			flag = "-" + short + ", " + flag
		}
		return fmt.Errorf("invalid argument %q for %q flag: %s", invalid.GetValue(), flag, want)
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if given := unknown.GetSpecifiedShortnames(); given != "" && unicode.IsDigit(rune(given[0])) {
			return fmt.Errorf("-%s: a number here is never negative, and what begins with - is taken for a flag", given)
		}
	}
	return err
}

// wanted is what a flag takes, or empty if its own error says so.
func wanted(invalid *pflag.InvalidValueError) string {
	_, ofNumber := errors.AsType[*strconv.NumError](invalid)
	ofTime := strings.HasPrefix(errors.Unwrap(invalid).Error(), "time: ") || // it has no type
		errors.Is(invalid, timespan.ErrNone) || errors.Is(invalid, timespan.ErrTooLong)
	switch kind := invalid.GetFlag().Value.Type(); {
	case ofTime && timespan.Is(invalid.GetValue()):
		return "it is too long: at most " + timespan.LongestText
	case ofTime:
		return "want a duration, such as 90s, 10m or 1h30m"
	case !ofNumber:
		return ""
	case kind == "bool":
		return "want true or false"
	case errors.Is(invalid, strconv.ErrRange):
		return outOfRange(kind, strings.HasPrefix(invalid.GetValue(), "-"))
	}
	return "want a whole number"
}

// outOfRange says what the largest number is that a kind of flag takes, or the smallest.
func outOfRange(kind string, negative bool) string {
	if negative {
		return "the number is too small"
	}
	most := uint64(math.MaxInt64)
	switch kind {
	case "int32":
		most = math.MaxInt32
	case "uint16":
		most = math.MaxUint16
	case "uint64":
		most = math.MaxUint64
	case "float64":
		return "the number is too large"
	}
	return "the number is too large: at most " + strconv.FormatUint(most, 10)
}
