package registry

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A worker that stops while it writes its presence has no trouble to tell of.
func TestAStopIsNoTrouble(t *testing.T) {
	inScene(t, func(s *scene) {
		link := s.server.Link()
		var log bytes.Buffer
		a, err := NewAgent(s.open(link.Connect(s.t)), AgentConfig{
			Node: "n", Types: []string{"import"}, Queues: []string{"default"},
			Snapshot: func() Node { return Node{ID: "n"} },
			Doubt:    func() { s.t.Error("the stop casts a doubt on the broker") },
			Logger:   slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if err != nil {
			s.t.Fatal(err)
		}
		ctx, stop := context.WithCancel(s.ctx)
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(time.Second)
		link.Slow(900 * time.Millisecond)
		time.Sleep(2600 * time.Millisecond) // the next presence is on its way
		stop()
		<-ended
		if strings.Contains(log.String(), "presence") {
			s.t.Errorf("the log of a stop: %s", &log)
		}
	})
}
