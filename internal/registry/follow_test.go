package registry

import (
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
)

// A node that lost its connection hears of a limit within a second of its return, though the
// broker leaves a request to set up the watch unanswered: one that has just started may lose
// the first answers of an account.
func TestLostAnswerDoesNotHideALimit(t *testing.T) {
	for _, lost := range []string{"$JS.API.STREAM.INFO", "$JS.API.DIRECT.GET", "$JS.API.CONSUMER.CREATE"} {
		t.Run(lost, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, 8, 0)
				n := s.node("a", nodeConfig{concurrency: 8, types: []string{imports.Name}, jobs: 50 * time.Millisecond})
				once := 0
				n.link.Watch(func(subject string) natstest.Fate {
					if strings.HasPrefix(subject, lost) && once == 0 {
						once++
						return natstest.Lost
					}
					return n.count(subject)
				})
				n.link.Cut()
				time.Sleep(500 * time.Millisecond)
				s.limit(imports, 2, 0)
				time.Sleep(2 * seenWithin) // the observer counts what starts
				s.mu.Lock()
				if got := s.running[imports]; got > 2 {
					s.t.Errorf("%d jobs run, limit 2", got)
				}
				s.mu.Unlock()
				s.limit(imports, 6, 0)
				time.Sleep(time.Second)
				s.checkUsed(imports, 6, time.Second)
				if once == 0 {
					s.t.Error("no request was lost")
				}
			})
		})
	}
}
