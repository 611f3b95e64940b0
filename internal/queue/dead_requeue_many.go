package queue

import (
	"context"
	"iter"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of what a [Store.RequeueDead] has in flight.
const (
	requeueAtOnce      = 256
	requeueBytesAtOnce = 8 << 20
	requeueSlowly      = 32 // of those that need more than a write

	requeuePatience = 30 * time.Second // with each of those
)

// A Revivals says how many dead jobs are to run again, and when.
type Revivals struct {
	Spread time.Duration // over which they become due, evenly; 0: all at once
	Limit  int           // how many at most; 0: all
	Alone  bool          // as of a [Revival]
}

// A Requeued is what became of a dead job that was to be requeued.
type Requeued struct {
	Queue, Type, ID string
	Life            string // the new one or, with Err, the one that died
	Err             error  // why it was not
}

// RequeueDead has the dead jobs run again that there are now and that match, oldest first. It yields
// each with what became of it. What dies again meanwhile is not taken again. An error beside is the
// last. If the caller breaks, up to a few hundred more than it was told of have been requeued.
func (s *Store) RequeueDead(ctx context.Context, f DeadFilter, how Revivals) iter.Seq2[Requeued, error] {
	return func(yield func(Requeued, error) bool) {
		b := &requeueBulk{store: s, how: how, begun: time.Now()}
		for d, err := range s.Dead(ctx, f) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				if b.flush(ctx, yield) {
					yield(Requeued{}, err)
				}
				return
			}
			if b.add(d); b.full() && (!b.flush(ctx, yield) || b.atLimit()) {
				return
			}
		}
		b.flush(ctx, yield)
	}
}

// A requeueBulk is a RequeueDead in progress.
type requeueBulk struct {
	store *Store
	how   Revivals
	begun time.Time
	taken int // so far, of which requeued are back in their queues
	done  int

	batch []*DeadJob // to be requeued together
	bytes int        // of its payloads
}

func (b *requeueBulk) add(d *DeadJob) {
	b.batch = append(b.batch, d)
	b.bytes += len(d.Payload)
}

// full reports whether the batch has as many as may be in flight, or as are wanted.
func (b *requeueBulk) full() bool {
	return len(b.batch) == requeueAtOnce || b.bytes >= requeueBytesAtOnce ||
		b.how.Limit > 0 && b.done+len(b.batch) >= b.how.Limit
}

func (b *requeueBulk) atLimit() bool { return b.how.Limit > 0 && b.done >= b.how.Limit }

// flush requeues the batch and reports whether there is somebody to tell more.
func (b *requeueBulk) flush(ctx context.Context, yield func(Requeued, error) bool) bool {
	became := b.requeue(ctx)
	b.batch, b.bytes = nil, 0
	for _, r := range became {
		if r.Err == nil {
			b.done++
		}
		if !yield(r, nil) {
			return false
		}
	}
	return true
}

// requeue has the writes of the batch in flight together: the messages of those of which nothing is
// known but their deaths, then the removals of their records. Whatever is not as simple is done step
// by step.
func (b *requeueBulk) requeue(ctx context.Context) []Requeued {
	became := make([]Requeued, len(b.batch))
	queued := make([]*requeue, len(b.batch)) // nil: it cannot be
	for i, d := range b.batch {
		became[i] = Requeued{Queue: d.Queue, Type: d.Type, ID: d.ID, Life: d.Life}
		if how := (Revival{Delay: b.delay(), Alone: b.how.Alone}); !d.ofWorkflowItself() {
			queued[i], became[i].Err = b.store.newRequeue(d, how)
		}
	}
	stored := b.storeTogether(ctx, queued)
	var slowly, removing errgroup.Group
	slowly.SetLimit(requeueSlowly)
	for i, d := range b.batch {
		if d.ofWorkflowItself() { // which goes on at once, however the others are spread
			slowly.Go(func() error {
				life, err := b.store.requeueWorkflow(ctx, d, Revival{Alone: b.how.Alone})
				if became[i].Err = err; err == nil {
					became[i].Life = life
				}
				return nil
			})
		}
	}
	for i, q := range queued {
		if q != nil && !stored[i] {
			slowly.Go(func() error {
				became[i].Err = q.run(ctx, stream.Within(requeuePatience))
				return nil
			})
		}
	}
	_ = slowly.Wait()
	removing.SetLimit(removalsAtOnce)
	for i, q := range queued {
		if q != nil && became[i].Err == nil {
			became[i].Life = q.Record.Life
			removing.Go(func() error {
				became[i].Err = b.store.RemoveDead(ctx, q.dead.Seq)
				return nil
			})
		}
	}
	_ = removing.Wait()
	return became
}

// delay is how long from now the next job is to wait, so that all of them are spread evenly, however
// many there are: multiples of the golden ratio leave no gap.
func (b *requeueBulk) delay() time.Duration {
	_, part := math.Modf(float64(b.taken) * math.Phi)
	b.taken++
	if b.how.Spread <= 0 {
		return 0
	}
	return time.Duration(part*float64(b.how.Spread)) - time.Since(b.begun)
}

// storeTogether tries to store the messages of those whose last event is their death, or is not kept
// any more, and reports which it has. For the others there is more to be looked at.
func (b *requeueBulk) storeTogether(ctx context.Context, queued []*requeue) (stored []bool) {
	stored = make([]bool, len(queued))
	var places []job.Place
	for _, q := range queued {
		if q != nil {
			places = append(places, q.place)
		}
	}
	lasts, err := b.store.LastEvents(ctx, places)
	if err != nil {
		return stored
	}
	var batch []Enqueue
	var at []int // of each, its place in queued
	for i, q := range queued {
		if q == nil {
			continue
		}
		if last := lasts[q.place]; last != nil {
			if last.Life != q.dead.Life {
				continue
			}
			q.Record.LastEvent = last.Sequence
		}
		batch, at = append(batch, q.Enqueue), append(at, i)
	}
	errs := make([]error, len(batch))
	b.store.scheduleAll(ctx, batch, errs)
	sent := b.store.sendMany(ctx, batch, errs, false)
	for n, i := range at {
		stored[i] = sent.items[n].stored
	}
	return stored
}
