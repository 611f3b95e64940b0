package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// lose removes a stream, as an operator may or a disk that is gone.
func (s *scene) lose(stream string) {
	s.t.Helper()
	if err := s.store.js.DeleteStream(s.ctx, stream); err != nil {
		s.t.Fatalf("remove %s: %v", stream, err)
	}
}

// What is gone is said, of each stream and once; those that were never there are no loss.
func TestALostStreamIsToldOfOnce(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var log strings.Builder
		s.logs = &log
		store := s.open(s.server.Link().Connect(t), Config{AckWait: testWait})
		open := func() {
			t.Helper()
			if err := store.Open(s.ctx, testQueue); err != nil {
				t.Fatal(err)
			}
		}
		all := []string{s.store.names.eventStream(), s.store.names.deadStream(), s.store.names.queueStream(queueName())}
		for _, stream := range all {
			s.lose(stream)
		}
		open()
		if strings.Contains(log.String(), "had lost") {
			t.Errorf("streams that this worker never saw are lost: %s", &log)
		}
		for _, stream := range all {
			log.Reset()
			s.lose(stream)
			open()
			open()
			if got := strings.Count(log.String(), "had lost"); got != 1 || !strings.Contains(log.String(), "stream="+stream) {
				t.Errorf("%s is lost: told %d times: %s", stream, got, &log)
			}
		}
	})
}

// Whoever holds a job of a lost stream has nothing to say about the jobs of the next one.
func TestAcksOfALostStreamTouchNoJobOfTheNext(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		a := s.node("a")
		for i := range 2 {
			s.enqueue(fmt.Sprintf("old-%d", i))
		}
		old := []*Delivery{a.pull(), a.pull()}
		s.sleep(time.Second)
		s.lose(s.store.names.queueStream(queueName()))
		var lives []string
		for i := range 2 {
			lives = append(lives, s.enqueue(fmt.Sprintf("new-%d", i)).Life)
		}
		if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
			t.Fatal(err)
		}
		b := s.node("b")
		held := []*Delivery{b.pull(), b.pull()}
		for _, h := range old {
			if err := a.nc.Publish(h.reply, []byte("+ACK")); err != nil {
				t.Fatal(err)
			}
		}
		s.sleep(time.Second)
		if got := len(s.waiting()); got != 2 {
			t.Errorf("%d jobs are in the queue after acks of the lost stream's, want 2", got)
		}
		for _, h := range held {
			if err := b.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
				t.Error(err)
			}
		}
		s.sleep(time.Second)
		s.checkEnded(lives...)
	})
}

// All three streams go on counting, and a plain publish gets no old life's name.
func TestStreamsMadeAnewGoOnCounting(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		first := s.publish("plain", nil, "x")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no"}); err != nil {
			t.Fatal(err)
		}
		streams := []string{s.store.names.queueStream(queueName()), s.store.names.eventStream(), s.store.names.deadStream()}
		last := make(map[string]uint64)
		for _, stream := range streams {
			st, err := s.store.js.Stream(s.ctx, stream)
			if err != nil {
				t.Fatal(err)
			}
			last[stream] = st.CachedInfo().State.LastSeq
		}
		s.sleep(time.Millisecond)
		for _, stream := range streams {
			s.lose(stream)
		}
		if err := s.store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		second := s.publish("plain", nil, "x")
		for _, stream := range streams {
			st, err := s.store.js.Stream(s.ctx, stream)
			if err != nil {
				t.Fatal(err)
			}
			if got := st.CachedInfo().State.FirstSeq; got <= last[stream] {
				t.Errorf("%s begins at %d, after %d was given out", stream, got, last[stream])
			}
		}
		if lifeOf(first) == lifeOf(second) {
			t.Errorf("two lives have the name %s", lifeOf(first))
		}
	})
}

// A stream that an earlier version made begins at 1, and stays as it is.
func TestAnOldStreamIsLeftAlone(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		name := s.store.names.queueStream(queueName())
		s.lose(name)
		cfg := s.store.queueConfig(queueName())
		if _, err := s.store.js.CreateStream(s.ctx, cfg); err != nil {
			t.Fatal(err)
		}
		if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
			t.Fatal(err)
		}
		if err := s.store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		r := s.enqueue("j")
		s.station("n", 1, succeed)
		s.sleep(time.Second)
		s.checkEnded(r.Life)
		if seq := s.events()[r.Life][0].Seq; seq != 2 {
			t.Errorf("the job behind the pin has sequence %d, want 2", seq)
		}
	})
}

// Running jobs of a lost stream are stopped, and write nothing more.
func TestLeasesOfALostStreamAreVoid(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		old := s.enqueue("old")
		var cause atomic.Pointer[error]
		st := s.station("n", 1, func(h *Delivery) Outcome {
			if h.ID == "old" {
				lost := make(chan error, 1)
				h.OnLost(func(err error) { lost <- err })
				err := <-lost
				cause.Store(&err)
			}
			return Outcome{Kind: job.EventSucceeded}
		})
		s.sleep(time.Second)
		s.lose(s.store.names.queueStream(queueName()))
		fresh := s.enqueue("fresh")
		s.sleep(testWait)
		if err := cause.Load(); err == nil || *err != ErrLeaseLost { //nolint:errorlint // the very error
			t.Errorf("the running job of the lost stream was stopped with %v", err)
		}
		s.sleep(time.Minute)
		if got := s.kinds(old.Life); got != "" {
			t.Errorf("the lost job has events: %s", got)
		}
		s.checkEnded(fresh.Life)
		if got := st.slots.InHand(); got != 0 {
			t.Errorf("%d in hand", got)
		}
	})
}

