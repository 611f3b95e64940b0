package broker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// stuckServer waits for a lock that nobody gives free, as a server may after a write failed.
type stuckServer struct{ free chan struct{} }

func (s stuckServer) Shutdown()        { <-s.free }
func (s stuckServer) WaitForShutdown() {}

func TestAServerThatCannotBeStoppedHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := stuckServer{free: make(chan struct{})}
		begun := time.Now()
		if err := stop(srv); !errors.Is(err, ErrStuck) || time.Since(begun) != stopWithin {
			t.Errorf("stop = %v after %v", err, time.Since(begun))
		}
		close(srv.free)
		if err := stop(srv); err != nil {
			t.Errorf("stop = %v of a server that stops", err)
		}
	})
}
