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
	const want = `good   job: succeeded
bad    job: dead after 4 attempts: the work failed
doomed job: dead after 4 attempts: panic: Boom!
60 imports at once: 5 started, 55 refused
which ended as: [succeeded succeeded succeeded succeeded succeeded]
import 6: import quota reached (5 of 5 running)
an e-mail meanwhile: succeeded
an import after one has ended: succeeded
`
	if out.String() != want {
		t.Errorf("it says:\n%swant:\n%s", &out, want)
	}
}
