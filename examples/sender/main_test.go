package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	const want = ``
	if out.String() != want {
		t.Errorf("it says:\n%swant:\n%s", &out, want)
	}
}
