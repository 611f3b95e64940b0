package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Whoever restores listens on another server of a cluster, which the first chunk may outrun: it is sent again, and the
// others are not.
func TestSnapshotIsSentOnceItIsHeard(t *testing.T) {
	inScene(t, func(s *scene) {
		var got []string
		heard := make(chan *nats.Subscription)
		go func() {
			time.Sleep(3 * time.Second)
			sub, err := s.other.nc.Subscribe("restore", func(m *nats.Msg) {
				got = append(got, string(m.Data))
				_ = m.Respond(nil)
			})
			if err != nil {
				t.Error(err)
			}
			heard <- sub
		}()
		if err := s.client.send(s.ctx, "restore", strings.NewReader("all of it")); err != nil {
			t.Error(err)
		}
		if err := (<-heard).Unsubscribe(); err != nil {
			t.Error(err)
		}
		if len(got) != 2 || got[0] != "all of it" || got[1] != "" {
			t.Errorf("it has %q, want the snapshot and its end", got)
		}
	})
}
