package queue

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// dueGuard is how long before its time a schedule may be removed: later than that the broker may
// have collected it, and fires it all the same.
const dueGuard = time.Second

// LeaveCron ends what was published ahead in a queue of an entry that has since been removed, or has
// another queue, with the revision rev.
func (s *Store) LeaveCron(ctx context.Context, queue, entry string, rev uint64) error {
	q, err := job.QueueName(queue)
	if err != nil {
		return err
	}
	name, err := job.CronName(entry)
	if err != nil {
		return err
	}
	return s.leaveCron(ctx, q, name, rev)
}

func (s *Store) leaveCron(ctx context.Context, queue, entry job.Name, rev uint64) error {
	c, seq, err := s.readCursor(ctx, queue, entry)
	if err != nil || seq == 0 || c.Rev >= rev {
		return err
	}
	if err := s.endTicks(ctx, queue, entry, c); err != nil {
		return err
	}
	return s.client.Remove(ctx, s.names.queueStream(queue), seq)
}

// endTicks ends the jobs that a cursor says were published ahead, since their entry is another one by
// now. One that may be on its way is left: it ends when it is about to start.
func (s *Store) endTicks(ctx context.Context, queue, entry job.Name, c cron.Cursor) error {
	now, err := s.Now(ctx, queue)
	if err != nil {
		return err
	}
	for _, a := range c.Ahead {
		if !a.At.After(now.Add(dueGuard)) {
			continue
		}
		place, err := job.PlaceOf(queue.String(), a.Type, a.ID)
		if err != nil {
			continue // nobody can have published it
		}
		if err := s.endTick(ctx, place, entry.String(), c.Rev); err != nil {
			return err
		}
	}
	return nil
}

// endTick ends the job of a tick that waits for its time. The event comes first: whoever crashes
// after that leaves a job that ends when it is about to start.
func (s *Store) endTick(ctx context.Context, p job.Place, entry string, rev uint64) error {
	m, err := s.Find(ctx, p)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := s.Now(ctx, p.Queue)
	if err != nil {
		return err
	}
	ours := m.Tick != nil && m.RetryOf == "" && m.Tick.Entry == entry && m.Tick.Rev <= rev
	if !ours || m.HasStarted() || !m.RunAt.After(now.Add(dueGuard)) {
		return nil
	}
	if err := s.endWaiting(ctx, p, m, now); err != nil {
		return err
	}
	return s.client.Remove(ctx, s.names.queueStream(p.Queue), m.Seq)
}

// endWaiting writes the end of a job that waits for its time, unless it is written.
func (s *Store) endWaiting(ctx context.Context, p job.Place, m *Message, now time.Time) error {
	for conflicts := (stream.Conflicts{}); ; {
		last, err := s.LastEvent(ctx, p)
		switch {
		case errors.Is(err, ErrNotFound):
			last = new(Event)
		case err != nil:
			return err
		case last.Life == m.Life && last.Kind.Final():
			return nil
		}
		msg, err := s.eventMsg(p, &Event{
			Kind: job.EventCancelled, Life: m.Life, Seq: m.Seq, Time: now.UTC(), Node: s.cfg.Node,
			Attempt: 1, Reason: job.ReasonSuperseded, EnqueuedAt: m.EnqueuedAt.UTC(),
		})
		if err != nil {
			return err
		}
		stream.Expect(msg, last.Sequence, msg.Subject)
		if _, err = s.client.Publish(ctx, msg); !errors.Is(err, stream.ErrConflict) {
			return err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return err
		}
	}
}
