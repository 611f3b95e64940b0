package bulk

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// What becomes of jobs.
const (
	Retried      = "retried"
	Deleted      = "deleted"
	StartedEarly = "started_early"
	Moved        = "moved"
	BeforeStart  = "before_start"
	WhileRunning = "while_running" // its handler was told; the end is not waited for
	ByBroker     = "by_broker"     // workers did not answer: the order is stored, and holds
)

// Why jobs are refused.
const (
	Alive        = "alive"         // another job has the id
	Gone         = "gone"          // the record is, or the job is not known any more
	AlreadyEnded = "already_ended" // by itself, or by somebody else
	AlreadyDue   = "already_due"
	Changed      = "changed" // it is not as it was seen: it ran meanwhile, or was moved
	Invalid      = "invalid" // it cannot run as it is
)

// refusal returns an error of the broker's as a [*RefusedError] if it is one.
func refusal(err error) error {
	_, duplicate := errors.AsType[*queue.DuplicateError](err)
	_, ended := errors.AsType[*queue.FinishedError](err)
	_, invalid := errors.AsType[*job.InvalidError](err)
	switch {
	case err == nil:
		return nil
	case duplicate:
		return &RefusedError{Alive}
	case ended:
		return &RefusedError{AlreadyEnded}
	case invalid:
		return &RefusedError{Invalid}
	case errors.Is(err, queue.ErrNotFound):
		return &RefusedError{Gone}
	case errors.Is(err, queue.ErrChanged):
		return &RefusedError{Changed}
	case errors.Is(err, queue.ErrNotScheduled):
		return &RefusedError{AlreadyDue}
	}
	return err
}

func placeOf(j *view.Job) (job.Place, error) { return job.PlaceOf(j.Queue, j.Type, j.ID) }

// A Retrier has dead jobs run again, each from the record that was seen.
type Retrier struct {
	Store *queue.Store
	How   queue.Revival
}

// Act implements [Action].
func (r *Retrier) Act(ctx context.Context, j *view.Job) (string, error) {
	p, err := placeOf(j)
	if err == nil {
		_, err = r.Store.Requeue(ctx, p, j.Life, j.Seq, r.How)
	}
	return Retried, refusal(err)
}

// A Deleter removes the records of dead jobs.
type Deleter struct{ Store *queue.Store }

// Act implements [Action].
func (d *Deleter) Act(ctx context.Context, j *view.Job) (string, error) {
	return Deleted, refusal(d.Store.RemoveDead(ctx, j.Seq))
}

// A Starter moves jobs that wait for their time.
type Starter struct {
	Store *queue.Store
	At    time.Time // zero: now
}

// Act implements [Action].
func (s *Starter) Act(ctx context.Context, j *view.Job) (string, error) {
	outcome := Moved
	if s.At.IsZero() {
		outcome = StartedEarly
	}
	p, err := placeOf(j)
	if err == nil {
		err = s.Store.MoveSeen(ctx, p, j.Life, j.Seq, s.At)
	}
	return outcome, refusal(err)
}

// A Canceller ends jobs that are alive.
type Canceller struct {
	Store  *queue.Store
	Orders queue.Orders
	Order  job.Order // of no job: grace, reason and by whom
}

// Act implements [Action]. The order is about the life that was seen; one that has run since then, and
// waits again, is left alone.
func (c *Canceller) Act(ctx context.Context, j *view.Job) (string, error) {
	p, err := placeOf(j)
	if err != nil {
		return "", refusal(err)
	}
	m, err := c.Store.Find(ctx, p)
	switch {
	case errors.Is(err, queue.ErrNotFound): // the cancel finds out how it has ended
	case err != nil:
		return "", err
	case j.Seq > 0 && m.Seq != j.Seq:
		return "", &RefusedError{Changed}
	}
	o := c.Order
	o.Queue, o.Type, o.ID, o.Lives, o.At = j.Queue, j.Type, j.ID, []string{j.Life}, time.Now().UTC()
	done, err := c.Store.Cancel(ctx, &o, c.Orders)
	switch {
	case done.Worker != "":
		return WhileRunning, refusal(err)
	case len(done.Unanswered) > 0:
		return ByBroker, refusal(err)
	}
	return BeforeStart, refusal(err)
}
