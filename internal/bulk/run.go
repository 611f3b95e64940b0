package bulk

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/view"
)

// An Action is done to jobs.
type Action interface {
	// Act does it to a job that is still as it was seen, and returns what became of it. A [*RefusedError]
	// says that nothing was done, any other error that it may have been.
	Act(ctx context.Context, j *view.Job) (outcome string, err error)
}

// finishWithin is how long what is in flight has once the operation is to stop.
const finishWithin = 10 * time.Second

// Run acts on the jobs that are meant, and tells of its progress if tell is not nil, which must not
// take long. If ctx ends, what is in flight is finished. The report is of what was done in any case; with
// an error its cursor says where to go on.
func Run(ctx context.Context, l Lister, op Operation, a Action, pace *Pace, tell func(Report)) (Report, error) {
	from, err := op.start()
	if err != nil {
		return newTally(nil).sum, err
	}
	r := &run{lister: l, action: a, pace: pace, tally: newTally(tell), at: from, inFlight: make(chan struct{}, actInFlight)}
	err = r.pages(ctx, op)
	r.tally.sum.Cursor = ""
	if !r.ended {
		r.tally.sum.Cursor = r.at.String()
	}
	return r.tally.sum, err
}

type run struct {
	lister Lister
	action Action
	pace   *Pace
	tally  *tally

	at       place // where the page begins that is acted on
	ended    bool  // there is no more behind
	inFlight chan struct{}
}

// A step is a page and where the one behind it begins.
type step struct {
	page *view.Page
	err  error
}

// pages acts on one page after the other. The next one is read meanwhile.
func (r *run) pages(ctx context.Context, op Operation) error {
	work, cancel := cutOff(ctx)
	defer cancel()
	var acting, reading sync.WaitGroup
	defer acting.Wait() // before cancel
	steps := make(chan step)
	read, stop := context.WithCancel(ctx)
	defer reading.Wait()
	defer stop()
	reading.Go(func() { r.read(read, op, r.at, steps) })
	for s := range steps {
		if s.err != nil {
			return s.err
		}
		for i := range s.page.Jobs {
			if err := r.next(ctx); err != nil {
				return err
			}
			acting.Go(func() {
				defer func() { <-r.inFlight }()
				j := &s.page.Jobs[i]
				outcome, err := r.action.Act(work, j)
				r.tally.note(j, outcome, err)
			})
		}
		r.at.cursor = s.page.Cursor
		r.ended = s.page.Cursor == ""
	}
	acting.Wait()
	if r.ended {
		return nil
	}
	return context.Cause(ctx) // nil: the limit is reached
}

// read sends pages until there are no more, or as many jobs as are wanted.
func (r *run) read(ctx context.Context, op Operation, from place, steps chan<- step) {
	defer close(steps)
	q := view.Query{Filter: op.Filter, Before: from.before, Cursor: from.cursor, Search: true}
	for taken := 0; op.Limit == 0 || taken < op.Limit; {
		q.N = actAtOnce
		if op.Limit > 0 {
			q.N = min(q.N, op.Limit-taken)
		}
		page, err := r.lister.List(ctx, q)
		if err == nil && len(page.Jobs) > q.N { // ids that are named are all on one page
			page.Jobs = page.Jobs[:q.N]
		}
		select {
		case steps <- step{page, err}:
		case <-ctx.Done():
			return
		}
		if err != nil || page.Cursor == "" {
			return
		}
		taken += len(page.Jobs)
		q.Cursor = page.Cursor
	}
}

// next waits for the turn of the next job.
func (r *run) next(ctx context.Context) error {
	if err := r.tally.hopeless(); err != nil {
		return err
	}
	if err := r.pace.wait(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	select {
	case r.inFlight <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cutOff returns a context that goes on a while after ctx has ended.
func cutOff(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(finishWithin, cancel) })
	return work, func() {
		stop()
		cancel()
	}
}
