package backup

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// buriedWithin is how long after its death a job has its record. One that has none then had it removed, or was
// retried.
const buriedWithin = 2 * time.Minute

// An endedFilter leaves out of a queue what has ended, as its events say: those of the backup, or newer
// ones that were there. Such a job does not run again. What lacks a part of its end is kept until that is
// completed: its id may have to stay taken, and a workflow to count it.
type endedFilter struct {
	store   *queue.Store
	deadAt  time.Time // as of when the records of dead jobs are
	dropped uint64
	left    []unfinished
}

// An unfinished job has ended, and something is left to do of its end.
type unfinished struct {
	place job.Place
	life  string
}

// keep returns the entries that are to be restored.
func (f *endedFilter) keep(ctx context.Context, batch []*entry) ([]*entry, error) {
	jobs := make(map[*entry]*queue.Message)
	var places []job.Place
	for _, e := range batch {
		m, ok := f.store.ReadMessage(messageOf(e))
		if !ok || m.Life == "" {
			continue
		}
		if p, err := m.Place(); err == nil {
			jobs[e], places = m, append(places, p)
		}
	}
	if len(places) == 0 {
		return batch, nil
	}
	events, err := f.store.LastEvents(ctx, places)
	if errors.Is(err, nats.ErrNoResponders) { // there are none, or none that may be read so
		return batch, nil
	}
	if err != nil {
		return nil, err
	}
	kept := batch[:0]
	for _, e := range batch {
		m := jobs[e]
		if m == nil {
			kept = append(kept, e)
			continue
		}
		ended, err := f.ended(ctx, m, events)
		if err != nil {
			return nil, err
		}
		if ended {
			f.dropped++
			continue
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// ended reports whether nothing is left to do of a job, and notes one of whose end something is.
func (f *endedFilter) ended(ctx context.Context, m *queue.Message, events map[job.Place]*queue.Event) (bool, error) {
	p, err := m.Place()
	if err != nil {
		return false, nil //nolint:nilerr // it has no events
	}
	end := events[p]
	if end != nil && end.Life != m.Life { // the id was used again since
		if end, err = f.store.EndOf(ctx, p, m.Life); err != nil {
			return false, err
		}
	}
	if end == nil || !end.Kind.Final() {
		return false, nil
	}
	complete := m.UniqueUntil.IsZero() && !m.InWorkflow()
	if complete && end.Kind == job.EventDead && end.Time.After(f.deadAt.Add(-buriedWithin)) {
		record, err := f.store.DeadRecord(ctx, p)
		if err != nil && !errors.Is(err, stream.ErrNotFound) {
			return false, err
		}
		complete = err == nil && record.Life == m.Life
	}
	if !complete {
		f.left = append(f.left, unfinished{p, m.Life})
	}
	return complete, nil
}

// atOnce is how many ends are completed at the same time.
const atOnce = 16

// complete does what is left to do of the ends of jobs, once all queues are there: the end of a step starts others.
func (f *endedFilter) complete(ctx context.Context) error {
	var done atomic.Uint64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, u := range f.left {
		g.Go(func() error {
			ended, err := f.store.Complete(ctx, u.place, u.life)
			if err != nil {
				return fmt.Errorf("job %s/%s/%s has ended, and its end could not be completed: it would run again: %w", u.place.Queue, u.place.Type, u.place.ID, err)
			}
			if ended {
				done.Add(1)
			}
			return nil
		})
	}
	err := g.Wait()
	f.dropped += done.Load()
	return err
}

// messageOf is a message as a stream has it.
func messageOf(e *entry) *stream.Message {
	return stream.Stored(e.Name, e.Sequence, e.Timestamp, e.body[:e.HeaderSize], e.body[e.HeaderSize:])
}
