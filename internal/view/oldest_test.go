package view

import (
	"testing"
	"time"
)

// Where the oldest ready job of a type is looked for is decided by what is known, and never by going
// through what may be long.
func TestWayToTheOldest(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	typ := func(ready, inHand int64, delivered uint64) *Type {
		return &Type{Ready: Counted(ready, Exact, now), InHand: Counted(inHand, Exact, now), Delivered: delivered}
	}
	saw := func(seq uint64, ago time.Duration) oldestLook {
		return oldestLook{Oldest: Oldest{How: Exact, Seq: seq, Saw: now.Add(-ago)}}
	}
	for _, c := range []struct {
		what  string
		t     *Type
		known oldestLook
		way   way
		from  uint64
	}{
		{"not counted", &Type{Ready: Uncounted(), InHand: Uncounted()}, oldestLook{}, noWay, 0},
		{"nothing ready", typ(0, 3, 70), oldestLook{}, none, 900},
		{"few", typ(5, 3, 70), oldestLook{}, byTable, 71},
		{"few, seen a moment ago", typ(5, 3, 70), saw(80, time.Second), asKnown, 80},
		{"few, seen a while ago", typ(5, 3, 70), saw(80, time.Minute), byTable, 71},
		{"few, handed out since", typ(5, 3, 90), saw(80, time.Second), byTable, 91},
		{"many, seen a while ago", typ(5_000_000, 3, 70), saw(80, time.Minute), byWalking, 80},
		{"many, none a moment ago", typ(5_000_000, 3, 70), oldestLook{nothingTo: 500}, byWalking, 501},
		{"many, none a moment ago, some handed out", typ(5_000_000, 3, 600), oldestLook{nothingTo: 500}, byWalking, 601},
		{"some", typ(20_000, 0, 70), oldestLook{}, byIndex, 1},
		{"many", typ(20_001, 0, 70), oldestLook{}, byPeeking, 71},
		{"many, handed out since", typ(5_000_000, 3, 90), saw(80, time.Second), byPeeking, 91},
	} {
		if w, from := wayTo(c.t, 900, c.known, now); w != c.way || from != c.from {
			t.Errorf("%s: way %d from %d, want %d from %d", c.what, w, from, c.way, c.from)
		}
	}
}
