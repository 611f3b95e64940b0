package queue

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/millhand/millhand/internal/job"
)

// waitingSample is how many waiting jobs are looked at to learn which types wait: all of
// a short queue, random places of a long one, since the broker cannot list types.
const waitingSample = 32

// WaitingTypes returns types of which jobs are ready in a queue, sorted. Of a long
// queue it is a sample.
func (s *Store) WaitingTypes(ctx context.Context, queue string) ([]string, error) {
	name, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	info, err := s.client.Info(ctx, s.names.queueStream(name))
	if err != nil {
		return nil, err
	}
	state := info.State
	types := make(map[string]bool)
	from := state.FirstSeq + 1 // behind the pin
	for range waitingSample {
		m, err := s.client.Next(ctx, info.Config.Name, s.names.allReady(name), from)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		if r, ok := s.names.parseJobSubject(m.Subject); ok && job.CheckType(r.Type) == nil {
			types[r.Type] = true
		}
		from = m.Seq + 1
		if left := state.LastSeq - min(m.Seq, state.LastSeq); left > waitingSample {
			from += rand.Uint64N(left / 2)
		}
	}
	return slices.Sorted(maps.Keys(types)), nil
}
