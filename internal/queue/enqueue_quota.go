package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A QuotaError says that as many jobs of a type are alive in a queue as may run at once.
type QuotaError struct {
	Queue, Type    string
	Limit, Running int
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%s quota reached (%d of %d running)", e.Type, e.Running, e.Limit)
}

// countExactly is how many times its limit a type may have before it is not counted on: counting
// costs the broker as much as there are jobs.
const countExactly = 4

// enqueueBelow stores a job if fewer than e.Below of its type are alive in its queue: ready,
// waiting for their time, or running. Else it returns a [*QuotaError].
//
// It reads the type's last sequence, counts, and publishes on the condition that this
// sequence is the last one still. So no job came that was not counted, but for those whose
// publishers do not check the type: on a cluster, where two checks in flight see each other
// only if they are the same, and for successors, which are counted jobs.
//
// The id has to be looked at as well, and a message has one condition. The type's covers the
// id's: a job of that id is one of the type. So it is looked at after the sequence was read.
func (s *Store) enqueueBelow(ctx context.Context, e Enqueue, alive func() error) error {
	m, err := s.enqueueMsg(e)
	if err != nil {
		return err
	}
	for mayBeThere := e.Once; ; mayBeThere = true {
		seq, err := s.lastOfType(ctx, e.place, alive)
		if err != nil {
			return err
		}
		if mayBeThere {
			if err := s.resolveConflict(ctx, e); !errors.Is(err, ErrNotFound) { // nil: it is stored, and the answer was lost
				return err
			}
		}
		if err := s.belowLimit(ctx, e.place, e.Below, seq); err != nil {
			return err
		}
		stream.Expect(m, seq, s.names.checkType(e.place.Queue, e.place.Type))
		_, err = s.confirm(ctx, m, alive)
		if !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// lastOfType returns the last sequence of its type, 0 if there is none. A queue that has no
// stream yet gets one.
func (s *Store) lastOfType(ctx context.Context, p job.Place, alive func() error) (uint64, error) {
	m, err := stream.RetryRead(ctx, alive, func(ctx context.Context) (*stream.Message, error) {
		return s.client.Last(ctx, s.names.queueStream(p.Queue), s.names.checkType(p.Queue, p.Type))
	})
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Seq, nil
}

// belowLimit returns a [*QuotaError] if limit jobs of its type are alive, of those that were stored up
// to a sequence.
func (s *Store) belowLimit(ctx context.Context, p job.Place, limit int, upTo uint64) error {
	ctx, cancel := context.WithTimeout(ctx, stream.SetupTimeout)
	defer cancel()
	most := countExactly * (max(limit, 0) + 1)
	n, err := s.roughly(ctx, p)
	if err == nil && n < most {
		n, err = s.countAlive(ctx, p, most, upTo)
	}
	if err != nil {
		return wrap(err, "count jobs of type %s", p.Type)
	}
	if n >= limit {
		return &QuotaError{Queue: p.Queue.String(), Type: p.Type.String(), Limit: limit, Running: n}
	}
	return nil
}

// roughly returns how many messages of its type are ready or running. A job that is on
// its way from one message to the next is counted twice.
func (s *Store) roughly(ctx context.Context, p job.Place) (int, error) {
	c, err := s.client.Consumer(ctx, s.names.queueStream(p.Queue), p.Type.String())
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil // nobody has ever handled the type
	}
	if err != nil {
		return 0, err
	}
	info := c.CachedInfo()
	return int(info.NumPending) + info.NumAckPending, nil //nolint:gosec // fewer than fit into memory
}

// countAlive returns how many jobs of its type are alive in its queue, and no more than most: ids, not
// messages, of those that were stored up to a sequence. It reads as many as it counts, however many
// there are.
func (s *Store) countAlive(ctx context.Context, p job.Place, most int, upTo uint64) (int, error) {
	ids := make(map[string]bool)
	for _, subject := range []string{s.names.readyOf(p.Queue, p.Type), s.names.laterOf(p.Queue, p.Type)} {
		what := stream.Scan{Subject: subject, UpTo: upTo, Page: most}
		for m, err := range s.client.Scan(ctx, s.names.queueStream(p.Queue), what) {
			if err != nil {
				return 0, err
			}
			ids[m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]] = true
			if len(ids) == most {
				return most, nil
			}
		}
	}
	return len(ids), nil
}
