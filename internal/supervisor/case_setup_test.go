package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// setup is a supervisor as the cases describe it. A word that nobody knows is an error.
type setup struct {
	Kind         string // dynamic; empty: one that has an order
	Strategy     string
	MaxRestarts  *int    `json:"max_restarts"`
	MaxSeconds   float64 `json:"max_seconds"`
	MaxChildren  int     `json:"max_children"`
	AutoShutdown string  `json:"auto_shutdown"`
	Children     []childSetup
	Outer        *setup
	Owner        string  // whose end ends the supervisor
	GivenSeconds float64 `json:"max_seconds_given"` // max_seconds, where the case is about its unit
}

type childSetup struct {
	ID           string
	Type         string
	Restart      string
	Init         string
	CleanupMS    int     `json:"cleanup_ms"`
	ShutdownMS   int     `json:"shutdown_ms"`
	Shutdown     string  // brutal_kill, infinity
	MaxRestarts  *int    `json:"max_restarts"`
	MaxSeconds   float64 `json:"max_seconds"`
	Strategy     string
	AutoShutdown string `json:"auto_shutdown"`
	Significant  bool
	TrapExit     *bool `json:"trap_exit"` // a goroutine cannot but learn of its stop
	Children     []childSetup
}

// UnmarshalJSON accepts the short form of a child, its id, and ids that are numbers.
func (c *childSetup) UnmarshalJSON(text []byte) error {
	if text[0] != '{' {
		c.ID = strings.Trim(string(text), `"`)
		return nil
	}
	type plain childSetup
	long := struct {
		*plain
		ID any
	}{plain: (*plain)(c)}
	if err := strictly(text, &long); err != nil {
		return err
	}
	c.ID = fmt.Sprint(long.ID)
	return nil
}

// strictly decodes what has no words that nobody knows.
func strictly(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

// initClause is what a description of a child's starts consists of, in their order: "ok, then fails on 2nd
// and 3rd start, then ok". One without numbers is of one start, and the last one of all that follow.
var initClause = regexp.MustCompile(
	`^(?:always )?(ok|ignores?|fails?|stops?|errors?|raises?|crash(?:es)?)(?: first| always)?(?: with (\w+))?(?: on (?:the )?([0-9a-z ]+?))?(?: starts?)?$`)

// initOf returns what the n-th start of a child comes to, by its description in words.
func initOf(description string, n int) error {
	if description == "" {
		return nil
	}
	from := 1 // the first start that no clause has said anything of
	clauses := strings.Split(strings.ReplaceAll(description, ",", " then "), "then")
	clauses = slices.DeleteFunc(clauses, func(c string) bool { return strings.TrimSpace(c) == "" })
	for i, clause := range clauses {
		m := initClause.FindStringSubmatch(strings.TrimSpace(clause))
		if m == nil {
			return fmt.Errorf("%w %q", errUnknownInit, clause)
		}
		starts := ordinalsIn(m[3])
		said := n >= from && (n == from || i == len(clauses)-1)
		if len(starts) > 0 {
			said = slices.Contains(starts, n)
			from = slices.Max(starts)
		}
		if said {
			return outcomeOf(m[1], m[2])
		}
		from++
	}
	return nil
}

var errUnknownInit = errors.New("unknown init")

func outcomeOf(verb, reason string) error {
	switch {
	case verb == "ok":
		return nil
	case strings.HasPrefix(verb, "ignore"):
		return ErrIgnore
	case reason == "" || reason == errBoom.Error():
		return errBoom
	}
	return errors.New(reason)
}

// ordinalsIn returns the numbers of "2nd and 3rd".
func ordinalsIn(text string) (numbers []int) {
	for _, digits := range regexp.MustCompile(`\d+`).FindAllString(text, -1) {
		n, _ := strconv.Atoi(digits)
		numbers = append(numbers, n)
	}
	return numbers
}
