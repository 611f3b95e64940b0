package job

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	const good = ""
	type check struct {
		what string
		f    func(string) error
		most int
	}
	checks := []check{{"queue", CheckQueue, 64}, {"type", CheckType, 64}, {"namespace", CheckNamespace, 64}, {"id", CheckID, 128}}
	for _, c := range checks {
		tests := []struct{ name, rule string }{
			{"a", good},
			{"AZaz09_-", good},
			{"-", good},
			{"0192a7c4-7f3e-7cc1-9b7e-0123456789ab", good},
			{strings.Repeat("x", c.most), good},
			{strings.Repeat("x", c.most+1), "at most"},
			{"", "must not be empty"},
			{"a.b", "only A-Z a-z 0-9 _ and - are allowed"},
			{"a b", "only"},
			{"*", "only"},
			{">", "only"},
			{"$JS", "only"},
			{"ä", "only"},
			{"a\n", "only"},
			{"a\x00", "only"},
			{"\xff", "only"},
			{"@", "only"},
			{"[", "only"},
			{"`", "only"},
			{"{", "only"},
			{"/", "only"},
			{":", "only"}, // beside the ranges
		}
		for _, tt := range tests {
			err := c.f(tt.name)
			if tt.rule == good {
				if err != nil {
					t.Errorf("%s %q: %v", c.what, tt.name, err)
				}
				continue
			}
			e, ok := errors.AsType[*InvalidError](err)
			if !ok || e.What != c.what || e.Name != tt.name || !strings.Contains(e.Rule, tt.rule) {
				t.Errorf("%s %q: error %v, want an *InvalidError with %q", c.what, tt.name, err, tt.rule)
			}
		}
	}
}

func TestReservedTypes(t *testing.T) {
	for name, good := range map[string]bool{"_workflow": true, "_": false, "_mine": false, "mine_": true, "-_": true} {
		err := CheckType(name)
		if e, ok := errors.AsType[*InvalidError](err); ok == good || ok && e.Rule != "begins with _, which is reserved" {
			t.Errorf("type %q: %v", name, err)
		}
	}
}

func TestReservedQueues(t *testing.T) {
	for _, name := range []string{
		"event", "dead", "control", "stats", "state", "workflow", "ready", "later", "pin", "once", "cron", "spent", "retry",
	} {
		err, ok := errors.AsType[*InvalidError](CheckQueue(name))
		if !ok || !strings.HasPrefix(err.Rule, "is reserved") || !strings.Contains(err.Rule, name) {
			t.Errorf("CheckQueue(%q) = %v, want a refusal", name, err)
		}
		if err := CheckType(name); err != nil {
			t.Errorf("CheckType(%q) = %v: only queues are reserved", name, err)
		}
	}
	for _, name := range []string{"events", "Event", "pins", "READY"} {
		if err := CheckQueue(name); err != nil {
			t.Errorf("CheckQueue(%q) = %v", name, err)
		}
	}
}

// Whatever passes is one token of a subject.
func TestNameIsOneToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9_.*> -]{0,70}`)).Draw(t, "name")
		if CheckType(name) != nil {
			return
		}
		if strings.ContainsAny(name, ".*> \t\r\n/\\") || name == "" {
			t.Fatalf("CheckType(%q) = nil", name)
		}
	})
}
