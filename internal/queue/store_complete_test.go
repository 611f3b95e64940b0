package queue

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// inOldScene is a test with streams as the first versions made them, and a link of a store whose
// log it reads.
func inOldScene(t *testing.T, f func(t *testing.T, s *scene, l *natstest.Link, store *Store, log *bytes.Buffer)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := &scene{t: t, ctx: t.Context(), server: server, logs: natstest.Output(t)}
		s.store = s.open(server.Link().Connect(t), Config{AckWait: testWait})
		for _, cfg := range []jetstream.StreamConfig{s.store.eventsConfig(), s.store.deadConfig(), s.store.queueConfig(queueName())} {
			if _, err := s.store.js.CreateStream(s.ctx, cfg); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
			t.Fatal(err)
		}
		if err := s.store.drivePin(s.ctx, queueName()); err != nil {
			t.Fatal(err)
		}
		l := server.Link()
		store := s.open(l.Connect(t), Config{AckWait: testWait})
		var log bytes.Buffer
		store.log = slog.New(slog.NewTextHandler(&log, nil))
		f(t, s, l, store, &log)
	})
}

// A stream that the first version made is completed while it is in use: nothing that it had is
// lost, and what it could not do works.
func TestAnOldStreamIsCompletedWhileInUse(t *testing.T) {
	inOldScene(t, func(t *testing.T, s *scene, _ *natstest.Link, store *Store, log *bytes.Buffer) {
		s.editStream(s.store.names.queueStream(queueName()), func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 })
		n := s.node("n")
		ready, waits := s.enqueue("ready"), s.record("waits")
		held := n.pull()
		if _, err := s.store.client.Publish(s.ctx, s.store.jobMsg(testPlace("waits"), waits, time.Now().Add(time.Minute))); err != nil {
			t.Fatal(err)
		}
		if err := store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		if log.Len() > 0 {
			t.Errorf("said: %s", log)
		}
		if err := errors.Join(store.Require(s.ctx, queueName()), store.RequireCommon(s.ctx)); err != nil {
			t.Errorf("Require = %v", err)
		}
		info, err := store.client.Info(s.ctx, store.names.queueStream(queueName()))
		if err != nil || info.Config.MaxBytes != 1<<30 || !info.Config.AllowAtomicPublish || !info.Config.AllowDirect || len(info.Config.Subjects) != 6 {
			t.Errorf("the stream is %+v, %v", info.Config, err)
		}
		if err := n.settle(held, succeed(held)); err != nil {
			t.Errorf("settle what was in hand: %v", err)
		}
		s.sleep(2 * time.Minute)
		n.finishAll(Outcome{Kind: "succeeded"})
		s.checkEnded(ready.Life, waits.Life)
		if _, err := store.client.Publish(s.ctx, &nats.Msg{Subject: store.names.once(testPlace("x"))}); err != nil {
			t.Errorf("publish of a hold: %v", err)
		}
	})
}

// A worker that may not change a stream says once what to run, and goes on. Once that was run, the
// features are there without a restart.
func TestAnOldStreamThatCannotBeCompleted(t *testing.T) {
	inOldScene(t, func(t *testing.T, s *scene, l *natstest.Link, store *Store, log *bytes.Buffer) {
		l.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.STREAM.UPDATE.") {
				return natstest.Lost
			}
			return natstest.Pass
		})
		for range 3 {
			if err := store.Open(s.ctx, testQueue); err != nil {
				t.Fatalf("Open = %v", err)
			}
		}
		const command = "nats stream edit millhand-queue-q --subjects 'millhand.q.ready.*.*,millhand.q.later.*.*,millhand.q.pin,millhand.q.once.*.*,millhand.q.cron.*,millhand.q.spent' --allow-batch --allow-direct"
		if got := strings.Count(log.String(), command); got != 1 {
			t.Errorf("the command is said %d times: %s", got, log)
		}
		err := store.Require(s.ctx, queueName())
		if !errors.Is(err, ErrUnsupported) || !strings.HasSuffix(err.Error(), command) {
			t.Errorf("Require = %v", err)
		}
		lacking, _ := errors.AsType[*stream.LackingError](err)
		if lacking == nil || lacking.Err == nil {
			t.Errorf("nothing says why: %v", err)
		}
		if err := store.RequireCommon(s.ctx); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "nats stream edit millhand-events --allow-direct") {
			t.Errorf("RequireCommon = %v", err)
		}
		s.enqueue("goes-on")
		s.editStream("millhand-queue-q", func(c *jetstream.StreamConfig) { *c = store.queueAdditions(queueName()).AddTo(*c) })
		if err := store.Require(s.ctx, queueName()); err != nil {
			t.Errorf("Require after the command = %v", err)
		}
	})
}
