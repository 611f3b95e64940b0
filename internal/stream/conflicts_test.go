package stream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestConflictsWaitLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Conflicts
		for try, most := 0, firstConflictPause; try < 20; try, most = try+1, min(2*most, MaxRetryPause) {
			began := time.Now()
			if err := c.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited < most/2 || waited > most {
				t.Errorf("after conflict %d it waited %v, want from %v to %v", try+1, waited, most/2, most)
			}
		}
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stop)
		if err := c.Wait(ctx); !errors.Is(err, stop) {
			t.Errorf("with its context at an end it returned %v", err)
		}
	})
}
