package queue

import (
	"testing"
	"time"
)

// A drain ends what was asked for: what still comes goes back, with nothing counted.
func TestDrainHandsBackWhatStillComes(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(100 * time.Millisecond) // its request stands
		st.slots.Close()
		r := s.enqueue("a")
		began := time.Now()
		<-st.slots.Idle()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the drain took %v", took)
		}
		s.sleep(10 * time.Second)
		if got := len(st.runs()); got != 0 {
			t.Errorf("ran %d jobs after the drain began", got)
		}
		m, err := s.store.Find(s.ctx, testPlace("a"))
		if err != nil || m.Attempt != 1 || m.Crashes != 0 {
			t.Fatalf("the job is %+v, %v", m, err)
		}
		next := s.station("next", 1, succeed)
		s.sleep(testWait + 10*time.Second)
		s.checkEnded(r.Life)
		if got := s.kinds(r.Life); got != "succeeded" || len(next.runs()) != 1 {
			t.Errorf("events %s, %d runs", got, len(next.runs()))
		}
	})
}

// A worker that drains while its broker is away does not wait for it.
func TestDrainWithoutABroker(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(time.Second)
		s.server.Stop()
		defer s.server.Start(t)
		s.sleep(10 * time.Second)
		st.slots.Close()
		select {
		case <-st.slots.Idle():
		case <-time.After(15 * time.Second):
			t.Error("the drain waits for a broker though nothing is in hand")
		}
	})
}
