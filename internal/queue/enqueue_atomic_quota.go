package queue

import (
	"context"
	"errors"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// An atomicQuota are the jobs of one type in an atomic enqueue, some of which are to be refused if
// too many of the type are alive.
//
// It is as with one job (see enqueueBelow): the first of them has the condition that nothing of its
// type came since the last sequence was read, instead of that of its own id, which is looked at
// after that.
type atomicQuota struct {
	jobs []int // in order
	most int   // of the type that may be alive without the jobs here: then each is below its limit
}

// atomicQuotas returns those of a batch.
func atomicQuotas(batch []Enqueue) (quotas []*atomicQuota) {
	of := make(map[job.Name]*atomicQuota)
	for _, e := range batch {
		if e.Below > 0 && of[e.place.Type] == nil {
			q := &atomicQuota{most: e.Below}
			of[e.place.Type], quotas = q, append(quotas, q)
		}
	}
	for i, e := range batch {
		q := of[e.place.Type]
		if q == nil {
			continue
		}
		if e.Below > 0 {
			q.most = min(q.most, e.Below-1-len(q.jobs))
		}
		q.jobs = append(q.jobs, i)
	}
	return quotas
}

// expectQuotas counts, and has the batch be stored only if nothing comes that was not counted. It
// returns an [*AtomicError], or [errStored].
func (a *atomicEnqueue) expectQuotas(ctx context.Context) error {
	for _, q := range a.quotas {
		first := q.jobs[0]
		place := a.batch[first].place
		seq, err := a.store.lastOfType(ctx, place, a.effort.alive)
		if err != nil {
			return err
		}
		if err := a.look(ctx, first); !errors.Is(err, ErrNotFound) { // also if its id is fresh: it may have been stored
			return err
		}
		if err := a.belowLimits(ctx, q, seq); err != nil {
			return err
		}
		stream.Expect(a.msgs[first], seq, a.store.names.checkType(place.Queue, place.Type))
	}
	return nil
}

// belowLimits returns an [*AtomicError] for the first job that would pass its limit.
func (a *atomicEnqueue) belowLimits(ctx context.Context, q *atomicQuota, upTo uint64) error {
	err := a.store.belowLimit(ctx, a.batch[q.jobs[0]].place, q.most+1, upTo)
	over, refused := errors.AsType[*QuotaError](err)
	if !refused {
		return err
	}
	for before, i := range q.jobs {
		if e := a.batch[i]; e.Below > 0 && over.Running+before >= e.Below {
			return &AtomicError{Index: i, Err: &QuotaError{Queue: over.Queue, Type: over.Type, Limit: e.Below, Running: over.Running + before}}
		}
	}
	return err
}
