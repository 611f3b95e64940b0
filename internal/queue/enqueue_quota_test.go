package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// below enqueues a job unless limit of its type are alive.
func (s *scene) below(id string, limit int, once bool) error {
	r := s.record(id)
	return s.store.Enqueue(s.ctx, enqueueOf(r, once, limit))
}

func isFull(err error, running, limit int) bool {
	q, ok := errors.AsType[*QuotaError](err)
	return ok && q.Running == running && q.Limit == limit && q.Type == testType
}

func TestRefuse(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("a")
		for i := range 3 {
			if err := s.below(fmt.Sprint("job-", i), 3, false); err != nil {
				t.Fatalf("job %d: %v", i, err)
			}
		}
		if err := s.below("job-4", 3, false); !isFull(err, 3, 3) {
			t.Errorf("one too many: %v", err)
		}
		if err := s.below("job-0", 9, true); err == nil || isFull(err, 3, 9) {
			t.Errorf("a living id: %v, want a duplicate", err)
		}
		if err := s.below("job-0", 3, true); err == nil || isFull(err, 3, 3) {
			t.Errorf("a living id at the limit: %v, want a duplicate", err)
		}
		h := n.pull()
		if err := s.below("job-5", 3, false); !isFull(err, 3, 3) {
			t.Errorf("while one runs: %v", err)
		}
		if err := n.settle(h, Outcome{Kind: "retrying", Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the ack is not confirmed
		if err := s.below("job-6", 3, false); !isFull(err, 3, 3) {
			t.Errorf("while one waits for its next attempt: %v", err)
		}
		if err := n.settle(n.pull(), Outcome{Kind: "succeeded"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if err := s.below("job-7", 3, true); err != nil {
			t.Errorf("after one has ended: %v", err)
		}
	})
}

// Any number ask at once, with and without an id of their own, and only as many as the limit get in.
func TestRefuseRace(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const callers, limit = 60, 5
		results := make([]error, callers)
		var group errgroup.Group
		for i := range callers {
			e := enqueueOf(s.record(fmt.Sprint("job-", i)), i%2 == 0, limit)
			group.Go(func() error {
				results[i] = s.store.Enqueue(s.ctx, e)
				return nil
			})
		}
		_ = group.Wait()
		in := 0
		for i, err := range results {
			switch {
			case err == nil:
				in++
			case !isFull(err, limit, limit):
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if in != limit || len(s.waiting()) != limit {
			t.Errorf("%d got in, %d are there, want %d", in, len(s.waiting()), limit)
		}
	})
}

// A long queue is not counted job by job.
func TestRefuseRoughly(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i := range 50 {
			s.enqueue(fmt.Sprint("job-", i))
		}
		time.Sleep(time.Millisecond) // the consumer counts them a moment after they are stored
		if err := s.below("one-more", 3, false); !isFull(err, 50, 3) {
			t.Errorf("%v, want a quota reached by 50", err)
		}
	})
}

// Neither jobs that wait for their time nor holds make counting long: no more is read than is
// counted, whatever else there is.
func TestRefuseBesideManyThatWait(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const many, limit = 3000, 3
		for i := range 20 {
			s.hold(fmt.Sprint("held-", i), "gone", time.Now().Add(time.Hour))
		}
		for i := range limit - 1 {
			s.enqueueLater(fmt.Sprint("few-", i), time.Hour)
		}
		if err := s.below("fits", limit, false); err != nil {
			t.Fatalf("beside holds: %v", err)
		}
		batch := make([]Enqueue, many)
		for i := range batch {
			batch[i] = s.delayed(fmt.Sprint("job-", i), time.Hour)
		}
		for i, err := range s.store.EnqueueMany(s.ctx, batch) {
			if err != nil {
				t.Fatalf("batch[%d]: %v", i, err)
			}
		}
		before := s.store.nc.Stats().InMsgs
		if err := s.below("one-more", limit, false); !isFull(err, countExactly*(limit+1), limit) {
			t.Errorf("%v, want a quota reached", err)
		}
		if got := s.store.nc.Stats().InMsgs - before; got > 100 {
			t.Errorf("the broker sent %d messages to count up to %d jobs", got, limit)
		}
	})
}
