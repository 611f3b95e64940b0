package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of an atomic enqueue.
const (
	maxAtomicJobs  = stream.MaxAtomic
	maxAtomicBytes = 64 << 20 // of payloads: the broker has them in memory twice while it stores them

	turnWithin = 30 * time.Second // for a queue to take part in the batch: those that nobody ends keep others out for 10 s
)

// An AtomicError says which job kept all jobs of an atomic enqueue from being stored.
type AtomicError struct {
	Index int
	Err   error
}

func (e *AtomicError) Error() string { return fmt.Sprintf("job %d of the batch: %v", e.Index, e.Err) }

// Unwrap returns what is the matter with that job.
func (e *AtomicError) Unwrap() error { return e.Err }

// EnqueueAtomic stores all jobs or none. It returns an [*AtomicError] for the first job found that
// [Store.Enqueue] would have refused, or that does not fit the others; [ErrUnsupported] if the
// stream of the queue takes no atomic batches; and [ErrNotSent] with an ended context.
func (s *Store) EnqueueAtomic(ctx context.Context, batch []Enqueue) error {
	if ctx.Err() != nil {
		return notSent(ctx)
	}
	if err := s.client.CheckConnected(); err != nil {
		return err
	}
	if err := checkAtomic(batch); err != nil {
		return err
	}
	a := newAtomicEnqueue(s, batch)
	s.useQueue(a.queue)
	if err := a.fill(ctx); err != nil {
		return err
	}
	err := a.confirm(ctx)
	if stream.Code(err) == stream.CodeAtomicDisabled {
		if err = s.Require(ctx, a.queue); err == nil {
			err = a.confirm(ctx)
		}
	}
	return err
}

// checkAtomic returns an error for a batch that cannot be one.
func checkAtomic(batch []Enqueue) error {
	if len(batch) == 0 || len(batch) > maxAtomicJobs {
		return job.Invalid("batch of jobs", len(batch), "must have 1 to %d: it is stored as a whole", maxAtomicJobs)
	}
	bytes := 0
	first := make(map[job.Place]int, len(batch))
	for i, e := range batch {
		if e.place.Queue != batch[0].place.Queue {
			return &AtomicError{Index: i, Err: job.Invalid("queue", e.place.Queue, "must be %s as that of the first job: a batch that is stored as a whole is of one queue", batch[0].place.Queue)}
		}
		if other, twice := first[e.place]; twice {
			return &AtomicError{Index: i, Err: job.Invalid("id", e.place.ID, "must not be that of job %d of the batch", other)}
		}
		first[e.place] = i
		bytes += len(e.Record.Payload)
	}
	if bytes > maxAtomicBytes {
		return job.Invalid("batch of jobs", fmt.Sprintf("%d bytes", bytes), "must have at most %d MiB: it is stored as a whole", maxAtomicBytes>>20)
	}
	return nil
}

// An atomicEnqueue is one in progress, of a batch that was checked.
type atomicEnqueue struct {
	store  *Store
	batch  []Enqueue
	msgs   []*nats.Msg
	at     map[job.Place]int // in batch
	quotas []*atomicQuota
	queue  job.Name
	effort effort
	unsure bool         // an answer was lost
	turn   func() error // the error that ends the waiting for other batches
}

func newAtomicEnqueue(s *Store, batch []Enqueue) *atomicEnqueue {
	a := &atomicEnqueue{
		store: s, batch: batch, at: make(map[job.Place]int, len(batch)),
		queue: batch[0].place.Queue, effort: s.newEffort(), turn: stream.Within(turnWithin),
	}
	for i, e := range batch {
		a.at[e.place] = i
	}
	a.quotas = atomicQuotas(batch)
	return a
}

// fill makes the messages, under the conditions of their ids.
func (a *atomicEnqueue) fill(ctx context.Context) error {
	a.msgs = make([]*nats.Msg, len(a.batch))
	for i, e := range a.batch {
		err := a.store.schedule(ctx, &e, a.effort.alive)
		if _, invalid := errors.AsType[*job.InvalidError](err); err != nil && !invalid {
			return err // nothing that is the job's
		}
		if err == nil {
			a.msgs[i], err = a.store.enqueueMsg(e)
		}
		if err != nil {
			return &AtomicError{Index: i, Err: err}
		}
	}
	return nil
}

// confirm sends the batch until the broker has stored or refused it.
func (a *atomicEnqueue) confirm(ctx context.Context) error {
	for {
		err := a.expectQuotas(ctx)
		if err == nil {
			_, err = a.store.client.ConfirmAtomic(ctx, a.msgs, a, stream.MaxRetryPause)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx) // it may be stored
		}
		if again, err := a.resolve(ctx, err); !again {
			return err
		}
	}
}

// resolve decides what an error means, and whether the batch is to be sent again.
func (a *atomicEnqueue) resolve(ctx context.Context, err error) (again bool, _ error) {
	if conflict, ok := errors.AsType[*stream.ConflictError](err); ok {
		err = a.lookAt(ctx, conflict.Seq)
	}
	if a.mayBeStored(err) {
		if found := a.findStored(ctx); found != nil {
			err = found
		}
	}
	switch {
	case errors.Is(err, errStored), stream.IsStored(err):
		return false, a.complete(ctx)
	case errors.Is(err, ErrNotFound): // what was in the way is gone
		return true, nil
	case errors.Is(err, errForgotten): // and not stored
		a.expectNew()
		return true, nil
	}
	return false, a.refusal(err)
}

