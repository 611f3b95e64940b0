package view

import (
	"context"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// addMessages completes jobs that run with what their messages say.
func (v *View) addMessages(ctx context.Context, rows []row) error {
	places := make([]job.Place, 0, len(rows))
	for i := range rows {
		places = append(places, rows[i].place())
	}
	messages, err := v.cfg.Store.ReadyMessages(ctx, places)
	if err != nil && !cannotRead(err) {
		return err
	}
	for i := range rows {
		j := &rows[i].Job
		m := messages[j.place()]
		if m == nil || j.Life != "" && m.Life != j.Life {
			continue
		}
		running := *j
		j.addRecord(&m.Record)
		j.Seq, j.ReadyAt = m.Seq, m.Stored
		j.State, j.Worker, j.StartedAt, j.Since = running.State, running.Worker, running.StartedAt, running.Since
	}
	return nil
}

// complete reads the last events of jobs that wait, where the filter asks for what only those say.
func (v *View) complete(ctx context.Context, f filter.Filter, rows []row) error {
	if !f.Has(filter.Error) && !f.Has(filter.Reason) && !f.Has(filter.Worker) && !f.Has(filter.Group) {
		return nil
	}
	jobs := make([]*Job, 0, len(rows))
	for i := range rows {
		jobs = append(jobs, &rows[i].Job)
	}
	return v.addEvents(ctx, jobs)
}

// dress adds to the jobs of a page what their last runs ended with.
func (v *View) dress(ctx context.Context, page []Job) error {
	jobs := make([]*Job, 0, len(page))
	for i := range page {
		jobs = append(jobs, &page[i])
	}
	return v.addEvents(ctx, jobs)
}

// addEvents adds what the last events say to jobs that have run before and are not known to have
// failed.
func (v *View) addEvents(ctx context.Context, jobs []*Job) error {
	var places []job.Place
	for _, j := range jobs {
		if j.hasPast() {
			places = append(places, j.place())
		}
	}
	if len(places) == 0 {
		return nil
	}
	events, err := v.cfg.Store.LastEvents(ctx, places)
	if err != nil {
		if cannotRead(err) {
			return nil
		}
		return err
	}
	for _, j := range jobs {
		var e *queue.Event
		if e = events[j.place()]; j.hasPast() && e != nil && e.Life == j.Life {
			worker := j.Worker
			j.addEvent(e)
			if worker != "" {
				j.Worker = worker
			}
		}
	}
	return nil
}

// hasPast reports whether the job is alive and has run before, which only its events tell of.
func (j *Job) hasPast() bool {
	return !j.State.Final() && j.Error == "" && (j.Attempt > 1 || j.Crashes > 0)
}
