package queue

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// What is found by id alone. Any replica answers, and may lag behind the leader; where none may, the
// leader is asked for the newest one, and others under the same id are not found.

// MessagesOf returns the messages of an id in a queue, of whichever type, the oldest first. Holds are
// not among them.
func (s *Store) MessagesOf(ctx context.Context, queue, id job.Name) ([]*Message, error) {
	found, err := s.lastOf(ctx, s.names.queueStream(queue), s.names.join(queue.String(), "*", "*", id.String()))
	var all []*Message
	for _, m := range found {
		if read := s.jobIn(m); read != nil {
			all = append(all, read)
		}
	}
	return all, err
}

// EventsOf returns the newest event of each job with an id, the oldest first.
func (s *Store) EventsOf(ctx context.Context, id job.Name) ([]JobEvent, error) {
	found, err := s.lastOf(ctx, s.names.eventStream(), s.names.join("event", "*", "*", id.String()))
	var all []JobEvent
	for _, m := range found {
		if e, ok := s.ReadEvent(m); ok {
			all = append(all, e)
		}
	}
	return all, err
}

// DeadOf returns the records of dead jobs with an id, the oldest first.
func (s *Store) DeadOf(ctx context.Context, id job.Name) ([]*DeadJob, error) {
	found, err := s.lastOf(ctx, s.names.deadStream(), s.names.join("dead", "*", "*", id.String()))
	var all []*DeadJob
	for _, m := range found {
		all = append(all, s.deadJob(m))
	}
	return all, err
}

// lastOf returns the newest message of each subject that matches, none of a stream that is not there.
func (s *Store) lastOf(ctx context.Context, name, subject string) ([]*stream.Message, error) {
	found, err := s.client.LastMatching(ctx, name, subject, 0, 0)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrPermissionViolation) {
		var m *stream.Message
		if m, err = s.client.Last(ctx, name, subject); err == nil {
			found = []*stream.Message{m}
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return found, err
}

// MessageAndHold returns the newest message of an id, and its hold if that is newer, as the leader
// knows them; nil for what there is not.
func (s *Store) MessageAndHold(ctx context.Context, p job.Place) (*Message, *Hold, error) {
	m, h, err := s.findOrHold(ctx, p)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return m, h, err
}

// DeadRecord returns the record of a dead job as the leader knows it, or [ErrNotFound].
func (s *Store) DeadRecord(ctx context.Context, p job.Place) (*DeadJob, error) {
	m, err := s.client.Last(ctx, s.names.deadStream(), s.names.dead(p))
	if err != nil {
		return nil, err
	}
	return s.deadJob(m), nil
}

// ReadMessage reads what a queue's stream stored; false if it is no job's.
func (s *Store) ReadMessage(m *stream.Message) (*Message, bool) {
	read := s.jobIn(m)
	return read, read != nil
}

// ReadEvent reads what the stream of events stored; false if it is no event.
func (s *Store) ReadEvent(m *stream.Message) (JobEvent, bool) {
	r, ok := s.names.parseEventSubject(m.Subject)
	e := readEvent(m)
	return JobEvent{Queue: r.Queue, Type: r.Type, ID: r.ID, Event: *e}, ok && e.Kind.State() != ""
}

// ReadDead reads what the stream of dead jobs stored; false if it is no record.
func (s *Store) ReadDead(m *stream.Message) (*DeadJob, bool) {
	_, ok := s.names.parseDeadSubject(m.Subject)
	return s.deadJob(m), ok
}

// ReadyMessages returns the messages of jobs that are ready or run, of those ids that have one, as a
// replica knows them.
func (s *Store) ReadyMessages(ctx context.Context, places []job.Place) (map[job.Place]*Message, error) {
	byQueue, of := make(map[job.Name][]string), make(map[string]job.Place, len(places))
	for _, p := range places {
		subject := s.names.ready(p)
		if _, again := of[subject]; !again {
			byQueue[p.Queue] = append(byQueue[p.Queue], subject)
		}
		of[subject] = p
	}
	found := make(map[job.Place]*Message, len(places))
	for queue, subjects := range byQueue {
		for m, err := range s.client.LastOfEach(ctx, s.names.queueStream(queue), subjects) {
			if err != nil {
				return found, err
			}
			p := of[m.Subject]
			found[p] = messageOf(p, m)
		}
	}
	return found, nil
}
