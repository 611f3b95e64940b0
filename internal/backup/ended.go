package backup

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// An endedFilter leaves out of a queue what has ended, as its events say: those of the backup, or newer
// ones that were there. What lacks a part of its end is kept, and whoever gets it completes that: so is what
// may still have to be counted in a workflow.
type endedFilter struct {
	store   *queue.Store
	dropped uint64
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

// ended reports whether nothing is left to do of a job.
func (f *endedFilter) ended(ctx context.Context, m *queue.Message, events map[job.Place]*queue.Event) (bool, error) {
	p, err := m.Place()
	if err != nil {
		return false, nil //nolint:nilerr // it has no events
	}
	last := events[p]
	if last == nil || last.Life != m.Life || !last.Kind.Final() || !m.UniqueUntil.IsZero() || m.InWorkflow() {
		return false, nil
	}
	if last.Kind != job.EventDead {
		return true, nil
	}
	record, err := f.store.DeadRecord(ctx, p)
	if errors.Is(err, stream.ErrNotFound) {
		return false, nil
	}
	return err == nil && record.Life == m.Life, err
}

// messageOf is a message as a stream has it.
func messageOf(e *entry) *stream.Message {
	return stream.Stored(e.Name, e.Sequence, e.Timestamp, e.body[:e.HeaderSize], e.body[e.HeaderSize:])
}
