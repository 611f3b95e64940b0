package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, 300); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"300 files, one job each, by 2 workers", "All sums are right."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &out)
		}
	}
}
