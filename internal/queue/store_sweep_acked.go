package queue

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// removeAcked looks at some of the consumers for messages that they were told to remove.
func (w *Sweeper) removeAcked(ctx context.Context, info *jetstream.StreamInfo) error {
	acked := w.acked
	w.acked = make(map[uint64]bool)
	n := min(sweepTypes, len(w.types))
	for i := range n {
		if err := w.removeAckedOf(ctx, w.types[(w.next+i)%len(w.types)], acked, info); err != nil {
			return err
		}
	}
	if len(w.acked) == 0 { // else the same are looked at again
		w.next += n
	}
	return nil
}

func (w *Sweeper) removeAckedOf(ctx context.Context, typ job.Name, before map[uint64]bool, info *jetstream.StreamInfo) error {
	s := w.store
	queue := s.names.queueStream(w.queue)
	c, err := s.client.Consumer(ctx, queue, typ.String())
	if err != nil {
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil
		}
		return err
	}
	consumer := c.CachedInfo()
	floor := consumer.AckFloor.Stream
	from, ok := w.ackedFrom(typ, consumer, info, len(before) > 0)
	if !ok {
		return nil
	}
	for range sweepFinished {
		m, err := s.client.Next(ctx, queue, s.names.readyOf(w.queue, typ), from)
		if errors.Is(err, ErrNotFound) || err == nil && m.Seq > floor {
			return nil
		}
		if err != nil {
			return err
		}
		from = m.Seq + 1
		if !before[m.Seq] { // its removal may be on its way
			w.acked[m.Seq] = true
			continue
		}
		if err := w.settleAcked(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// What the broker takes to find the first message of a type, in µs: by its index of subjects a tenth for
// each that is ready, and two for each that it goes through.
const (
	findIndexed = 10 // jobs in a µs
	findThrough = 2
	findCheap   = 2_000
)

// ackedFrom returns from where the broker is asked for the first message of a type that is not above the
// consumer's floor: from 0 it goes by its index, and else through the stream. It is not asked where
// there can be none; where both cost much only once an hour, or again where some were found.
func (w *Sweeper) ackedFrom(typ job.Name, c *jetstream.ConsumerInfo, info *jetstream.StreamInfo, again bool) (from uint64, ok bool) {
	first, floor := info.State.FirstSeq, c.AckFloor.Stream
	if floor < first { // which is the pin
		return 0, false
	}
	indexed := (c.NumPending + uint64(max(c.NumAckPending, 0))) / findIndexed
	through := findThrough * min(floor-first, info.State.Msgs)
	if indexed > through {
		from = first + 1
	}
	if min(indexed, through) <= findCheap || again {
		return from, true
	}
	if info.TimeStamp.Sub(w.found[typ]) < goesThrough {
		return 0, false
	}
	w.found[typ] = info.TimeStamp
	return from, true
}

// settleAcked removes a message of which the consumer says that it was acknowledged. If nothing
// says what became of the job it was not, whatever the consumer says, and the job runs.
func (w *Sweeper) settleAcked(ctx context.Context, m *stream.Message) error {
	s := w.store
	r, ok := s.names.parseJobSubject(m.Subject)
	if !ok {
		return nil
	}
	p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
	if err != nil {
		return nil //nolint:nilerr // it is buried under a name of ours, and its removal is not worth a second way
	}
	over, err := w.isOver(ctx, p, m)
	if err != nil {
		return err
	}
	if !over {
		again := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
		for k, v := range m.Header {
			if !ofTheBroker(k) {
				again.Header[k] = v
			}
		}
		again.Header[job.HeaderLife] = []string{lifeIn(m)}
		stream.Expect(again, m.Seq, s.names.check(p))
		if _, err := s.client.Publish(ctx, again); err != nil {
			if errors.Is(err, stream.ErrConflict) {
				return nil
			}
			return err
		}
	}
	if err := s.client.Remove(ctx, s.names.queueStream(w.queue), m.Seq); err != nil {
		return err
	}
	w.log.WarnContext(ctx, "the broker still had the message of a job that nobody would have been handed: removed it",
		slog.String("id", r.ID), slog.String("type", r.Type), slog.Bool("runs_again", !over))
	return nil
}

// isOver reports whether the life of m has ended, or goes on in a newer message.
func (w *Sweeper) isOver(ctx context.Context, p job.Place, m *stream.Message) (bool, error) {
	newest, err := w.store.Find(ctx, p)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	case newest.Seq > m.Seq:
		return true, nil
	}
	return w.hasEnded(ctx, p, m)
}

// hasEnded reports whether the life of m has, by the last event of its id.
func (w *Sweeper) hasEnded(ctx context.Context, p job.Place, m *stream.Message) (bool, error) {
	last, err := w.store.LastEvent(ctx, p)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && last.Life == lifeIn(m) && last.Kind.Final(), err
}
