package queue

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A JobFilter says which jobs of a queue are meant, of those that are alive.
type JobFilter struct {
	Queue  job.Name
	Type   string      // empty: all
	States []job.State // [job.Ready] is a running one as well, since the queue does not tell them apart; empty: all
	DueBy  time.Time   // of those that wait for their time; zero: any
}

// Jobs yields the messages of the jobs that match, in the order in which they were stored, with an
// error last if there is one. It reads from any replica and as of now: a job that moves on meanwhile,
// since its time comes or it is retried, may be missing. So nothing may be decided on it.
func (s *Store) Jobs(ctx context.Context, f JobFilter) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		info, err := s.queueInfo(ctx, f.Queue)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for m, err := range s.client.Scan(ctx, info.Config.Name, stream.Scan{Subject: f.subject(s.names), UpTo: info.State.LastSeq}) {
			if err != nil {
				yield(nil, err)
				return
			}
			if found := s.jobIn(m); found != nil && f.matches(found) && !yield(found, nil) {
				return
			}
		}
	}
}

// subject covers what matches, and as little else as it can.
func (f *JobFilter) subject(n names) string {
	kind, typ := "*", "*"
	waits := f.wants(job.Scheduled) || f.wants(job.Retrying)
	switch {
	case !waits:
		kind = "ready"
	case !f.wants(job.Ready):
		kind = "later"
	}
	if f.Type != "" {
		typ = f.Type
	}
	return n.join(f.Queue.String(), kind, typ, "*")
}

func (f *JobFilter) matches(m *Message) bool {
	if !f.wants(m.State()) {
		return false
	}
	return f.DueBy.IsZero() || m.RunAt.IsZero() || !m.RunAt.After(f.DueBy)
}

func (f *JobFilter) wants(state job.State) bool {
	for _, s := range f.States {
		if s == state || s == job.Running && state == job.Ready {
			return true
		}
	}
	return len(f.States) == 0
}

// jobIn reads a stored message of a queue's stream; nil if it is no job's that could run.
func (s *Store) jobIn(m *stream.Message) *Message {
	r, ok := s.names.parseJobSubject(m.Subject)
	if !ok {
		return nil
	}
	p, err := r.Place()
	if err != nil {
		return nil
	}
	return messageOf(p, m)
}

// State returns where the job is: ready if it runs, too.
func (m *Message) State() job.State {
	switch {
	case m.RunAt.IsZero():
		return job.Ready
	case m.Attempt > 1:
		return job.Retrying
	default:
		return job.Scheduled
	}
}
