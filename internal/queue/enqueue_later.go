package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// maxYearsAhead is how far ahead a job may be due: the broker counts nanoseconds since 1970.
const maxYearsAhead = 10

// schedule decides when a job is due, and so whether it waits, and until when its id stays taken, by
// the broker's clock. A time that has come is no wait. The broker's time is waited for as long as
// alive returns nil.
func (s *Store) schedule(ctx context.Context, e *Enqueue, alive func() error) error {
	if e.Delay <= 0 && e.RunAt.IsZero() && e.UniqueFor == 0 {
		return nil
	}
	now, err := s.awaitNow(ctx, e.place.Queue, alive)
	if err != nil {
		return errNoClock(err)
	}
	due := e.RunAt
	if due.IsZero() {
		due = now.Add(max(e.Delay, 0))
	}
	if err := checkDue(due, now); err != nil {
		return err
	}
	e.Record.Due, e.Record.EnqueuedAt = time.Time{}, time.Time{}
	from := now
	if due.After(now) {
		e.Record.Due, e.Record.EnqueuedAt, from = due, now, due
	}
	if e.UniqueFor == 0 {
		return nil
	}
	e.Record.UniqueUntil = from.Add(e.UniqueFor)
	return s.Require(ctx, e.place.Queue)
}

// scheduleAll is schedule of a batch, before any of it is sent. What is the matter with one queue is
// found out once, and not by each of its jobs.
func (s *Store) scheduleAll(ctx context.Context, batch []Enqueue, errs []error) {
	alive := s.patience()
	var failed map[queueNeed]error
	for i := range batch {
		need := needOf(&batch[i])
		if err := failed[need]; err != nil {
			errs[i] = err
			continue
		}
		errs[i] = s.schedule(ctx, &batch[i], alive)
		if _, invalid := errors.AsType[*job.InvalidError](errs[i]); errs[i] == nil || invalid {
			continue
		}
		if failed == nil {
			failed = make(map[queueNeed]error)
		}
		failed[need] = errs[i]
	}
}

// A queueNeed is what the schedule of a job asks of its queue.
type queueNeed struct {
	queue        job.Name
	clock, holds bool
}

func needOf(e *Enqueue) queueNeed {
	holds := e.UniqueFor > 0
	return queueNeed{e.place.Queue, holds || e.Delay > 0 || !e.RunAt.IsZero(), holds}
}

// awaitNow is Now for a caller that waits for a broker that is away.
func (s *Store) awaitNow(ctx context.Context, queue job.Name, alive func() error) (time.Time, error) {
	for pause := stream.RetryPause; ; pause = min(2*pause, stream.MaxRetryPause) {
		now, err := s.Now(ctx, queue)
		if err == nil || Hopeless(err) || ctx.Err() != nil || alive() != nil {
			return now, err
		}
		if err := stream.Sleep(ctx, pause); err != nil {
			return now, err
		}
	}
}

// checkDue returns a [*job.InvalidError] for a time that is too far ahead.
func checkDue(due, now time.Time) error {
	if due.After(now.AddDate(maxYearsAhead, 0, 0)) {
		return job.Invalid("time", due.UTC().Format(time.RFC3339), "at most %d years ahead", maxYearsAhead)
	}
	return nil
}

// errNoClock is what an enqueue ends with that needs the broker's time and does not get it.
func errNoClock(err error) error {
	return fmt.Errorf("%w: %w", ErrNotSent, err)
}
