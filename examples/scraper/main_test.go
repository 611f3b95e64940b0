package main

import (
	"strings"
	"testing"
)

// Whatever crashes when, every page meets its fate, and each stage was restarted once.
func TestScraperHeals(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	printed := out.String()
	if got := strings.Count(printed, "\nrestart "); got < 3 {
		t.Errorf("%d restarts, want at least those of the filters and the fetcher:\n%s", got, printed)
	}
	for _, line := range []string{"\nfetch    /page/0 has", "asked for 1", "pages fetched\n"} {
		if !strings.Contains(printed, line) {
			t.Errorf("output lacks %q:\n%s", line, printed)
		}
	}
}
