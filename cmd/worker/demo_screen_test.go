package main

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/millhand/millhand"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-zé]{1,12}`)).Draw(t, "words")
		columns := rapid.IntRange(1, 20).Draw(t, "columns")
		lines := wrap(strings.Join(words, " "), columns)
		if got := strings.Fields(strings.Join(lines, " ")); !slices.Equal(got, words) && len(words) > 0 {
			t.Errorf("words %q became %q", words, got)
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > columns && strings.Contains(line, " ") {
				t.Errorf("%q is wider than %d", line, columns)
			}
		}
	})
}

func TestShortDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0.00ms", 140 * time.Microsecond: "0.14ms", 9900 * time.Microsecond: "9.90ms", 12345 * time.Microsecond: "12.3ms",
		123 * time.Millisecond: "123ms", 1234 * time.Millisecond: "1.23s", 12340 * time.Millisecond: "12.3s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("shortDuration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestCovered(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for _, tt := range []struct {
		name  string
		spans []span
		want  time.Duration
	}{
		{"none", nil, 0},
		{"one", []span{{at(1), at(3)}}, 2 * time.Second},
		{"apart, out of order", []span{{at(5), at(6)}, {at(1), at(3)}}, 3 * time.Second},
		{"overlapping", []span{{at(1), at(3)}, {at(2), at(5)}}, 4 * time.Second},
		{"one within another", []span{{at(1), at(9)}, {at(2), at(3)}, {at(4), at(5)}}, 8 * time.Second},
		{"backwards, by two clocks", []span{{at(3), at(1)}, {at(4), at(5)}}, time.Second},
	} {
		if got := covered(tt.spans); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The counts of a job that is retried: its wait is that of the first run, and the time between
// two runs is no work.
func TestDemoCountsARetry(t *testing.T) {
	t.Parallel()
	c := newDemoCounts([]demoPlan{{typ: "flaky", count: 1}})
	at := func(ms int) time.Time { return c.start.Add(time.Duration(ms) * time.Millisecond) }
	ref := millhand.Ref{ID: "a", Type: "flaky"}
	first := millhand.Event{Ref: ref, State: millhand.Retrying, Attempt: 1, EnqueuedAt: at(0), StartedAt: at(5), Time: at(10)}
	second := millhand.Event{Ref: ref, State: millhand.Succeeded, Attempt: 2, EnqueuedAt: at(0), StartedAt: at(500), Time: at(501)}
	if c.add(first) || !c.add(second) || c.add(millhand.Event{Ref: millhand.Ref{Type: loneType}, State: millhand.Succeeded}) {
		t.Error("the last event is not known as the last one")
	}
	now := c.clone()
	if got := *now.types["flaky"]; got.retried != 1 || got.succeeded != 1 || got.dead != 0 || percentile(got.waits, 50) != 5*time.Millisecond {
		t.Errorf("counts = %+v", got)
	}
	if got, want := now.busy(), 11*time.Millisecond; got != want {
		t.Errorf("busy = %v, want %v", got, want)
	}
}
