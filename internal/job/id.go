package job

import (
	"fmt"
	"strconv"
	"strings"
)

// Longest names, in characters.
const (
	maxName = 64
	maxID   = 128
)

// reservedRule names the queues that nobody may have. Some are for features to come: to
// reserve a name later would take it from somebody's queue.
const reservedRule = "is reserved (as are event, dead, control, stats, state, workflow, " +
	"ready, later, pin, once, cron, spent and retry)"

// CheckQueue returns an [*InvalidError] if name cannot be a queue.
func CheckQueue(name string) error {
	switch name {
	case "event", "dead", "control", "stats", "state", "workflow", // stand in subjects where a queue's name does
		// A permission on "millhand.*.ready.>" would else be one on the events of a queue
		// of that name, and so for each kind of subject that a queue has.
		"ready", "later", "pin", "once", "cron", "spent", "retry":
		return &InvalidError{What: "queue", Name: name, Rule: reservedRule}
	}
	return check("queue", name, maxName)
}

// CheckType returns an [*InvalidError] if name cannot be a job type. Those that begin with _ are Millhand's own.
func CheckType(name string) error {
	if strings.HasPrefix(name, "_") && name != WorkflowType {
		return &InvalidError{What: "type", Name: name, Rule: "begins with _, which is reserved"}
	}
	return check("type", name, maxName)
}

// CheckKey returns an [*InvalidError] if name cannot be a key that types share.
func CheckKey(name string) error { return check("key", name, maxName) }

// CheckMap returns an error if name cannot name a map.
func CheckMap(name string) error { return check("map", name, maxName) }

// CheckCron returns an [*InvalidError] if name cannot be an entry of a schedule.
func CheckCron(name string) error { return check("cron entry", name, maxName) }

// CheckBulk returns an [*InvalidError] if name cannot be that of a bulk.
func CheckBulk(name string) error { return check("name of a bulk", name, maxName) }

// CheckID returns an [*InvalidError] if id cannot be a job's id.
func CheckID(id string) error { return check("id", id, maxID) }

// CheckNamespace returns an [*InvalidError] if name cannot be a namespace.
func CheckNamespace(name string) error { return check("namespace", name, maxName) }

// CheckDomain returns an [*InvalidError] if name cannot be a JetStream domain, which stands in
// subjects as one token.
func CheckDomain(name string) error { return check("domain", name, maxID) }

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
	return &InvalidError{What: what, Name: name, Rule: rule}
}

// A Name is a checked queue, type or id: one token, fit for a subject and for a stream's or
// consumer's name. There is no other way to one than through its rule, so that what takes a
// Name cannot be given whatever came from outside. The zero value names nothing.
type Name struct{ s string }

// String returns the name as it was checked.
func (n Name) String() string { return n.s }

// QueueName returns the name of a queue, or an [*InvalidError].
func QueueName(s string) (Name, error) { return named(s, CheckQueue(s)) }

// TypeName returns the name of a type, or an [*InvalidError].
func TypeName(s string) (Name, error) { return named(s, CheckType(s)) }

// CronName returns the name of an entry of a schedule, or an [*InvalidError].
func CronName(s string) (Name, error) { return named(s, CheckCron(s)) }

// IDName returns a job's id, or an [*InvalidError].
func IDName(s string) (Name, error) { return named(s, CheckID(s)) }

func named(s string, err error) (Name, error) {
	if err != nil {
		return Name{}, err
	}
	return Name{s}, nil
}

// A Place is where all messages and events of an id are.
type Place struct{ Queue, Type, ID Name }

// PlaceOf returns a job's place, or an [*InvalidError] for the first part that breaks its rule.
func PlaceOf(queue, typ, id string) (p Place, err error) {
	if p.Queue, err = QueueName(queue); err != nil {
		return Place{}, err
	}
	if p.Type, err = TypeName(typ); err != nil {
		return Place{}, err
	}
	if p.ID, err = IDName(id); err != nil {
		return Place{}, err
	}
	return p, nil
}

// Malformed is the id under which a message is kept whose own place cannot be used: of its
// sequence in the queue's stream.
func Malformed(seq uint64) Name { return Name{"malformed-" + strconv.FormatUint(seq, 10)} }

func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
