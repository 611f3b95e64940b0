package view

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
	maxNames   = 64               // how many types are looked for in what no consumer covers
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
	names := s.typeNames() // before types are added that are found
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
				if r, err := v.count(ctx, q, countable, names); err == nil {
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
	if r.Unclaimed.How == Exact { // so all that there are of have names
		for i := range q.Types {
			if t := &q.Types[i]; !t.Consumer && !t.Ready.Known() {
				t.Ready, t.InHand = Counted(0, Exact, r.Unclaimed.At), Counted(0, Exact, r.Unclaimed.At)
			}
		}
	}
	for name, n := range r.UnclaimedTypes {
		i, there := slices.BinarySearchFunc(q.Types, name, func(t Type, name string) int { return cmp.Compare(t.Name, name) })
		if !there {
			none := Counted(0, Exact, n.At)
			q.Types = slices.Insert(q.Types, i, Type{Name: name, Queue: q.Name, Running: none, Claimed: none, Oldest: Oldest{How: Unknown}})
		}
		q.Types[i].Ready, q.Types[i].InHand = n, Counted(0, Exact, n.At)
	}
}

// count counts the parts of what no consumer covers, of which there are about q.Later.
func (v *View) count(ctx context.Context, q *Queue, limit int64, known []string) (Rest, error) {
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
	return r, v.countUnclaimed(ctx, q, &r, left, known)
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
// cannot list types, so their names are looked for: among those that are known elsewhere, and in a sample.
// What is left over has no name.
func (v *View) countUnclaimed(ctx context.Context, q *Queue, r *Rest, left int64, known []string) error {
	if left <= 0 {
		return nil
	}
	queueName, err := job.QueueName(q.Name)
	if err != nil {
		return err
	}
	sample, err := v.cfg.Store.WaitingTypes(ctx, q.Name)
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return err
	}
	r.UnclaimedTypes = make(map[string]Count)
	for _, typ := range append(sample, known...) {
		if _, counted := r.UnclaimedTypes[typ]; counted || q.hasConsumer(typ) {
			continue
		}
		if r.Unclaimed.Value >= left || len(r.UnclaimedTypes) == maxNames {
			break
		}
		n, err := v.countPart(ctx, v.cfg.Store.ReadyOf(queueName, typ))
		if err != nil {
			return err
		}
		r.UnclaimedTypes[typ] = Counted(n, Exact, r.Later.At)
		r.Unclaimed.Value += n
	}
	maps.DeleteFunc(r.UnclaimedTypes, func(_ string, n Count) bool { return n.Value == 0 })
	if unnamed := left - r.Unclaimed.Value; unnamed > 0 {
		r.Unclaimed.How = About
		r.Unclaimed.Value += v.confirm(ctx, q, queueName, unnamed)
	}
	return nil
}

// confirm returns how much of what is left over of a queue is left over in a second look, too. It is the
// difference of numbers of different moments, so what moved between the looks may be all there is to it.
func (v *View) confirm(ctx context.Context, q *Queue, name job.Name, left int64) int64 {
	info, err := within(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return v.cfg.Store.StreamInfo(ctx, v.cfg.Store.ReadyOf(name, "").Stream)
	})
	if err != nil {
		return 0 // nor is it known of the first look
	}
	list, err := v.cfg.Store.Consumers(ctx, name)
	if err != nil || len(list.Silent) > 0 {
		return 0
	}
	var covered int64
	for _, c := range list.Infos {
		covered += int64(c.NumPending) + int64(c.NumAckPending) //nolint:gosec // as many as there is room for
	}
	messages := messagesIn(info).Value
	came := int64(info.State.LastSeq - q.LastSeq) //nolint:gosec // a count
	went := came - (messages - q.Messages.Value)
	now := left + (messages - covered) - (q.Messages.Value - q.Ready.Value - q.InHand.Value)
	return max(min(left, now)-came-went, 0)
}

// meanSize is how many bytes a message of the queue has on average.
func (q *Queue) meanSize() int64 { return q.Bytes.Value / max(q.Messages.Value, 1) }

// typeNames are the types of all queues, each once.
func (s *Snapshot) typeNames() (names []string) {
	for i := range s.Queues {
		for k := range s.Queues[i].Types {
			names = append(names, s.Queues[i].Types[k].Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (q *Queue) hasConsumer(typ string) bool {
	return slices.ContainsFunc(q.Types, func(t Type) bool { return t.Name == typ && t.Consumer })
}

// sortByTime sorts, the earliest first.
func sortByTime[T any](all []T, at func(T) time.Time) {
	slices.SortStableFunc(all, func(a, b T) int { return at(a).Compare(at(b)) })
}
