package queue

import (
	"testing"
	"time"
)

// A connection that is lost is told of by itself. Each puller would repeat it every two seconds.
func TestLostConnectionIsNoWarningOfAPuller(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var log recorder
		s.logs = &log
		st := s.station("n", 2, succeed)
		s.sleep(time.Second)
		s.server.Stop()
		s.sleep(time.Minute)
		s.server.Start(t)
		s.enqueue("a")
		s.sleep(5 * time.Second)
		if got := len(st.runs()); got != 1 {
			t.Errorf("%d runs after the outage, want 1", got)
		}
		if log.with(`level=DEBUG msg="cannot pull yet"`) == 0 {
			t.Error("the puller did not try during the outage")
		}
		if n := log.with(`level=WARN msg="cannot pull yet"`); n > 0 {
			t.Errorf("the puller warns %d times", n)
		}
	})
}
