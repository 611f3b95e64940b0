package millhand_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A request for events does not reach the broker, as while a node of a cluster comes back: they come all the same.
func TestEventsWhoseRequestIsLost(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		for range 10 {
			if _, err := sc.Enqueue(t.Context(), task("a")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		link := s.Link()
		var lost atomic.Bool
		link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.millhand-events.") && lost.CompareAndSwap(false, true) {
				return natstest.Lost
			}
			return natstest.Pass
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		seen := 0
		for e, err := range client(t, link.Connect(t)).Events(ctx, time.Unix(0, 1)) {
			if err != nil || e.Kind != millhand.EventSucceeded {
				t.Fatalf("%+v: %v", e, err)
			}
			if seen++; seen == 10 {
				break
			}
		}
		if seen != 10 || !lost.Load() {
			t.Errorf("%d of 10 events came; a request was lost: %t", seen, lost.Load())
		}
	})
}
