package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// No click is lost or counted twice: those of each window's last revision, and those that were too late, are all.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	counted, changed := 0, false
	for line := range strings.Lines(out.String()) {
		var minute, page, trigger string
		var clicks, revision int
		if n, _ := fmt.Sscanf(line, "too late: %d", &clicks); n == 1 {
			if counted += clicks; clicks == 0 {
				t.Error("none is too late")
			}
			continue
		}
		if _, err := fmt.Sscanf(line, "%s %s %d revision %d, %s", &minute, &page, &clicks, &revision, &trigger); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		changed = changed || revision > 1
		if trigger == "done" {
			counted += clicks
		}
	}
	if want := len(people()); counted != want || !changed {
		t.Errorf("%d clicks of %d, changed by late ones: %v\n%s", counted, want, changed, &out)
	}
}

// An error of the stream ends the count, and nothing is printed that is only half of the truth.
func TestCountOfABrokenStream(t *testing.T) {
	broken := errors.New("broken")
	var out strings.Builder
	err := count(t.Context(), &out, func(yield func(Click, error) bool) {
		for _, c := range people()[:1000] {
			if !yield(c, nil) {
				return
			}
		}
		yield(Click{}, broken)
	})
	if !errors.Is(err, broken) || out.Len() > 0 {
		t.Errorf("%v, %q", err, &out)
	}
}
