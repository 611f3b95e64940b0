// Package access says what each kind of user needs to be allowed on the broker: the roles of
// docs/security.md. It knows subjects and no connection.
package access

import (
	"slices"
	"strings"
)

// A Role is what a user is for.
type Role string

// The roles.
const (
	Enqueuer Role = "enqueuer" // enqueues jobs and waits for them
	Viewer   Role = "viewer"   // sees everything and changes nothing
	Worker   Role = "worker"   // runs jobs
	Operator Role = "operator" // sees everything, and changes jobs, pauses and entries of schedules
	Admin    Role = "admin"    // also limits, streams and what is kept of them
)

// Roles are all of them, those that may least first.
func Roles() []Role { return []Role{Enqueuer, Viewer, Worker, Operator, Admin} }

// Permissions are subjects, wildcards allowed.
type Permissions struct {
	Publish       []string
	DenyPublish   []string
	Subscribe     []string
	DenySubscribe []string
}

// inbox stands for where a user's answers come to.
const inbox = "_INBOX.{user}.>"

// InboxPrefix is what the inboxes of a user begin with, who receives no others.
func InboxPrefix(user string) string { return "_INBOX." + user }

// Of returns what a role may do in a namespace, as a user of that name.
func Of(r Role, namespace, user string) Permissions {
	p := of(r)
	fill := func(subjects []string) []string {
		out := make([]string, len(subjects))
		for i, s := range subjects {
			s = strings.ReplaceAll(s, inbox, InboxPrefix(user)+".>")
			out[i] = strings.ReplaceAll(s, "{ns}", namespace)
		}
		return out
	}
	return Permissions{Publish: fill(p.Publish), DenyPublish: fill(p.DenyPublish), Subscribe: fill(p.Subscribe), DenySubscribe: fill(p.DenySubscribe)}
}

// RolesFor returns the roles that may publish to a subject or, if subscribe is set, receive what is sent there.
func RolesFor(namespace, subject string, subscribe bool) []Role {
	var found []Role
	for _, r := range Roles() {
		p := Of(r, namespace, string(r))
		allow, deny := p.Publish, p.DenyPublish
		if subscribe {
			allow, deny = p.Subscribe, p.DenySubscribe
		}
		if covered(allow, subject) && !covered(deny, subject) {
			found = append(found, r)
		}
	}
	return found
}

// Sentence says who has a permission.
func Sentence(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	const where = " (docs/security.md)"
	switch last := len(names) - 1; last {
	case -1:
		return "no role of docs/security.md has it"
	case 0:
		return "the role " + names[0] + " has it" + where
	default:
		return "the roles " + strings.Join(names[:last], ", ") + " and " + names[last] + " have it" + where
	}
}

func covered(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, subject) })
}

// covers reports whether a pattern has all that subject stands for.
func covers(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, t := range p {
		switch {
		case t == ">":
			return len(s) > i
		case i >= len(s) || s[i] == ">":
			return false
		case t != "*" && t != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}
