package queue

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// maxSigns is how many signs of one job are kept for whoever watches it. What comes on top is lost.
const maxSigns = 64

// A Trail is what can be heard of one job. It is for one goroutine.
type Trail struct {
	store *Store
	heard chan *nats.Msg
	subs  []*nats.Subscription
	timer *time.Timer
}

// A Sign says that something about a job may have changed.
type Sign struct {
	Event    bool         // an event is about to be stored, or was
	Progress *JobProgress // of its run, nil if the sign is another
}

// Trail listens to what is said of a job from now on, until it is closed.
func (s *Store) Trail(p job.Place) (*Trail, error) {
	t := &Trail{store: s, heard: make(chan *nats.Msg, maxSigns), timer: time.NewTimer(0)}
	for _, subject := range []string{s.names.event(p), s.names.progress(p)} {
		sub, err := s.nc.ChanSubscribe(subject, t.heard)
		if err != nil {
			t.Close()
			return nil, wrap(err, "listen to job %s", p.ID)
		}
		t.subs = append(t.subs, sub)
	}
	return t, nil
}

// Close ends the listening.
func (t *Trail) Close() {
	t.timer.Stop()
	for _, sub := range t.subs {
		_ = sub.Unsubscribe() // fails with the connection only
	}
}

// Next waits for a sign, for this long at most or until ctx ends. Signs may be lost.
func (t *Trail) Next(ctx context.Context, patience time.Duration) (sign Sign) {
	t.timer.Reset(patience)
	for {
		select {
		case <-ctx.Done():
			return Sign{}
		case <-t.timer.C:
			return Sign{}
		case m := <-t.heard:
			if m.Header.Get(headerEvent) != "" {
				return Sign{Event: true}
			}
			said := new(JobProgress)
			if json.Unmarshal(m.Data, said) == nil {
				return Sign{Progress: said}
			}
		}
	}
}
