package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// probeToken stands where others have a type and an id: no job's may be that.
const probeToken = "~"

// probe is where workers write to see whether the stream of a queue stores.
func (n names) probe(queue job.Name) string {
	return n.join(queue.String(), "later", probeToken, probeToken)
}

// eventProbe is where they do so in the stream of the events.
func (n names) eventProbe() string { return n.join("event", probeToken, probeToken, probeToken) }

// Probe goes the way of a job and of its end: it stores a message in the stream of each queue
// and in that of the events, and removes it again. A write that its condition refuses would do
// for none of them: the broker looks at those before it looks for room.
func (s *Store) Probe(ctx context.Context, queues ...string) error {
	probes, err := s.probes(queues)
	if err != nil {
		return err
	}
	return errors.Join(s.try(ctx, probes)...)
}

// try returns what is wrong with the streams of the probes, nil for those that store.
func (s *Store) try(ctx context.Context, probes []probe) []error {
	ctx, cancel := context.WithTimeout(ctx, stream.RequestTimeout)
	defer cancel()
	s.litter.Store(true)
	return each(probes, func(p probe) error { return wrap(s.probe(ctx, p), "%s", p.what) })
}

// tidy removes what probes left: those whose worker, connection or broker was gone in between.
func (s *Store) tidy(ctx context.Context, queues []string) error {
	probes, err := s.probes(queues)
	if err != nil {
		return err
	}
	err = s.removeProbes(ctx, probes)
	if err == nil {
		s.litter.Store(false)
	}
	return err
}

func (s *Store) removeProbes(ctx context.Context, probes []probe) error {
	return errors.Join(each(probes, func(p probe) error { return s.client.RemoveAll(ctx, p.stream, p.subject) })...)
}

// probe is a place where workers write to see whether a stream stores.
type probe struct {
	what, stream, subject string
	queue                 string // empty: the events
}

func (s *Store) probes(queues []string) ([]probe, error) {
	all := []probe{{what: "events", stream: s.names.eventStream(), subject: s.names.eventProbe()}}
	for _, q := range queues {
		name, err := job.QueueName(q)
		if err != nil {
			return nil, err
		}
		all = append(all, probe{queue: q, what: "queue " + q, stream: s.names.queueStream(name), subject: s.names.probe(name)})
	}
	return all, nil
}

// each does something with all probes at once, and returns the error of each.
func each(probes []probe, do func(probe) error) []error {
	errs := make([]error, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() { errs[i] = do(p) })
	}
	wg.Wait()
	return errs
}

// probe writes what says nothing to anybody, without a header.
func (s *Store) probe(ctx context.Context, p probe) error {
	_, err := s.client.Publish(ctx, &nats.Msg{Subject: p.subject})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: the broker is away or overloaded, or cannot write to its disk", errNoAnswer)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: stream %s is not there, or has no leader", err, p.stream)
	}
	return Refusal(err)
}

// errNoAnswer says that a stream did not say whether it stored a message.
var errNoAnswer = errors.New("no answer")

// A FullError says that the broker has no room for a message.
type FullError struct {
	Err error // as the broker has it
}

func (e *FullError) Error() string {
	return "the broker's store is full (" + e.Err.Error() + "): let workers drain it, or raise its limit"
}

func (e *FullError) Unwrap() error { return e.Err }

// Refusal makes the broker's word that it has no room one that says what to do.
func Refusal(err error) error {
	if _, told := errors.AsType[*FullError](err); told || !noRoom(err) {
		return err
	}
	if _, unmade := errors.AsType[*stream.RefusedError](err); unmade {
		return err // nothing is full of jobs: a stream is not made for want of room, and it says what to change
	}
	api, _ := errors.AsType[*jetstream.APIError](err)
	return &FullError{Err: api}
}

// noRoom reports whether the broker refused a message for want of room: in its store, in
// the account, or in the stream.
func noRoom(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode {
	case stream.CodeNoResources, stream.CodeAccountFull, stream.CodeStorageFull:
		return true
	case stream.CodeStoreFailed:
		return strings.Contains(api.Description, "maximum bytes") || strings.Contains(api.Description, "maximum messages exceeded")
	}
	return false
}
