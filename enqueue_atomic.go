package millhand

import (
	"context"
	"errors"
	"slices"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// EnqueueAtomic stores all jobs of the batch or none: 1 to 1,000, of one queue, with at most 64 MiB
// of payloads. refs[i] belongs to batch[i]. It takes the same options as [Client.Enqueue].
//
// It returns an [*AtomicError] for a job that is in the way of the others: one that Enqueue would
// have refused, or that has the id of another one of the batch. [ErrUnsupported] says that the
// queue's stream takes no batches. Then nothing is stored, nor with [ErrInvalid], [ErrStoreFull] and
// [ErrNotSent]. With any other error all are stored or none ([MaybeStored]).
//
// It is for jobs that belong together. A broker that is not a cluster writes and syncs a file for
// each such batch, so one costs as much as hundreds of jobs by themselves. A queue takes part in 50
// at a time; others wait for their turn.
func (c *Client) EnqueueAtomic(ctx context.Context, batch []Request) (refs []Ref, err error) {
	jobs := make([]*enqueueOptions, len(batch))
	for i, r := range batch {
		if jobs[i], err = newOptions(r.Args, r.Options); err != nil {
			return nil, &AtomicError{Index: i, Err: publicError(err)}
		}
	}
	if c.chain == nil || len(jobs) == 0 {
		err = c.storeAtomic(ctx, jobs)
	} else {
		err = c.atomicThroughMiddleware(ctx, jobs)
	}
	if err != nil {
		return nil, err
	}
	refs = make([]Ref, len(jobs))
	for i, o := range jobs {
		refs[i] = refOf(&o.Record)
	}
	return refs, nil
}

func (c *Client) storeAtomic(ctx context.Context, jobs []*enqueueOptions) error {
	batch := make([]queue.Enqueue, len(jobs))
	quotas := make(map[string]int)
	for i, o := range jobs {
		var err error
		if batch[i], err = c.prepare(ctx, o, quotas); err != nil {
			return publicError(&queue.AtomicError{Index: i, Err: err})
		}
	}
	return publicError(c.store.EnqueueAtomic(ctx, batch))
}

// atomicThroughMiddleware is throughMiddleware of jobs that are stored together.
func (c *Client) atomicThroughMiddleware(ctx context.Context, jobs []*enqueueOptions) error {
	drafts := make([]*Draft, len(jobs))
	for i, o := range jobs {
		drafts[i] = newDraft(o)
		drafts[i].together = drafts
	}
	errs := c.runChain(ctx, slices.Clone(drafts)) // which the chain may change
	cause := slices.IndexFunc(errs, func(err error) bool { return err != nil && !errors.Is(err, ErrNotSent) })
	if cause < 0 {
		cause = slices.IndexFunc(errs, func(err error) bool { return err != nil })
	}
	if cause < 0 {
		return nil
	}
	err := errs[cause]
	if _, named := errors.AsType[*AtomicError](err); named || !slices.ContainsFunc(errs, func(other error) bool { return !errors.Is(other, err) }) {
		return err
	}
	return &AtomicError{Index: cause, Err: err}
}

// storeTogether is storeDrafts of jobs that are stored together. The job in the way has the error
// that names it, and the others are not sent.
func (c *Client) storeTogether(ctx context.Context, drafts []*Draft) error {
	all := drafts[0].together
	err := applyTogether(drafts, all)
	if err == nil {
		jobs := make([]*enqueueOptions, len(all))
		for i, d := range all {
			jobs[i] = d.options
		}
		err = c.storeAtomic(ctx, jobs)
	}
	named, isNamed := errors.AsType[*AtomicError](err)
	for i, d := range all {
		d.passed, d.err = true, err
		if isNamed && i != named.Index {
			d.err = &notSentError{cause: errors.New("job " + all[named.Index].options.ID + " of its batch was refused")}
		}
	}
	if err == nil {
		return nil
	}
	errs := make([]error, len(drafts))
	for i, d := range drafts {
		errs[i] = err
		if d != nil && d.err != nil {
			errs[i] = d.err
		}
	}
	return &BatchError{Errs: errs}
}

// applyTogether takes over what was changed in the drafts, which must be all, in any order.
func applyTogether(drafts, all []*Draft) error {
	given := make(map[*Draft]bool, len(all))
	ours := make(map[*Draft]bool, len(all))
	for _, d := range all {
		ours[d] = true
	}
	for _, d := range drafts {
		if !ours[d] {
			return publicError(&job.InvalidError{What: "drafts", Rule: "must be those of one EnqueueAtomic: they are stored together"})
		}
		given[d] = true
	}
	if len(given) != len(all) || len(drafts) != len(all) {
		return publicError(job.Invalid("drafts", len(drafts), "must be all %d of the EnqueueAtomic, once: they are stored together", len(all)))
	}
	for i, d := range all {
		if err := d.apply(); err != nil {
			return &AtomicError{Index: i, Err: publicError(err)}
		}
	}
	return nil
}
