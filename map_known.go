package millhand

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// skipKnown has jobs awaited that an earlier map of the name has enqueued, and returns the rest.
func (m *mapping[T, R]) skipKnown(jobs []*enqueueOptions, items []*mapItem[T, R]) ([]*enqueueOptions, []*mapItem[T, R]) {
	lives, err := m.client.livesToAwait(m.ctx, jobs)
	restJobs, rest := jobs[:0], items[:0]
	for n, it := range items {
		switch life := lives[n]; {
		case err != nil:
			m.end(it, publicError(err))
		case life != "":
			it.done.Ref = refOf(&jobs[n].Record)
			it.done.Ref.Life = life
			m.background.Go(func() { m.await(it) })
		default:
			restJobs, rest = append(restJobs, jobs[n]), append(rest, it)
		}
	}
	return restJobs, rest
}

// livesToAwait returns which life of each of these ids has succeeded, died or is alive as far as its
// events tell: empty for one without events, or whose last life was cancelled.
func (c *Client) livesToAwait(ctx context.Context, jobs []*enqueueOptions) ([]string, error) {
	lives := make([]string, len(jobs))
	places := make([]job.Place, len(jobs))
	for n, o := range jobs {
		var err error
		if places[n], err = o.Place(); err != nil {
			return lives, err
		}
	}
	events, err := c.lastEvents(ctx, places)
	for n, p := range places {
		if e := events[p]; e != nil && e.Kind != job.EventCancelled {
			lives[n] = e.Life
		}
	}
	return lives, err
}

// lastEvents returns the last events of ids, one by one where they cannot be read together: there is
// no stream of events yet, or it is of an earlier version.
func (c *Client) lastEvents(ctx context.Context, places []job.Place) (map[job.Place]*queue.Event, error) {
	events, err := c.store.LastEvents(ctx, places)
	if !errors.Is(err, nats.ErrNoResponders) {
		return events, err
	}
	events = make(map[job.Place]*queue.Event)
	for _, p := range places {
		e, err := c.store.LastEvent(ctx, p)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			return events, err
		}
		events[p] = e
	}
	return events, nil
}
