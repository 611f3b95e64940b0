package view

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// A runningSource is the jobs that run, as the workers say, the oldest first or the newest.
type runningSource struct {
	view  *View
	desc  bool
	match Count // see [source]
}

func (*runningSource) name() string { return "running" }

func (s *runningSource) order() Order {
	if s.desc {
		return NewestFirst
	}
	return OldestFirst
}

func (s *runningSource) extent() (messages, matching Count) {
	return Counted(0, Exact, time.Time{}), s.match
}

func (s *runningSource) next(ctx context.Context, behind uint64) (chunk, error) {
	running, err := s.view.cfg.Registry.Running(ctx, "")
	if err != nil {
		return chunk{}, err
	}
	if s.desc {
		slices.Reverse(running)
	}
	c := chunk{end: true}
	for i := range running {
		if place := sinceOf(&running[i], s.desc); place > behind {
			c.rows = append(c.rows, row{runningJob(&running[i]), place})
		}
	}
	return c, s.view.addMessages(ctx, c.rows)
}

// sinceOf grows in the order of the list.
func sinceOf(r *registry.Running, desc bool) uint64 {
	at := uint64(r.Since.UnixNano()) //nolint:gosec // after 1970
	if desc {
		return ^at
	}
	return at
}

// A readySource is the jobs of a queue that wait for a worker, as they come next, of types that
// workers serve or have served.
type readySource struct {
	view  *View
	queue *Queue
	types []*Type
	since uint64    // sequence of the first one that is meant
	until time.Time // what became ready then, or later, is not meant; zero: all is

	atOnce int // jobs of each type that are read at once
	dense  int // see forwardAt
}

func (s *readySource) name() string { return "ready " + s.queue.Name }
func (*readySource) order() Order   { return OldestFirst }
func (s *readySource) extent() (messages, matching Count) {
	sum := Counted(0, Exact, time.Time{})
	for _, t := range s.types {
		sum = sum.Plus(t.Ready)
	}
	return sum, sum
}

// readyAtOnce is how many jobs of each type are read at once, readyInRow how many of one, once more than
// a page has been read.
const (
	readyAtOnce = 64
	readyInRow  = 1000
	readyBytes  = 8 << 20 // of them
)

// grow sets how much is read next: of several types, what is behind the last one of the most common is
// read again with the next chunk.
func (s *readySource) grow() {
	if s.dense == 0 {
		s.dense, s.atOnce = 1, readyAtOnce
		return
	}
	if len(s.types) == 1 {
		s.atOnce = int(min(max(readyBytes/max(s.queue.meanSize(), 1), readyAtOnce), readyInRow))
	}
}

func (s *readySource) next(ctx context.Context, behind uint64) (chunk, error) {
	name, err := job.QueueName(s.queue.Name)
	if err != nil {
		return chunk{}, err
	}
	if behind == 0 && s.since > 0 {
		behind = s.since - 1
	}
	s.grow()
	c := chunk{end: true}
	upTo := uint64(0) // what is behind the last one of a type of which there are more comes later; 0: all
	for _, t := range s.types {
		if t.Ready.Known() && t.Ready.Value == 0 {
			continue
		}
		found, err := s.readyOf(ctx, s.view.cfg.Store.ReadyOf(name, t.Name), t, behind)
		if err != nil {
			return chunk{}, err
		}
		for _, m := range found {
			if read, ok := s.view.cfg.Store.ReadMessage(m); ok {
				c.rows = append(c.rows, row{waitingJob(read), m.Seq})
			}
		}
		if n := len(found); n >= s.atOnce && (upTo == 0 || found[n-1].Seq < upTo) {
			upTo = found[n-1].Seq
		}
		c.looked += len(found)
	}
	slices.SortFunc(c.rows, func(a, b row) int { return cmp.Compare(a.behind, b.behind) })
	if upTo > 0 {
		n, _ := slices.BinarySearchFunc(c.rows, upTo+1, func(r row, seq uint64) int { return cmp.Compare(r.behind, seq) })
		c.rows, c.end = c.rows[:n], false
	}
	if n := len(c.rows); n > 0 {
		c.behind, c.at = c.rows[n-1].behind, c.rows[n-1].Since
		c.end = c.end || !s.until.IsZero() && !c.at.Before(s.until)
	}
	return c, nil
}

