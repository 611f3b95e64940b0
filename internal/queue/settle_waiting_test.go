package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// refusing are the ways in which a broker takes no more for a while.
func refusing() map[string]struct {
	refuse, allow func(*scene)
	reason        string
} {
	type way = struct {
		refuse, allow func(*scene)
		reason        string
	}
	full := func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew }
	room := func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = -1, jetstream.DiscardOld }
	restart := func(s *scene, f func(*server.Options)) {
		s.server.Stop()
		s.server.Configure = f
		s.server.Start(s.t)
		time.Sleep(5 * time.Second)
	}
	return map[string]way{
		"events stream full": {
			func(s *scene) { s.limit(s.store.names.eventStream(), full) },
			func(s *scene) { s.limit(s.store.names.eventStream(), room) }, "maximum messages exceeded",
		},
		"store full": {
			func(s *scene) { restart(s, func(o *server.Options) { o.JetStreamMaxStore = 1 }) },
			func(s *scene) { restart(s, nil) }, "insufficient",
		},
		"not allowed": {
			func(s *scene) {
				restart(s, func(o *server.Options) {
					o.NoAuthUser = "worker"
					o.Users = []*server.User{{Username: "worker", Password: "x", Permissions: &server.Permissions{
						Publish: &server.SubjectPermission{Deny: []string{"millhand.event.>"}},
					}}}
				})
			},
			func(s *scene) { restart(s, nil) }, "no permission to publish to millhand.event",
		},
		"no JetStream": {
			func(s *scene) { restart(s, func(o *server.Options) { o.JetStream = false }) },
			func(s *scene) { restart(s, nil) }, "",
		},
	}
}

// An end that the broker refuses for now waits: it is said, it is shown, and once the broker
// takes it, it is written once, with no second run.
func TestRefusedEndsWait(t *testing.T) {
	ways := refusing()
	delete(ways, "no JetStream") // which renews no lease
	for name, tt := range ways {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				var log recorder
				s.logs = &log
				n := s.node("n")
				r := s.enqueue("filler")
				n.takeAll(time.Second, always(Outcome{Kind: job.EventSucceeded}))
				lives := []string{r.Life}
				var held []*Delivery
				for i := range 20 {
					lives = append(lives, s.enqueue(strconv.Itoa(i)).Life)
					h := n.pull()
					n.renewer.Keep(h)
					held = append(held, h)
				}
				tt.refuse(s)
				for _, h := range held {
					n.settler.Settle(h, Outcome{Kind: job.EventSucceeded, Result: []byte("1")})
				}
				began := time.Now()
				time.Sleep(15 * time.Second)
				refused := n.settler.Refused()
				if refused == nil || refused.Ends != 20 || refused.Since.Before(began) || time.Since(refused.Since) < 5*time.Second ||
					!strings.Contains(refused.Reason, tt.reason) || !strings.Contains(refused.What, "succeeded") {
					t.Errorf("shown: %+v", refused)
				}
				if n.unsettled() != 20 {
					t.Errorf("%d unsettled", n.unsettled())
				}
				const line = "ends of jobs do not get through"
				said := log.with(line)
				time.Sleep(100 * time.Second)
				if more := log.with(line) - said; said < 1 || more < 6 || more > 11 {
					t.Errorf("said %d times, then %d times in 100 s", said, more)
				}
				tt.allow(s)
				if ran := n.takeAll(2*time.Minute, always(Outcome{Kind: job.EventSucceeded})); ran != 0 {
					t.Errorf("%d ran a second time", ran)
				}
				if n.settler.Refused() != nil || n.unsettled() > 0 {
					t.Errorf("shown still: %+v, %d unsettled", n.settler.Refused(), n.unsettled())
				}
				s.checkEnded(lives...)
			})
		})
	}
}

// A drain does not wait for ever for a broker that refuses, and says what it leaves and why.
func TestDrainWithRefusedEnds(t *testing.T) {
	for name, tt := range refusing() {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				n := s.node("n")
				s.enqueue("filler")
				n.takeAll(time.Second, always(Outcome{Kind: job.EventSucceeded}))
				for i := range 5 {
					s.enqueue(strconv.Itoa(i))
				}
				var held []*Delivery
				for range 5 {
					held = append(held, n.pull())
				}
				tt.refuse(s)
				for _, h := range held {
					n.settler.Settle(h, Outcome{Kind: job.EventSucceeded})
				}
				time.Sleep(3 * time.Second)
				took, left := n.drained()
				if took > settleWithin+time.Second {
					t.Errorf("drained after %v", took)
				}
				e, ok := errors.AsType[*UnsettledError](left)
				if !ok || len(e.Jobs)+e.More != 5 || !strings.Contains(left.Error(), tt.reason) || !strings.Contains(left.Error(), "event succeeded") {
					t.Errorf("left: %v", left)
				}
				tt.allow(s)
				if ran := s.node("next").takeAll(3*time.Minute, always(Outcome{Kind: job.EventSucceeded})); ran != 5 {
					t.Errorf("%d ran again", ran)
				}
			})
		})
	}
}

