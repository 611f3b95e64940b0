package registry

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/slots"
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

// A worker that cannot write its configuration over a limit that was handed back says so, until it
// can or the limit is a person's again.
func TestHandedBackInVain(t *testing.T) {
	inScene(t, func(s *scene) {
		link := s.server.Link()
		a, stop := s.runAgent(link)
		var lose atomic.Bool
		link.Watch(func(subject string) natstest.Fate {
			if lose.Load() && subject == s.subject(limitKey(imports)) {
				return natstest.Lost
			}
			return natstest.Pass
		})
		for _, then := range map[string]func(){
			"it can write": func() { lose.Store(false) },
			"it is set":    func() { must(s, s.store.SetLimit(s.ctx, imports, Limit{Jobs: 3})) },
		} {
			must(s, s.store.SetLimit(s.ctx, imports, Limit{Jobs: 5}))
			lose.Store(true)
			must(s, s.store.ResetLimit(s.ctx, imports))
			time.Sleep(5 * time.Second)
			if got := strings.Join(a.Troubles(), "; "); !strings.HasPrefix(got, withHandedBack) {
				s.t.Errorf("troubles %q", got)
			}
			then()
			time.Sleep(5 * time.Second)
			if got := a.Troubles(); len(got) > 0 {
				s.t.Errorf("troubles at the end: %q", got)
			}
		}
		stop()
	})
}

// What the broker refuses is written again after a pause, not in each round.
func TestRefusedHandBackIsTriedOnceASecond(t *testing.T) {
	inScene(t, func(s *scene) {
		link := s.server.Link()
		a, stop := s.runAgent(link)
		var tries atomic.Int64
		link.Watch(func(subject string) natstest.Fate {
			if subject == s.subject(limitKey(imports)) {
				tries.Add(1)
			}
			return natstest.Pass
		})
		must(s, s.store.SetLimit(s.ctx, imports, Limit{Jobs: 5}))
		link.Hold() // so that the agent hears of what is handed back when it cannot write any more
		must(s, s.store.ResetLimit(s.ctx, imports))
		s.limitMessages(1)
		link.Release()
		time.Sleep(10 * time.Second)
		if n := tries.Load(); n < 2 || n > 11 {
			s.t.Errorf("%d writes in ten seconds, all refused", n)
		}
		s.limitMessages(-1)
		time.Sleep(5 * time.Second) // until presence was written, too
		if got := a.Troubles(); len(got) > 0 {
			s.t.Errorf("troubles at the end: %q", got)
		}
		stop()
	})
}

// runAgent runs an agent over a link, with a limit in its configuration, until stop is called.
func (s *scene) runAgent(link *natstest.Link) (a *Agent, stop func()) {
	s.t.Helper()
	a, err := NewAgent(s.open(link.Connect(s.t)), AgentConfig{
		Node: "n", Limits: map[slots.Key]Limit{imports: {Jobs: 10}},
		Snapshot: func() Node { return Node{ID: "n"} },
		Logger:   slog.New(slog.DiscardHandler),
	})
	must(s, err)
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return a, func() { cancel(); <-ended }
}

// limitMessages has the bucket refuse messages of more than n bytes.
func (s *scene) limitMessages(n int32) {
	s.t.Helper()
	js, err := jetstream.New(s.server.Connect(s.t))
	must(s, err)
	name := "KV_" + s.store.bucket.Name()
	st, err := js.Stream(s.ctx, name)
	must(s, err)
	cfg := st.CachedInfo().Config
	cfg.MaxMsgSize = n
	_, err = js.UpdateStream(s.ctx, cfg)
	must(s, err)
}
