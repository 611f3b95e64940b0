package web

import (
	"fmt"
	"maps"
	"slices"
)

// A User is who asks.
type User struct {
	Name string // for people, and for the audit
	Role string // viewer, operator, admin, or one of [Options.Roles]
}

// A Permission is what a role may do.
type Permission string

// The permissions.
const (
	MayView    Permission = "view"    // all pages, without what is in jobs
	MayPayload Permission = "payload" // payloads, results, errors in full, meta values
	MayRetry   Permission = "retry"   // have dead jobs run again, and waiting ones now
	MayCancel  Permission = "cancel"
	MayDelete  Permission = "delete" // dead jobs, for good
	MayPause   Permission = "pause"  // queues, types and schedules
	MayLimits  Permission = "limits" // quotas and rates
	MayDrain   Permission = "drain"
	MayEnqueue Permission = "enqueue"
	MayVerify  Permission = "verify" // checks that read much
)

// Permissions returns them all.
func Permissions() []Permission {
	return []Permission{MayView, MayPayload, MayRetry, MayCancel, MayDelete, MayPause, MayLimits, MayDrain, MayEnqueue, MayVerify}
}

// reads reports whether a permission changes nothing.
func (p Permission) reads() bool { return p == MayView || p == MayPayload || p == MayVerify }

type permissions map[Permission]bool

func permitted(all ...Permission) permissions {
	p := make(permissions)
	for _, one := range all {
		p[one] = true
	}
	return p
}

// roleAdmin is whoever asks where nobody has to say who they are.
const roleAdmin = "admin"

// rolesOf returns the permissions of all roles, given those besides the usual ones.
func rolesOf(own map[string][]Permission) (map[string]permissions, error) {
	operator := slices.DeleteFunc(Permissions(), func(p Permission) bool { return p == MayDelete || p == MayLimits || p == MayEnqueue })
	roles := map[string]permissions{"viewer": permitted(MayView), "operator": permitted(operator...), roleAdmin: permitted(Permissions()...)}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		for _, p := range own[name] {
			if !slices.Contains(Permissions(), p) {
				return nil, fmt.Errorf("web: role %s: %q is no permission; there are %v", name, p, Permissions())
			}
		}
		roles[name] = permitted(append([]Permission{MayView}, own[name]...)...)
	}
	return roles, nil
}

// may reports whether a user has a permission.
func (h *Handler) may(u User, p Permission) bool {
	if h.opts.ReadOnly && !p.reads() {
		return false
	}
	return h.roles[u.Role][p]
}
