package problem_test

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

const (
	queueStream  = "millhand-queue-default"
	eventsStream = "millhand-events"
)

// faultsOfJobs are those of jobs that wait, run and end.
func faultsOfJobs() []fault {
	return []fault{
		{"well", func(s *site) { s.hire(ends); s.enqueue(3); s.sleep(90 * time.Second) }, ""},
		{"P02", func(s *site) {
			var begun atomic.Int32
			s.hire(func(ctx context.Context) error {
				if begun.Add(1) > 20 {
					return runsOn(ctx)
				}
				s.sleep(time.Second)
				return nil
			})
			s.enqueue(22)
			s.sleep(7 * time.Minute)
		}, "stalled default/email: 2 jobs run of type email in queue default: none has ended; they take 914ms at most"},
		{"P03", func(s *site) {
			s.hire(ends)
			s.sleep(time.Second)
			_, err := s.js.JetStream().PauseConsumer(s.Context(), queueStream, "email", time.Now().Add(time.Hour))
			s.must(err)
			s.enqueue(3)
			s.sleep(time.Minute)
		}, "not_pulled default/email: 3 jobs of type email in queue default: workers ask for it, and the broker hands none out"},
		{"P04", func(s *site) { s.hire(runsOn); s.enqueue(3); s.sleep(5*time.Minute + 30*time.Second) }, "late default: queue default: its oldest ready job, of type email, waits for 5m30s"},
		{"P04, of an objective", func(s *site) {
			s.hireAs(millhand.WorkerConfig{Objectives: map[string]time.Duration{"default": 10 * time.Second}}, 0, runsOn)
			s.enqueue(3)
			s.sleep(15 * time.Second)
		}, "late default: queue default: its oldest ready job, of type email, waits for 15s, and 10s is how long one may"},
		{"P05", func(s *site) {
			s.hire(func(context.Context) error { return millhand.Permanent(errors.New("no such customer")) })
			s.enqueue(12)
			s.sleep(90 * time.Second)
		}, "dying email: email: 12 dead in 10 min (100 % of ends)"},
		{"P06", func(s *site) {
			s.hire(func(context.Context) error { return errors.New("no route") }, millhand.TypeConfig{Backoff: millhand.Backoff{Initial: time.Hour}})
			s.enqueue(22)
			s.sleep(90 * time.Second)
		}, "failing email: email: 22 of 22 runs failed in 10 min (100 %)"},
		{"P07", func(s *site) {
			s.hireAs(millhand.WorkerConfig{AckWait: 5 * time.Minute}, 0, ends)
			s.must(s.client.Pause(s.Context(), "default"))
			s.sleep(time.Minute) // until no worker asks
			s.enqueue(1)
			c, err := s.js.JetStream().Consumer(s.Context(), queueStream, "email")
			s.must(err)
			_, err = c.FetchNoWait(1) // by another program, which says nothing of it
			s.must(err)
			s.must(s.client.Resume(s.Context(), "default"))
			s.sleep(3 * time.Minute)
		}, "unclaimed_in_hand default/email: 1 job of type email in queue default: handed out, and no worker says that it has them"},
		{"P08", func(s *site) {
			s.hire(runsOn)
			s.enqueue(1)
			s.sleep(5 * time.Second)
			s.its.Crash()
			s.hire(ends)
			s.sleep(2 * time.Minute)
		}, "lost email: email: 1 lease was lost in 10 min"},
		{"P09", func(s *site) {
			s.enqueue(1)
			s.must(s.client.Pause(s.Context(), "default"))
			s.sleep(61 * time.Minute)
		}, "no_worker : 1 job in 1 queue: there is no worker\npaused_long default: queue default: paused"},
		{"P11", func(s *site) { // the broker was away when they were due
			s.hire(ends)
			s.enqueue(3, millhand.WithDelay(time.Minute))
			s.sleep(30 * time.Second)
			s.server.Stop()
			s.sleep(time.Minute)
			s.server.Start(s.T)
			s.sleep(90 * time.Second)
		}, "schedule_late default: queue default: jobs whose time has come are made ready up to 2"},
		{"P11, not made ready", func(s *site) { // somebody has limited the size of messages meanwhile
			s.hire(func(context.Context) error { return errors.New("no route") }, millhand.TypeConfig{Backoff: millhand.Backoff{Initial: time.Minute, Max: time.Minute}})
			s.enqueue(24)
			s.sleep(10 * time.Second)
			s.must(s.js.Edit(s.Context(), queueStream, func(cfg *jetstream.StreamConfig) bool { cfg.MaxMsgSize = 64; return true }))
			s.sleep(4 * time.Minute)
		}, "schedule_late default: queue default: 24 jobs were due in 5 min, and 0 were made ready\nfailing email: "},
	}
}
