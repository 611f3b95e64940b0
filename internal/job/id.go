package job

import "fmt"

// Longest names, in characters.
const (
	maxName = 64
	maxID   = 128
)

// A NameError says which rule a queue, type, key, id or namespace breaks.
type NameError struct {
	What string // "queue", "type", "key", "id" or "namespace"
	Name string
	Rule string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s %q: %s", e.What, e.Name, e.Rule)
}

// CheckQueue returns a [*NameError] if name cannot be a queue.
func CheckQueue(name string) error {
	switch name {
	case "event", "dead", "control": // subjects of events, dead jobs and wake-ups
		return &NameError{What: "queue", Name: name, Rule: "is reserved (as are event, dead and control)"}
	}
	return check("queue", name, maxName)
}

// CheckType returns a [*NameError] if name cannot be a job type.
func CheckType(name string) error { return check("type", name, maxName) }

// CheckKey returns a [*NameError] if name cannot be a key that types share.
func CheckKey(name string) error { return check("key", name, maxName) }

// CheckID returns a [*NameError] if id cannot be a job's id.
func CheckID(id string) error { return check("id", id, maxID) }

// CheckNamespace returns a [*NameError] if name cannot be a namespace.
func CheckNamespace(name string) error { return check("namespace", name, maxName) }

// check holds a name to one subject token that is also fit for a stream's and a
// consumer's name.
func check(what, name string, most int) error {
	var rule string
	switch {
	case name == "":
		rule = "must not be empty"
	case len(name) > most:
		rule = fmt.Sprintf("has %d characters, at most %d are allowed", len(name), most)
	case !token(name):
		rule = "only A-Z a-z 0-9 _ and - are allowed"
	default:
		return nil
	}
	return &NameError{What: what, Name: name, Rule: rule}
}

func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
