package queue

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// await waits in the background.
func (s *scene) await(life string) <-chan awaited {
	done := make(chan awaited, 1)
	go func() {
		e, err := s.store.AwaitFinal(s.ctx, testPlace("a"), life)
		done <- awaited{e, err, time.Now()}
	}()
	return done
}

type awaited struct {
	*Event
	err error
	at  time.Time
}

func TestAwaitReturnsTheEndAtOnce(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.enqueue("a")
		end := s.await(r.Life)
		if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Delay: time.Minute}); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Minute + time.Second)
		h := n.pull()
		select {
		case e := <-end:
			t.Fatalf("returned %+v while the job was alive", e)
		default:
		}
		ended := time.Now()
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded, Result: []byte("7")}); err != nil {
			t.Fatal(err)
		}
		e := <-end
		if e.err != nil || e.Kind != job.EventSucceeded || string(e.Result) != "7" || e.Life != r.Life || e.Attempt != 2 {
			t.Errorf("AwaitFinal = %+v", e)
		}
		if late := e.at.Sub(ended); late > 50*time.Millisecond {
			t.Errorf("returned %v after the end", late)
		}
		if e := <-s.await(r.Life); e.err != nil || string(e.Result) != "7" {
			t.Errorf("asked again: %+v", e)
		}
		if e := <-s.await(""); e.err != nil || string(e.Result) != "7" {
			t.Errorf("asked for the newest: %+v", e)
		}
	})
}

// The end of an earlier life of the id is not this life's.
func TestAwaitIgnoresEarlierLives(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		old := s.enqueue("a")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded, Result: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Millisecond)
		young := s.enqueue("a")
		byLife, newest := s.await(young.Life), s.await("")
		s.sleep(time.Minute)
		select {
		case e := <-byLife:
			t.Fatalf("AwaitFinal = %+v while the job waits", e)
		case e := <-newest:
			t.Fatalf("AwaitFinal of the newest = %+v while it waits", e)
		default:
		}
		if e := <-s.await(old.Life); e.err != nil || string(e.Result) != "1" {
			t.Errorf("the old life: %+v", e)
		}
		if err := n.settle(n.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []<-chan awaited{byLife, newest} {
			if e := <-c; e.err != nil || e.Life != young.Life || e.Reason != job.ReasonPermanent {
				t.Errorf("AwaitFinal = %+v", e)
			}
		}
		if e := <-s.await(old.Life); e.err != nil || string(e.Result) != "1" {
			t.Errorf("the old life, after the young one: %+v", e)
		}
	})
}

func TestAwaitOfNobody(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for _, life := range []string{"", "never"} {
			if e := <-s.await(life); !errors.Is(e.err, ErrNotFound) {
				t.Errorf("life %q: %+v", life, e)
			}
		}
		r := s.enqueue("a")
		if e := <-s.await("never"); !errors.Is(e.err, ErrNotFound) {
			t.Errorf("a life that the id never had: %+v", e)
		}
		ctx, cancel := context.WithCancelCause(s.ctx)
		why := errors.New("enough")
		time.AfterFunc(5*time.Second, func() { cancel(why) })
		if _, err := s.store.AwaitFinal(ctx, testPlace("a"), r.Life); !errors.Is(err, why) {
			t.Errorf("with a context that ended: %v", err)
		}
	})
}

// Retention has dropped the event: whoever waits is told that nothing is known any more.
func TestAwaitAfterRetention(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.enqueue("a")
		end := s.await(r.Life)
		s.sleep(time.Second)
		h := n.pull()
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		if e := <-end; e.err != nil {
			t.Errorf("AwaitFinal = %+v", e)
		}
		events, err := s.store.js.Stream(s.ctx, s.store.names.eventStream())
		if err != nil {
			t.Fatal(err)
		}
		if err := events.Purge(s.ctx); err != nil {
			t.Fatal(err)
		}
		if got := len(s.events()); got != 0 {
			t.Fatalf("%d lives are still told of", got)
		}
		if e := <-s.await(r.Life); !errors.Is(e.err, ErrNotFound) {
			t.Errorf("after retention: %+v", e)
		}
	})
}

// Await outlives a broker that goes and comes.
func TestAwaitAcrossAnOutage(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.enqueue("a")
		end := s.await(r.Life)
		h := n.pull()
		s.server.Stop()
		s.sleep(10 * time.Second)
		s.server.Start(t)
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		if e := <-end; e.err != nil || e.Kind != job.EventSucceeded {
			t.Errorf("AwaitFinal = %+v", e)
		}
	})
}
