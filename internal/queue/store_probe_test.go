package queue

import (
	"testing"

	"github.com/nats-io/nats.go"
)

// On a disk that is full a purge may stop a stream for good, and its broker cannot be stopped then. So
// what workers write to see whether a stream stores they remove by its sequence.
func TestAProbeLeavesNothingAndPurgesNothing(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		purges := make(chan *nats.Msg, 64)
		if _, err := s.server.Link().Connect(t).ChanSubscribe("$JS.API.STREAM.PURGE.>", purges); err != nil {
			t.Fatal(err)
		}
		queue, events := s.store.names.queueStream(queueName()), s.store.names.eventStream()
		before := len(s.all(queue)) + len(s.all(events))
		for range 3 {
			if err := s.store.Probe(s.ctx, testQueue); err != nil {
				t.Errorf("Probe = %v", err)
			}
		}
		if err := s.store.tidy(s.ctx, []string{testQueue}); err != nil {
			t.Errorf("tidy = %v", err)
		}
		if after := len(s.all(queue)) + len(s.all(events)); after != before {
			t.Errorf("%d messages after the probes, %d before", after, before)
		}
		if len(purges) > 0 {
			t.Errorf("%d purges, the first by %s", len(purges), (<-purges).Subject)
		}
	})
}
