package main

import (
	"strings"
	"testing"
)

// Each stage crashes once, the producer of pages too, and goes on after that: every page meets its fate, and no more of them
// are lost than the filters had in hand.
func TestScraperHeals(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	printed := out.String()
	healed := 0
	for stage, sign := range map[string]string{ // What shows that it works again.
		"pages":    "\npages    asked for ",
		"filter 1": "\nfilter 1 passes ",
		"filter 2": "\nfilter 2 passes ",
		"fetcher":  "\nfetch    /page/",
	} {
		restart := "restart  " + stage + ": panic"
		_, after, restarted := strings.Cut(printed, restart)
		switch {
		case strings.Contains(after, restart):
			t.Errorf("stage %s was restarted twice", stage)
		case restarted && strings.Contains(after, sign):
			healed++
		case stage == "pages": // A filter may come too late for any page.
			t.Error("the producer of pages did not crash and heal")
		}
	}
	if healed < 3 {
		t.Errorf("%d stages crashed and healed, want at least 3 of 4", healed)
	}
	for page, fate := range map[string]string{"/missing": "offline", "/broken": "given up", "/slow": "fetched", "/page/13": "fetched"} {
		met := "page     " + page + " is "
		if !strings.Contains(printed, met+fate+"\n") && !strings.Contains(printed, met+"lost in a crash\n") {
			t.Errorf("page %s is not %s", page, fate)
		}
	}
	if lost := strings.Count(printed, " is lost in a crash"); lost > 2 {
		t.Errorf("%d pages are lost, of two filters with one in hand", lost)
	}
	if t.Failed() {
		t.Log(printed)
	}
}
