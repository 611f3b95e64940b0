package queue

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// ErrUnsupported says that a stream, which an earlier version made, lacks what a call needs, and
// could not be completed. The error that is it names the command that does so.
var ErrUnsupported = errors.New("not supported")

// unsupportedError is [ErrUnsupported] with what is missing.
type unsupportedError struct{ *stream.LackingError }

func (e *unsupportedError) Is(target error) bool { return target == ErrUnsupported }
func (e *unsupportedError) Unwrap() error        { return e.LackingError }

// queueAdditions are what a queue's stream has beyond what the first versions made.
func (s *Store) queueAdditions(queue job.Name) stream.Additions {
	return stream.Additions{Subjects: s.names.addedSubjects(queue), AtomicPublish: true, DirectReads: true}
}

// commonAdditions are those of the streams that queues share.
func commonAdditions() stream.Additions { return stream.Additions{DirectReads: true} }

// complete adds to a stream what earlier versions made it without. If that is refused, it says so
// once and goes on: only what needs it does not work.
func (s *Store) complete(ctx context.Context, got jetstream.StreamConfig, a stream.Additions) {
	_, err := s.client.Complete(ctx, got, a)
	lacking, _ := errors.AsType[*stream.LackingError](err)
	s.mu.Lock()
	told := s.lacking[got.Name] != nil
	s.lacking[got.Name] = lacking
	s.mu.Unlock()
	if lacking != nil && !told {
		s.log.WarnContext(ctx, "a stream that an earlier version made could not be completed: jobs run, but what is newer than it is refused until it is",
			slog.String("stream", got.Name), slog.Any("lacks", lacking.What), slog.String("next", lacking.Command), slog.Any("err", lacking.Err))
	}
}

// Require returns an [ErrUnsupported] if the stream of a queue lacks what newer features need,
// which it tries to add first. It asks the broker until the stream has it, and not again.
func (s *Store) Require(ctx context.Context, queue job.Name) error {
	s.useQueue(queue)
	name := s.names.queueStream(queue)
	if s.isWhole(name) { // as for nearly every job with a period: nothing else is put together
		return nil
	}
	return s.require(ctx, name, s.queueAdditions(queue), func(ctx context.Context) error { return s.ensure(ctx, queue) })
}

// RequireCommon does so of the streams that queues share.
func (s *Store) RequireCommon(ctx context.Context) error {
	return errors.Join(
		s.require(ctx, s.names.eventStream(), commonAdditions(), s.ensureCommon),
		s.require(ctx, s.names.deadStream(), commonAdditions(), s.ensureCommon),
	)
}

// require is Require of the stream of a name. It takes no more rights than to look at a stream
// that has everything.
func (s *Store) require(ctx context.Context, name string, a stream.Additions, ensure func(context.Context) error) error {
	if s.isWhole(name) {
		return nil
	}
	info, err := s.client.Info(ctx, name)
	if err == nil && a.Missing(info.Config) == nil {
		s.complete(ctx, info.Config, a)
		return nil
	}
	if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ensure(ctx)
	}
	if err != nil {
		return err
	}
	if lacking, _ := s.lacks(name); lacking != nil {
		return &unsupportedError{lacking}
	}
	return nil
}

// isWhole reports whether a stream is known to lack nothing.
func (s *Store) isWhole(name string) bool {
	lacking, known := s.lacks(name)
	return known && lacking == nil
}

// lacks returns what is known of a stream: nil if it lacks nothing.
func (s *Store) lacks(name string) (lacking *stream.LackingError, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lacking, known = s.lacking[name]
	return lacking, known
}
