package flow

import (
	"testing"
	"time"
)

// What goroutines above say about how far they are does not pile up before one that has no time for it.
func TestMarksDoNotPileUp(t *testing.T) {
	ex := newExchange[int](1)
	e := env{plan: &plan{}, ctx: t.Context()}
	below := e.lane()
	ex.inboxes[0].g = below.g
	var above []*outlet[int]
	for range 3 {
		above = append(above, ex.connect(e.lane()))
	}
	for low := range int64(1000) {
		for i, o := range above {
			if err := o.mark(mark{lane: i + 1, low: low, greatest: low}); err != nil {
				t.Fatal(err)
			}
		}
	}
	in, more, err := ex.take(below, 0, 1, time.Time{})
	if err != nil || !more || len(in.handed) != len(above) {
		t.Fatalf("%d marks of %d goroutines, %v", len(in.handed), len(above), err)
	}
	for _, s := range in.handed {
		if s.mark.low != 999 {
			t.Errorf("goroutine %d is at %d, want 999", s.mark.lane, s.mark.low)
		}
	}
}
