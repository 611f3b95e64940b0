package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// Whoever ends a life of which others write events meanwhile waits longer after each of them, and gets there
// once they are done.
func TestEndWaitsWhileOthersWrite(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const conflicts = 60
		r := s.enqueue("a")
		link := s.server.Link()
		store := s.open(link.Connect(t), Config{})
		tries := 0
		link.Watch(func(subject string) natstest.Fate {
			if !strings.HasPrefix(subject, "millhand.event.") {
				return natstest.Pass
			}
			if tries++; tries <= conflicts {
				m, err := s.store.eventMsg(testPlace("a"), &Event{Kind: job.EventRetrying, Life: r.Life, Seq: uint64(tries), Holder: "other"}) //nolint:gosec // counted
				if err == nil {
					_, err = s.store.client.Publish(s.ctx, m)
				}
				if err != nil {
					t.Error(err)
				}
			}
			return natstest.Pass
		})
		began := time.Now()
		if err := store.End(s.ctx, testPlace("a"), r.Life, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); tries != conflicts+1 || took < 20*time.Second || took > time.Minute {
			t.Errorf("%d tries took %v", tries, took)
		}
		if left := s.waiting(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}
