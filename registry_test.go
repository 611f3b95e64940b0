package millhand_test

import (
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What was asked for under a limit does not start above one that is lower by then.
func TestQuotaIsLoweredWhileWorkersWait(t *testing.T) {
	for wait := 3 * time.Second; wait < 8*time.Second; wait += 700 * time.Millisecond {
		natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
			m := newMill(t, s)
			m.set(t, millhand.Quota{Type: "import", Limit: 40})
			for i := range 4 {
				m.hire(t, i, 5*time.Second, millhand.WorkerConfig{}, "import")
			}
			time.Sleep(wait)
			m.set(t, millhand.Quota{Type: "import", Limit: 1})
			time.Sleep(time.Second)
			m.enqueue(t, 4, "import")
			time.Sleep(30 * time.Second)
			m.wantMost(t, "import", 1)
			if got := len(m.starts["import"]); got != 4 {
				t.Errorf("%d jobs have started, want 4", got)
			}
		})
	}
}
