package verify

import "slices"

// A Class is a kind of promise.
type Class string

// The classes, in the order in which they are shown.
const (
	Setup        Class = "setup"
	Conservation Class = "conservation"
	Leases       Class = "leases"
	Limits       Class = "limits"
	Progress     Class = "progress"
	Broker       Class = "broker"
)

// Classes returns all classes in order.
func Classes() []Class { return []Class{Setup, Conservation, Leases, Limits, Progress, Broker} }

// A Check is an invariant that can be looked at.
type Check struct {
	ID        string
	Class     Class
	Invariant string
	Advice    string // what to do if it is violated

	needs []fact
	// more is how many looks more than usual have to see the same.
	more  int
	judge func(f *Facts) judgement
}

// Doc is where the documentation says more of it.
func (c *Check) Doc() string { return "docs/verify.md#" + anchor(c.ID) }

func anchor(id string) string {
	b := []byte(id)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Checks returns all checks in order.
func Checks() []Check {
	return slices.Concat(setupChecks(), conservationChecks(), leaseChecks(), limitChecks(), progressChecks(), brokerChecks())
}
