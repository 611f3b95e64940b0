package queue

import (
	"testing"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// What comes after a pause began goes back, with nothing counted, and runs after it.
func TestPullerHandsBackWhatComesInAPause(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(100 * time.Millisecond) // its request stands
		st.slots.Pause(testQueue, "", true)
		r := s.enqueue("a")
		s.sleep(time.Minute)
		if got := len(st.runs()); got != 0 {
			t.Errorf("%d runs in the pause", got)
		}
		m, err := s.store.Find(s.ctx, testPlace("a"))
		if err != nil || m.Attempt != 1 || m.Crashes != 0 {
			t.Errorf("the job is %+v, %v", m, err)
		}
		if got := st.store.Rebuilt(); got != 0 {
			t.Errorf("the subscription was made again %d times: nobody listened", got)
		}
		st.slots.Pause(testQueue, "", false)
		s.sleep(time.Second)
		s.checkEnded(r.Life)
	})
}

// The permits are gone while a request stands: what it brings goes to others.
func TestPullerHandsBackWhatHasNoPermit(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		p := st.slots.Limiter(slots.Key{Kind: slots.OfType, Name: testType}, time.Minute)
		s.sleep(2 * time.Second)
		p.Allow(2, time.Now().Add(1500*time.Millisecond))
		s.sleep(1400 * time.Millisecond)
		p.Lose()
		r := s.enqueue("a")
		s.sleep(time.Minute)
		if got := len(st.runs()); got != 0 {
			t.Errorf("%d runs without a permit", got)
		}
		other := s.station("other", 1, succeed)
		s.sleep(time.Second)
		s.checkEnded(r.Life)
		if got := len(other.runs()); got != 1 {
			t.Errorf("%d runs at the other", got)
		}
	})
}

// Starts of a rate, as a broker and a puller make them.
func TestPullerKeepsToARate(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i := range 40 {
			s.enqueue(string(rune('a'+i/26)) + string(rune('a'+i%26)))
		}
		st := s.stationAt(s.nodeOf("n", 8), succeed, func(g *slots.Slots) {
			p := g.Limiter(slots.Key{Kind: slots.OfQueue, Name: testQueue, Rate: true}, time.Minute)
			p.Allow(10, time.Now().Add(time.Hour))
		})
		s.sleep(4*time.Minute - time.Second)
		runs := st.runs()
		if len(runs) != 40 {
			t.Fatalf("%d runs in 4 minutes at 10 a minute", len(runs))
		}
		for i, h := range runs[10:] {
			if d := h.StartedAt().Sub(runs[i].StartedAt()); d < time.Minute {
				t.Errorf("11 starts within %v", d)
			}
		}
	})
}
