package view

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of counting by subject, which costs the broker by what matches, under the lock of the stream:
// see docs/decisions/0044-what-a-look-costs.md.
const (
	countable  = 20_000           // up to so many are counted for a snapshot, in a millisecond
	onDemand   = 200_000          // up to so many are counted when somebody asks, in ten
	countAgain = 10 * time.Second // how long a count in a snapshot is good for
	apartBytes = 1 << 20          // how much is read to tell jobs apart that wait for their time
)

// A Rest is what a queue has beside what its consumers cover.
type Rest struct {
	Later, Scheduled, Retrying, Held, Unclaimed Count
	UnclaimedTypes                              map[string]Count
}

// countedKnown is what was counted before, by queue.
type countedKnown struct {
	mu sync.Mutex
	of map[string]counted
}

type counted struct {
	Rest
	at time.Time
}

func (k *countedKnown) get(queueName string) counted {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[queueName]
}

func (k *countedKnown) set(queueName string, c counted) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = make(map[string]counted)
	}
	k.of[queueName] = c
}

// countRest counts what waits for its time in each queue where that is known to be little.
func (v *View) countRest(ctx context.Context, s *Snapshot) {
	var wg sync.WaitGroup
	for i := range s.Queues {
		q := &s.Queues[i]
		known := v.counts.get(q.Name)
		switch rest := q.Later; {
		case !rest.Known():
		case rest.Value > countable:
			q.Later.Value = max(0, rest.Value-known.Held.Value-known.Unclaimed.Value)
		case s.At.Sub(known.at) < countAgain:
			q.setRest(known.Rest)
		default:
			wg.Go(func() {
				if r, err := v.count(ctx, q, countable, known); err == nil {
					v.counts.set(q.Name, counted{r, s.At})
					q.setRest(r)
				}
			})
		}
	}
	wg.Wait()
}

// setRest takes over what was counted.
func (q *Queue) setRest(r Rest) {
	q.Later, q.Scheduled, q.Retrying, q.Held, q.Unclaimed = r.Later, r.Scheduled, r.Retrying, r.Held, r.Unclaimed
	for name, n := range r.UnclaimedTypes {
		i, there := slices.BinarySearchFunc(q.Types, name, func(t Type, name string) int { return cmp.Compare(t.Name, name) })
		if !there {
			none := Counted(0, Exact, n.At)
			q.Types = slices.Insert(q.Types, i, Type{Name: name, Queue: q.Name, Running: none, Claimed: none, Oldest: Oldest{How: Unknown}})
		}
		q.Types[i].Ready, q.Types[i].InHand = n, Counted(0, Exact, n.At)
	}
}

// ErrTooMany says that counting would hold up the queue for too long.
var ErrTooMany = errors.New("there are more than are counted without being told to")

// Split counts what waits for its time in a queue, scheduled and retrying apart, and ready jobs that
// no worker has ever served: what a snapshot leaves out where it is much. It returns [ErrTooMany] if
// that is over 200,000, unless anyway is set; the broker then stores nothing in the queue for about
// 50 ms for each million.
func (v *View) Split(ctx context.Context, queueName string, anyway bool) (Rest, error) {
	s, err := v.Snapshot(ctx)
	if err != nil {
		return Rest{}, err
	}
	for i := range s.Queues {
		q := s.Queues[i]
		if q.Name != queueName {
			continue
		}
		limit := int64(onDemand)
		if anyway {
			limit = q.Messages.Value
		}
		rest := q.Messages.Value - 1 - q.Ready.Value - q.InHand.Value
		if rest > limit {
			return Rest{}, ErrTooMany
		}
		q.Later = Counted(rest, About, q.Messages.At)
		return v.count(ctx, &q, limit, counted{})
	}
	return Rest{}, queue.ErrNotFound
}

