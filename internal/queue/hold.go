package queue

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A Hold keeps the id of a job taken after that has ended.
type Hold struct {
	Life  string // of the job
	Seq   uint64
	Until time.Time // zero: for ever, since whoever made it gave no time
}

func holdOf(m *stream.Message) *Hold {
	h := &Hold{Life: m.Header.Get(job.HeaderLife), Seq: m.Seq}
	h.Until, _ = cutSchedule(m.Header.Get(stream.HeaderSchedule))
	return h
}

// holdMsg is a message that the check of an id covers until a time: then the broker moves it to where
// only the latest of all holds stays.
func (s *Store) holdMsg(p job.Place, life string, until time.Time) *nats.Msg {
	return &nats.Msg{Subject: s.names.once(p), Header: nats.Header{
		job.HeaderLife:              {life},
		stream.HeaderSchedule:       {schedule(until)},
		stream.HeaderTarget:         {s.names.spent(p.Queue)},
		stream.HeaderScheduleRollup: {"sub"},
	}}
}

// keepsIDs reports whether the stream of a queue has room for holds. Where it has not, that was
// logged, with what to do.
func (s *Store) keepsIDs(queue job.Name) bool {
	lacking, _ := s.lacks(s.names.queueStream(queue))
	return lacking == nil
}

// Release frees an id that is kept taken after its job has ended. It returns [ErrNotFound] if that is
// not so, or the hold is of another life than the one given, unless that is empty.
//
// What is still there of that life lacks only the ack, and whoever came to write that would keep the
// id again. So it goes first.
func (s *Store) Release(ctx context.Context, p job.Place, life string) error {
	name := s.names.queueStream(p.Queue)
	m, err := s.client.Last(ctx, name, s.names.once(p))
	if err != nil {
		return err
	}
	hold := holdOf(m)
	if life != "" && hold.Life != life {
		return ErrNotFound
	}
	for {
		left, err := s.Find(ctx, p)
		if errors.Is(err, ErrNotFound) || err == nil && left.Life != hold.Life {
			break
		}
		if err != nil {
			return err
		}
		fired, err := s.letFire(ctx, p, left) // what is made ready takes what waits under its id with it
		if err == nil && !fired {
			err = s.client.Remove(ctx, name, left.Seq)
		}
		if err != nil {
			return wrap(err, "remove what is left of job %s", p.ID)
		}
	}
	return wrap(s.client.Remove(ctx, name, hold.Seq), "free id %s", p.ID)
}
