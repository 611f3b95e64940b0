package queue

import (
	"context"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A StreamName is the name of a stream that the namespace's subjects are in.
type StreamName struct {
	Name  string
	Queue job.Name // whose stream it is; the zero name if it is no queue's
	Dead  bool     // it has the dead jobs
}

// Streams returns the streams that store any subject of the namespace, sorted: those of its queues,
// its events and its dead jobs, and whatever else reads from them. It is one request for each 1,024
// of them.
func (s *Store) Streams(ctx context.Context) ([]StreamName, error) {
	found, err := s.client.Names(ctx, string(s.names)+".>")
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	all := make([]StreamName, 0, len(found))
	for _, name := range found {
		n := StreamName{Name: name, Dead: name == s.names.deadStream()}
		if queue, ok := strings.CutPrefix(name, string(s.names)+"-queue-"); ok {
			n.Queue, _ = job.QueueName(queue) // else nobody's of ours
		}
		all = append(all, n)
	}
	return all, nil
}

// StreamInfo returns the configuration and the state of a stream.
func (s *Store) StreamInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	return s.client.Info(ctx, name)
}

// Consumer returns the consumer of a type in a queue as its leader knows it, with
// [jetstream.ErrConsumerNotFound] if there is none.
func (s *Store) Consumer(ctx context.Context, queue, typ job.Name) (*jetstream.ConsumerInfo, error) {
	return s.consumerInfo(ctx, queue, typ)
}

// Consumers returns the consumers of a queue, each named like its type, as their leaders know them.
// See [stream.Client.Consumers] for what it costs and for its errors.
func (s *Store) Consumers(ctx context.Context, queue job.Name) (stream.ConsumerList, error) {
	return s.client.Consumers(ctx, s.names.queueStream(queue))
}