// count counts the parts of what no consumer covers, of which there are about q.Later.
func (v *View) count(ctx context.Context, q *Queue, limit int64, before counted) (Rest, error) {
	name, err := job.QueueName(q.Name)
	if err != nil {
		return Rest{}, err
	}
	r := Rest{Scheduled: Uncounted(), Retrying: Uncounted()}
	at := q.Messages.At
	var later, held int64
	g, counting := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		later, err = v.countPart(counting, v.cfg.Store.LaterOf(name, ""))
		return err
	})
	g.Go(func() (err error) {
		held, err = v.countPart(counting, v.cfg.Store.HoldsOf(name))
		return err
	})
	if err := g.Wait(); err != nil {
		return Rest{}, err
	}
	r.Later, r.Held, r.Unclaimed = Counted(later, Exact, at), Counted(held, Exact, at), Counted(0, Exact, at)
	if err := v.tellApart(ctx, name, q, &r, limit); err != nil {
		return Rest{}, err
	}
	left := q.Later.Value - later - held
	for _, p := range v.cfg.Store.BookkeepingOf(name) {
		if left <= 0 {
			return r, nil
		}
		n, err := v.countPart(ctx, p)
		if err != nil {
			return Rest{}, err
		}
		left -= n
	}
	return r, v.countUnclaimed(ctx, q, &r, left, before)
}

// countPart counts what matches.
func (v *View) countPart(ctx context.Context, p queue.Part) (int64, error) {
	n, err := v.cfg.Client.Count(ctx, p.Stream, p.Subject)
	return int64(n), err //nolint:gosec // as many as there is room for
}

// tellApart counts those that wait after a failed run, by the headers of all that wait, which come with
// their payloads: as many as one answer has, or for somebody who asks all of them.
func (v *View) tellApart(ctx context.Context, name job.Name, q *Queue, r *Rest, limit int64) error {
	total := r.Later.Value
	if total == 0 {
		r.Scheduled, r.Retrying = r.Later, r.Later
		return nil
	}
	part := v.cfg.Store.LaterOf(name, "")
	var scheduled, retrying int64
	note := func(m *stream.Message) {
		if read, ok := v.cfg.Store.ReadMessage(m); ok && read.State() == job.Retrying {
			retrying++
		} else {
			scheduled++
		}
	}
	switch {
	case total <= stream.MaxLastMatching && total*q.meanSize() <= apartBytes:
		found, err := v.cfg.Client.LastMatching(ctx, part.Stream, part.Subject, 0, 0)
		if err != nil && !errors.Is(err, stream.ErrTooMany) {
			return err
		}
		for _, m := range found {
			note(m)
		}
		r.Later.Value = int64(len(found)) // a moment later than it was counted
	case limit > countable:
		for m, err := range v.cfg.Client.Scan(ctx, part.Stream, stream.Scan{Subject: part.Subject, UpTo: 1<<63 - 1}) {
			if err != nil {
				return err
			}
			note(m)
		}
	default:
		return nil
	}
	r.Scheduled, r.Retrying = Counted(scheduled, Exact, r.Later.At), Counted(retrying, Exact, r.Later.At)
	return nil
}

// countUnclaimed counts ready jobs of types that no worker has ever served in the queue. The broker
// cannot list types, so their names are looked for: among those of other queues, and in a sample.
// What is left over has no name, and is believed when it was there the last time, too: the numbers
// that it is the difference of are of different moments.
func (v *View) countUnclaimed(ctx context.Context, q *Queue, r *Rest, left int64, before counted) error {
	if left <= 0 {
		return nil
	}
	names, err := v.cfg.Store.WaitingTypes(ctx, q.Name)
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return err
	}
	queueName, err := job.QueueName(q.Name)
	if err != nil {
		return err
	}
	r.UnclaimedTypes = make(map[string]Count)
	for _, typ := range names {
		if q.hasConsumer(typ) {
			continue
		}
		n, err := v.countPart(ctx, v.cfg.Store.ReadyOf(queueName, typ))
		if err != nil {
			return err
		}
		r.UnclaimedTypes[typ] = Counted(n, Exact, r.Later.At)
		r.Unclaimed.Value += n
	}
	if unnamed := left - r.Unclaimed.Value; unnamed > 0 {
		r.Unclaimed.How = About
		if before.Unclaimed.How == About {
			r.Unclaimed.Value += unnamed
		}
	}
	return nil
}

// meanSize is how many bytes a message of the queue has on average.
func (q *Queue) meanSize() int64 { return q.Bytes.Value / max(q.Messages.Value, 1) }

func (q *Queue) hasConsumer(typ string) bool {
	return slices.ContainsFunc(q.Types, func(t Type) bool { return t.Name == typ && t.Consumer })
}

// sortByTime sorts, the earliest first.
func sortByTime[T any](all []T, at func(T) time.Time) {
	slices.SortStableFunc(all, func(a, b T) int { return at(a).Compare(at(b)) })
}