// A feed goes on behind the gap that is the operator's, and misses nothing after it.
func TestAFeedGoesOnInTheEventsStreamMadeAnew(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		ctx, stop := context.WithCancel(s.ctx)
		var mu sync.Mutex
		var seen []string
		var failed error
		var feed sync.WaitGroup
		feed.Go(func() {
			for e, err := range s.store.Feed(ctx, time.Time{}) {
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					seen = append(seen, e.ID)
				}
				mu.Unlock()
			}
		})
		s.sleep(time.Second)
		s.station("n", 4, succeed)
		for i := range 200 {
			s.enqueue("before-" + strconv.Itoa(i))
		}
		s.sleep(10 * time.Second)
		s.lose(s.store.names.eventStream())
		for i := range 100 {
			s.enqueue("after-" + strconv.Itoa(i))
		}
		s.sleep(2 * time.Minute)
		stop()
		feed.Wait()
		if failed == nil && len(seen) != 300 {
			t.Errorf("the feed goes on, without an error, and had %d of 300 events", len(seen))
		}
		if failed != nil && len(seen) < 200 {
			t.Errorf("the feed had %d events before it ended: %v", len(seen), failed)
		}
	})
}

// A feed that is made again before anything came misses nothing that was stored meanwhile.
func TestASilentFeedMissesNothing(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		ctx, stop := context.WithCancel(s.ctx)
		var seen atomic.Int64
		var feed sync.WaitGroup
		feed.Go(func() {
			for _, err := range s.store.Feed(ctx, time.Time{}) {
				if err != nil {
					t.Error(err)
					return
				}
				seen.Add(1)
			}
		})
		s.sleep(time.Second)
		s.removeConsumers(s.store.names.eventStream())
		s.station("n", 4, succeed)
		for i := range 20 {
			s.enqueue(strconv.Itoa(i))
		}
		s.sleep(2 * time.Minute)
		stop()
		feed.Wait()
		if got := seen.Load(); got != 20 {
			t.Errorf("the feed had %d of 20 events", got)
		}
	})
}

// An operator's stream may count from 1 again: that cannot be followed without a gap.
func TestAFeedEndsWhenTheEventsCountFromBelow(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.sleep(time.Second)
		s.lose(s.store.names.eventStream())
		if err := s.store.Open(s.ctx, testQueue); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			var last error
			for _, err := range s.store.Feed(s.ctx, time.Time{}) {
				last = err
			}
			ended <- last
		}()
		s.sleep(time.Second)
		s.lose(s.store.names.eventStream())
		if _, err := s.store.js.CreateStream(s.ctx, s.store.eventsConfig()); err != nil {
			t.Fatal(err)
		}
		s.station("n", 1, succeed)
		s.enqueue("j")
		if err := <-ended; !errors.Is(err, errEventsForgotten) {
			t.Errorf("the feed ended with %v", err)
		}
	})
}

// A feed leaves no consumer behind, however many there were and however they ended.
func TestManyShortFeeds(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i := range 1100 {
			ctx, stop := context.WithTimeout(s.ctx, 20*time.Millisecond)
			for _, err := range s.store.Feed(ctx, time.Time{}) {
				if err != nil {
					t.Fatalf("feed %d: %v", i, err)
				}
			}
			stop()
		}
		s.sleep(time.Second)
		st, err := s.store.js.Stream(s.ctx, s.store.names.eventStream())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.CachedInfo().State.Consumers; got != 0 {
			t.Errorf("%d consumers are left on the stream of events", got)
		}
	})
}

func (s *scene) removeConsumers(stream string) {
	s.t.Helper()
	st, err := s.store.js.Stream(s.ctx, stream)
	if err != nil {
		s.t.Fatalf("look up %s: %v", stream, err)
	}
	for name := range st.ConsumerNames(s.ctx).Name() {
		if err := st.DeleteConsumer(s.ctx, name); err != nil {
			s.t.Fatalf("remove consumer %s: %v", name, err)
		}
	}
}

// Several pullers find their stream missing together: what one of them was handed of the new one
// stays its own when another says that the old one is gone.
func TestLeasesOfTheNewStreamStay(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		old, err := s.store.ensureConsumer(s.ctx, queueName(), typeName())
		if err != nil {
			t.Fatal(err)
		}
		s.lose(s.store.names.queueStream(queueName()))
		s.sleep(time.Millisecond)
		info, made, err := s.store.client.Ensure(s.ctx, s.store.queueConfig(queueName()))
		if err != nil || !made {
			t.Fatalf("made: %t, %v", made, err)
		}
		fresh, err := s.store.ensureConsumer(s.ctx, queueName(), typeName())
		if err != nil {
			t.Fatal(err)
		}
		s.store.voidLeases(testQueue, info.Created)
		if !old.over.Load() || fresh.over.Load() {
			t.Errorf("leases of the lost stream void: %t, want true; of the new one: %t, want false", old.over.Load(), fresh.over.Load())
		}
	})
}
