package job

import (
	"fmt"
	"strconv"
	"time"
)

// An InvalidError says which rule something breaks that was given from outside.
type InvalidError struct {
	What string // what is at fault, such as "queue" or "max attempts"
	Name string // what it was given, as text; empty if it was given nothing
	Rule string // the rule, to be read after What and Name: "must be at least 1"
}

func (e *InvalidError) Error() string {
	if e.Name == "" {
		return e.What + " " + e.Rule
	}
	return fmt.Sprintf("%s %s: %s", e.What, shown(e.Name), e.Rule)
}

// Invalid returns an [InvalidError] about a value, which is shown as fmt does by default.
func Invalid(what string, value any, rule string, args ...any) *InvalidError {
	return &InvalidError{What: what, Name: fmt.Sprint(value), Rule: fmt.Sprintf(rule, args...)}
}

// maxShown is how much of a name an error repeats, which may be as long as a subject.
const maxShown = 80

// shown quotes a name, of which nothing is known, but not a number.
func shown(name string) string {
	if isNumber(name) {
		return name
	}
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	return strconv.Quote(name)
}

func isNumber(s string) bool {
	if len(s) > maxShown {
		return false
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return true
	}
	_, err := time.ParseDuration(s)
	return err == nil
}