// mayBeStored reports whether a part of the batch may be there, though err does not say so.
func (a *atomicEnqueue) mayBeStored(err error) bool {
	if errors.Is(err, errStored) || stream.IsStored(err) || errors.Is(err, ErrNotFound) {
		return false // it says so, or it is sent again
	}
	return a.unsure || noRoom(err)
}

// Alive implements [stream.RetryPolicy].
func (a *atomicEnqueue) Alive() error { return a.effort.remembered() }

// Final implements [stream.RetryPolicy].
func (a *atomicEnqueue) Final(err error) bool { return (&plainWrite{store: a.store}).Final(err) }

// Restore implements [stream.RetryPolicy].
func (a *atomicEnqueue) Restore(ctx context.Context) error { return a.store.restore(ctx) }

// Failed implements [stream.RetryPolicy]. A queue that takes part in as many batches as it can
// answers at least: others are waited for longer than for an answer.
func (a *atomicEnqueue) Failed(err error) {
	code := stream.Code(err)
	switch {
	case code != stream.CodeAtomicBusy:
		a.unsure = a.unsure || code == 0
		a.store.Doubt()
	case a.turn() == nil:
		a.effort.alive = a.store.patience()
	}
}

// errStored says that one of the jobs is stored. Nearly always all are, since an answer was lost.
var errStored = errors.New("stored already")

// lookAt says what is in the way of the batch, of which the broker names the sequence: [errStored], an
// [*AtomicError], or [ErrNotFound] if nothing is there any more.
func (a *atomicEnqueue) lookAt(ctx context.Context, seq uint64) error {
	if seq == 0 { // the broker does not say
		return a.lookAtAll(ctx)
	}
	m, err := a.store.client.Get(ctx, a.store.names.queueStream(a.queue), seq)
	if err != nil {
		return err
	}
	i, ours := a.at[a.store.names.placeOf(m.Subject)]
	if !ours {
		return ErrNotFound // a job of a type with a quota, which is counted again
	}
	return a.look(ctx, i)
}

// lookAtAll looks at all ids that have to be free.
func (a *atomicEnqueue) lookAtAll(ctx context.Context) error {
	for i, e := range a.batch {
		if !e.Once {
			continue
		}
		if err := a.look(ctx, i); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return ErrNotFound
}

// look is lookAt of one job.
func (a *atomicEnqueue) look(ctx context.Context, i int) error {
	err := a.store.resolveConflict(ctx, a.batch[i])
	switch {
	case err == nil:
		return errStored
	case isRefusal(err):
		return &AtomicError{Index: i, Err: err}
	default:
		return err
	}
}

// findStored returns [errStored] if one of the jobs is stored, or was.
func (a *atomicEnqueue) findStored(ctx context.Context) error {
	for _, e := range a.batch {
		stored, err := a.store.isStored(ctx, e, a.store.patience())
		if stored {
			return errStored
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expectNew has all ids be free, since what was sent long ago may come yet.
func (a *atomicEnqueue) expectNew() {
	for i, e := range a.batch {
		stream.Expect(a.msgs[i], 0, a.store.names.check(e.place))
	}
	a.effort.since = time.Now()
}

// complete stores each job by itself that is not stored, since a broker without a cluster that runs
// out of room in the middle of a batch leaves it there. The others are known by their message ids.
func (a *atomicEnqueue) complete(ctx context.Context) error {
	batch := slices.Clone(a.batch)
	for i, e := range batch { // what is decided already is in the record, or was counted
		batch[i] = Enqueue{Record: e.Record, Once: e.Once, place: e.place}
	}
	stored := len(batch)
	var first error
	for _, err := range a.store.enqueueMany(ctx, batch, true) {
		if err != nil {
			stored--
			first = cmp.Or(first, err)
		}
	}
	if first == nil {
		return nil
	}
	return &PartError{Stored: stored, Jobs: len(batch), Err: first}
}

// A PartError says that a broker without a cluster has broken off in the middle of an atomic enqueue,
// and that the rest could not be stored either.
type PartError struct {
	Stored, Jobs int
	Err          error // of the first job that is not stored
}

func (e *PartError) Error() string {
	return fmt.Sprintf("the broker stored %d of %d jobs that belong together, and broke off: %v", e.Stored, e.Jobs, e.Err)
}

// refusal says what an error of the broker is about.
func (a *atomicEnqueue) refusal(err error) error {
	if one, ok := errors.AsType[*stream.StagedError](err); ok {
		return &AtomicError{Index: one.Index, Err: one.Err}
	}
	if stream.Code(err) == stream.CodeAtomicTooLarge {
		return job.Invalid("batch of jobs", len(a.batch), "must not have more than the broker is set to take: %v", err)
	}
	return Refusal(err)
}
