package queue

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/nats-io/nats.go"
)

// storeTogether stores all messages or none, and returns the sequence of the last one.
func (s *Store) storeTogether(ctx context.Context, msgs []*nats.Msg) (last uint64, err error) {
	id := strconv.FormatUint(rand.Uint64(), 36)
	for i, m := range msgs {
		m.Header["Nats-Batch-Id"] = []string{id}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i < len(msgs)-1 {
			if err := s.nc.PublishMsg(m); err != nil {
				return 0, err
			}
		}
	}
	commit := msgs[len(msgs)-1]
	commit.Header["Nats-Batch-Commit"] = []string{"1"}
	return s.client.Publish(ctx, commit)
}
