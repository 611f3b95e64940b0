package workflow

import (
	"fmt"
	"strconv"
)

// An InvalidError says which rule a workflow breaks.
type InvalidError struct {
	What string // what is at fault, such as "step"
	Name string // what it is called; empty if it has no name
	Rule string // the rule, to be read after What and Name
}

func (e *InvalidError) Error() string {
	if e.Name == "" {
		return e.What + " " + e.Rule
	}
	return fmt.Sprintf("%s %s: %s", e.What, shown(e.Name), e.Rule)
}

// maxShown is how much of a name an error repeats.
const maxShown = 80

func shown(name string) string {
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	return strconv.Quote(name)
}

func invalid(what, name, rule string, args ...any) error {
	return &InvalidError{What: what, Name: name, Rule: fmt.Sprintf(rule, args...)}
}
