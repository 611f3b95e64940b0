package queue

import (
	"testing"
	"testing/synctest"
	"time"
)

// Pullers that are not starved wake up at the same moments, however far apart they began.
func TestListenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		first := time.Now().Add(new(Puller).nextListen())
		time.Sleep(1500 * time.Millisecond)
		if second := time.Now().Add(new(Puller).nextListen()); !second.Equal(first) {
			t.Errorf("one at %v, the other at %v", first, second)
		}
		time.Sleep(time.Until(first))
		if pause := new(Puller).nextListen(); pause != listenEvery {
			t.Errorf("the next after %v, want %v", pause, listenEvery)
		}
	})
}

// The starved ask the broker, and so at moments of their own.
func TestStarvedListenApart(t *testing.T) {
	pauses := make(map[time.Duration]bool)
	for range 100 {
		pause := (&Puller{starved: true}).nextListen()
		if pause < listenEvery || pause >= listenEvery+listenEvery/2 {
			t.Fatalf("next after %v", pause)
		}
		pauses[pause] = true
	}
	if len(pauses) < 90 {
		t.Errorf("%d different pauses of 100", len(pauses))
	}
}
