package console

import (
	"testing"

	tea "charm.land/bubbletea/v2"
)

// A terminal may become larger than can be drawn on, and is drawn on as far as that goes.
func TestSizesAreClamped(t *testing.T) {
	t.Parallel()
	for given, want := range map[tea.WindowSizeMsg]tea.WindowSizeMsg{
		{Width: 80, Height: 24}: {Width: 80, Height: 24}, {Width: 5000, Height: 24}: {Width: 1000, Height: 24}, {Width: 400, Height: 2000}: {Width: 400, Height: 500},
	} {
		if got := clampSize(nil, given); got != want {
			t.Errorf("%+v is drawn on as %+v, want %+v", given, got, want)
		}
	}
	if got := clampSize(nil, tea.FocusMsg{}); got != (tea.FocusMsg{}) {
		t.Errorf("another message became %+v", got)
	}
}