// readyOf reads the next ready jobs of a type behind a sequence, on the way that costs least.
func (s *readySource) readyOf(ctx context.Context, part queue.Part, t *Type, behind uint64) ([]*stream.Message, error) {
	v, q := s.view, s.queue
	if len(s.types) > 1 { // each has a density of its own
		s.dense = 1
	}
	from := max(behind, t.Delivered) + 1
	known := v.oldest.get(q.Name, t.Name)
	w, first := wayTo(t, q.LastSeq, known, known.Saw.Add(lookAgain)) // it is read anyway
	switch {
	case w == byTable:
		found, err := v.cfg.Client.LastMatching(ctx, part.Stream, part.Subject, from, s.atOnce)
		if err == nil || !errors.Is(err, stream.ErrTooMany) && !cannotRead(err) {
			return found, err
		}
	case w == byWalking:
		from = max(from, first)
	case behind == 0 && (w == byIndex || w == byPeeking):
		m, err := v.firstOf(ctx, part, t, w, first)
		if errors.Is(err, queue.ErrNotFound) && t.Ready.Value <= onDemand {
			m, err = v.cfg.Client.NextAny(ctx, part.Stream, part.Subject, 1)
		}
		if orNone(err) != nil {
			return nil, err
		}
		if err == nil {
			from = max(from, m.Seq)
		}
	}
	return v.forwardAt(ctx, part, from, 0, s.atOnce, &s.dense)
}

// An unclaimedSource is the ready jobs of a queue of types that no worker has ever served.
type unclaimedSource struct {
	view  *View
	queue *Queue
	typ   string // the one that is meant; empty: all of them
	rest  Count  // messages that no consumer covers, of which they are a part
}

func (s *unclaimedSource) name() string { return "unclaimed " + s.queue.Name + " " + s.typ }
func (*unclaimedSource) order() Order   { return OldestFirst }
func (s *unclaimedSource) extent() (messages, matching Count) {
	if s.typ == "" {
		return s.rest, s.queue.Unclaimed
	}
	for i := range s.queue.Types {
		if t := &s.queue.Types[i]; t.Name == s.typ {
			return s.rest, t.Ready
		}
	}
	return s.rest, Uncounted()
}

func (s *unclaimedSource) next(ctx context.Context, behind uint64) (chunk, error) {
	name, err := job.QueueName(s.queue.Name)
	if err != nil {
		return chunk{}, err
	}
	part := s.view.cfg.Store.ReadyOf(name, s.typ)
	found, err := s.find(ctx, part, behind)
	if err != nil {
		return chunk{}, err
	}
	c := chunk{looked: len(found), end: len(found) < readyAtOnce}
	for _, m := range found {
		c.behind, c.at = m.Seq, m.Time.UTC()
		if read, ok := s.view.cfg.Store.ReadMessage(m); ok && !s.queue.hasConsumer(read.Type) {
			c.rows = append(c.rows, row{waitingJob(read), m.Seq})
		}
	}
	return c, nil
}

// find goes by the broker's index where there is little to go by.
func (s *unclaimedSource) find(ctx context.Context, part queue.Part, behind uint64) ([]*stream.Message, error) {
	if s.typ != "" && s.rest.Known() && s.rest.Value <= onDemand {
		found, err := s.view.cfg.Client.LastMatching(ctx, part.Stream, part.Subject, behind+1, readyAtOnce)
		if err == nil || !errors.Is(err, stream.ErrTooMany) && !cannotRead(err) {
			return found, err
		}
	}
	return s.view.forward(ctx, part, behind+1, 0, readyAtOnce)
}

// A fewLaterSource is the jobs of a queue that wait for their time, where there are so few that one
// answer has them all.
type fewLaterSource struct {
	view   *View
	queue  *Queue
	oldest bool
	match  Count // see [source]
}

func (s *fewLaterSource) name() string { return "later " + s.queue.Name }
func (s *fewLaterSource) order() Order { return orderOf(s.oldest) }
func (s *fewLaterSource) extent() (messages, matching Count) {
	return s.queue.Later, s.match
}

func (s *fewLaterSource) next(ctx context.Context, behind uint64) (chunk, error) {
	name, err := job.QueueName(s.queue.Name)
	if err != nil {
		return chunk{}, err
	}
	part := s.view.cfg.Store.LaterOf(name, "")
	found, err := s.view.cfg.Client.LastMatching(ctx, part.Stream, part.Subject, 0, 0)
	switch {
	case errors.Is(err, stream.ErrTooMany), cannotRead(err):
		found, err = s.view.forward(ctx, part, 1, 0, stream.MaxLastMatching)
	case err != nil:
		return chunk{}, err
	}
	if err != nil {
		return chunk{}, err
	}
	if !s.oldest {
		slices.Reverse(found)
	}
	c := chunk{looked: len(found), end: true}
	for _, m := range found {
		c.at = m.Time.UTC()
		read, ok := s.view.cfg.Store.ReadMessage(m)
		if ok && (behind == 0 || (m.Seq > behind) == s.oldest && m.Seq != behind) {
			c.rows = append(c.rows, row{waitingJob(read), m.Seq})
		}
	}
	return c, nil
}

func orderOf(oldest bool) Order {
	if oldest {
		return OldestFirst
	}
	return NewestFirst
}

// cannotRead reports whether err says that there are no direct reads, or none for this user.
func cannotRead(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrPermissionViolation)
}