// What a settler that is started again had not written by then, it goes on with.
func TestRefusedEndsOutliveARestartOfTheSettler(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		way := refusing()["events stream full"]
		s.enqueue("filler")
		n.takeAll(time.Second, always(Outcome{Kind: job.EventSucceeded}))
		r := s.enqueue("a")
		h := n.pull()
		n.renewer.Keep(h)
		way.refuse(s)
		ctx, cancel := context.WithCancel(s.ctx)
		second := NewSettler(n.store, n.renewer)
		ended := make(chan error, 1)
		go func() { ended <- second.Run(ctx) }()
		second.Settle(h, Outcome{Kind: job.EventSucceeded})
		time.Sleep(3 * time.Second)
		cancel()
		if err := <-ended; err != nil || second.room.jobs.Load() != 1 {
			t.Errorf("Run = %v, %d unsettled", err, second.room.jobs.Load())
		}
		way.allow(s)
		ctx, cancel = context.WithCancel(s.ctx)
		go func() { ended <- second.Run(ctx) }()
		time.Sleep(time.Second)
		cancel()
		if err := <-ended; err != nil || second.Left() != nil {
			t.Errorf("Run = %v, then left: %v", err, second.Left())
		}
		if got := s.kinds(r.Life); got != "succeeded" {
			t.Errorf("events %q", got)
		}
	})
}

// The list of what is final is short, and closed.
func TestFinalRefusals(t *testing.T) {
	api := func(code jetstream.ErrorCode) error {
		return fmt.Errorf("publish: %w", &jetstream.APIError{ErrorCode: code})
	}
	for _, err := range []error{
		nats.ErrMaxPayload, nats.ErrBadHeaderMsg, nats.ErrBadSubject, nats.ErrInvalidMsg, errUnwritable,
		api(stream.CodeMessageTooLarge), api(stream.CodeHeadersTooLarge), api(stream.CodeStreamSealed), api(stream.CodeScheduleInvalid), api(stream.CodeTargetInvalid),
	} {
		if !final(fmt.Errorf("write: %w", err)) || passing(err) {
			t.Errorf("%v: not final", err)
		}
	}
	for _, err := range []error{
		nil, context.DeadlineExceeded, nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrPermissionViolation, stream.ErrConflict, io.ErrClosedPipe,
		api(stream.CodeNoResources), api(stream.CodeAccountFull), api(stream.CodeStoreFailed), api(stream.CodeTooManyRequests), api(stream.CodeIDInProcess), api(stream.CodeWrongLastSeqBusy),
		api(stream.CodeNoJetStream), api(stream.CodeUnavailable), api(10047), api(10999),
	} {
		if final(err) {
			t.Errorf("%v: final", err)
		}
	}
	for _, code := range []jetstream.ErrorCode{stream.CodeIDInProcess, stream.CodeTooManyRequests, stream.CodeWrongLastSeqBusy} {
		if !passing(api(code)) {
			t.Errorf("%d: an enqueue is not tried again", code)
		}
	}
	if !slices.IsSorted([]time.Duration{stream.RetryPause, stream.MaxRetryPause, settlePauseMax}) {
		t.Error("pauses do not grow")
	}
}

// A settler that stopped between an event and what follows from it, and runs again, does not say
// the same twice.
func TestAnEndIsSaidOnceThoughTheSettlerStopsBehindIt(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n := s.node("n")
		s.limit(s.store.names.deadStream(), func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew })
		if _, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: "millhand.dead.q.t.other"}); err != nil {
			t.Fatal(err)
		}
		h := n.pull()
		n.renewer.Keep(h)
		n.settler.Settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "e"})
		s.sleep(time.Second)
		if _, left := n.drained(); left == nil {
			t.Fatal("the dead record was taken, and should not have been")
		}
		ctx, stop := context.WithCancel(s.ctx)
		n.stop = stop
		n.ended.Go(func() { _ = n.renewer.Run(ctx) })
		n.ended.Go(func() { _ = n.settler.Run(ctx) })
		s.limit(s.store.names.deadStream(), func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
		s.sleep(time.Second)
		s.checkEnded(r.Life)
	})
}
