package job

import "testing"

func TestEventLeadsToState(t *testing.T) {
	tests := []struct {
		event EventKind
		state State
		final bool
	}{
		{EventLost, Ready, false},
		{EventHandedBack, Ready, false},
		{EventSnoozed, Scheduled, false},
		{EventRetrying, Retrying, false},
		{EventSucceeded, Succeeded, true},
		{EventDead, Dead, true},
		{EventCancelled, Cancelled, true},
		{"", "", false},
		{"exploded", "", false},
	}
	for _, tt := range tests {
		if got := tt.event.State(); got != tt.state {
			t.Errorf("%q.State() = %q, want %q", tt.event, got, tt.state)
		}
		if got := tt.event.Final(); got != tt.final {
			t.Errorf("%q.Final() = %t, want %t", tt.event, got, tt.final)
		}
	}
}

func TestLifeEndsInOneOfThreeStates(t *testing.T) {
	for state, want := range map[State]bool{
		Scheduled: false, Ready: false, Running: false, Retrying: false,
		Succeeded: true, Dead: true, Cancelled: true, "": false,
	} {
		if got := state.Final(); got != want {
			t.Errorf("%q.Final() = %t, want %t", state, got, want)
		}
	}
}
