package queue

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// How waiting jobs are looked at to learn which types wait, since the broker cannot list types.
const (
	waitingSample = 32     // jobs of a short queue, and messages of a long one
	waitingRun    = 8      // messages of a long queue that are looked at one behind the other
	longQueue     = 20_000 // messages, of more the broker goes through for too long
	waitingEvery  = 6      // looks at a long queue: each has the broker read a few blocks of messages
)

// WaitingTypes returns types of which jobs are ready in a queue, sorted: of a short queue all,
// but for types of which there are hundreds of times fewer jobs than of others; of a long queue those
// that were found at its ends and in between.
func (s *Store) WaitingTypes(ctx context.Context, queue string) ([]string, error) {
	name, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	info, err := s.client.Info(ctx, s.names.queueStream(name))
	if err != nil {
		return nil, err
	}
	return s.waitingTypes(ctx, name, info)
}

func (s *Store) waitingTypes(ctx context.Context, name job.Name, info *jetstream.StreamInfo) ([]string, error) {
	sample := typesSample{store: s, stream: info.Config.Name, types: make(map[string]bool)}
	look := sample.short
	if info.State.Msgs > longQueue {
		look = sample.long
	}
	if err := look(ctx, s.names.allReady(name), info.State); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(sample.types)), nil
}

// A typesSample is what was found of the types in a stream.
type typesSample struct {
	store  *Store
	stream string
	types  map[string]bool
	ready  int // messages that were found to be
}

// short looks at jobs that are ready.
func (t *typesSample) short(ctx context.Context, ready string, state jetstream.StreamState) error {
	from := state.FirstSeq + 1 // behind the pin
	for range waitingSample {
		seq, err := t.look(ctx, ready, from)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		from = seq + 1
		if left := state.LastSeq - min(seq, state.LastSeq); left > waitingSample {
			from += rand.Uint64N(left / 2)
		}
	}
	return nil
}

// long looks at messages of whichever kind, so that the broker does not go through those in between,
// which holds up all who write. What nobody handles gathers at the head. If hardly any message is
// that of a ready job, the broker finds the first one by its index, which costs by how many are ready.
func (t *typesSample) long(ctx context.Context, ready string, state jetstream.StreamState) error {
	span := state.LastSeq - min(state.FirstSeq, state.LastSeq) + 1
	places := []uint64{state.FirstSeq + 1, state.FirstSeq + rand.Uint64N(span), state.FirstSeq + rand.Uint64N(span), state.LastSeq - waitingRun + 1}
	for _, from := range places {
		for range waitingRun {
			seq, err := t.look(ctx, ">", from)
			if errors.Is(err, ErrNotFound) {
				break
			}
			if err != nil {
				return err
			}
			from = seq + 1
		}
	}
	if t.ready > 1 {
		return nil
	}
	_, err := t.look(ctx, ready, 0)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// look notes the type of the first message from a sequence on, if it is that of a ready job.
func (t *typesSample) look(ctx context.Context, filter string, from uint64) (seq uint64, err error) {
	m, err := t.store.client.Next(ctx, t.stream, filter, from)
	if err != nil {
		return 0, err
	}
	if r, ok := t.store.names.parseJobSubject(m.Subject); ok && job.CheckType(r.Type) == nil && t.store.names.isReady(m.Subject) {
		t.types[r.Type] = true
		t.ready++
	}
	return m.Seq, nil
}
