package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
)

// flush enqueues the batch, counts and prints what became of each job, and forgets it: a second send
// would be of new ids. The error is one that makes going on pointless.
func (b *bulk) flush(ctx context.Context, in *lines, done bool) error {
	batch := b.batch
	b.batch, b.bytes = nil, 0
	// What was sent is waited for a moment longer than ctx lasts, so that the summary is true.
	longer, stop := outlive(ctx, answersWithin)
	defer stop()
	if err := b.send(ctx, longer, batch); err != nil {
		return err
	}
	if b.named != nil {
		if err := b.named.save(longer, registry.Bulk{Lines: in.number, Refused: b.refused, SHA256: in.sum(), Done: done}); err != nil {
			return err
		}
	}
	b.answered = in.number
	if b.unprinted != nil {
		return fmt.Errorf("write to standard output: %w", b.unprinted)
	}
	return ctx.Err()
}

func (b *bulk) send(ctx, longer context.Context, batch []entry) error {
	if b.named != nil {
		var err error
		if batch, err = b.unsent(ctx, batch); err != nil {
			return err
		}
	}
	if len(batch) == 0 {
		return nil
	}
	requests := make([]millhand.Request, len(batch))
	for i, e := range batch {
		requests[i] = e.request
	}
	refs, err := b.client.EnqueueMany(longer, requests)
	failed, isBatch := errors.AsType[*millhand.BatchError](err)
	if err != nil && !isBatch {
		return err
	}
	errs := make([]error, len(batch))
	if isBatch {
		errs = failed.Errs
	}
	unanswered := b.unanswered(batch, errs)
	b.paged(func() {
		for i, e := range batch {
			b.printed(b.done(ctx, e, refs[i], errs[i]))
		}
	})
	b.progress.show(b.enqueued + b.duplicate + b.refused)
	return unanswered
}

// unsent returns the jobs of the batch that an earlier run did not enqueue. The others are duplicates.
func (b *bulk) unsent(ctx context.Context, batch []entry) ([]entry, error) {
	known, err := b.named.found(ctx, b.client, batch)
	if err != nil {
		return nil, err
	}
	var rest []entry
	b.paged(func() {
		for i, e := range batch {
			if known[i].State == "" {
				rest = append(rest, e)
				continue
			}
			b.duplicate++
			r := report{Ref: known[i].Ref, Duplicate: true, text: known[i].ID}
			r.setState(&known[i])
			b.printed(b.print(r))
		}
	})
	return rest, nil
}

// paged has what is printed meanwhile go out together: a write for every id would cost more than its
// job.
func (b *bulk) paged(write func()) {
	plain := b.out
	page := bufio.NewWriter(plain)
	b.out = page
	write()
	b.out = plain
	b.printed(page.Flush())
}

// printed notes the first error of printing. What is enqueued is so all the same.
func (b *bulk) printed(err error) {
	if b.unprinted == nil {
		b.unprinted = err
	}
}

// outlive returns a context that ends a while after ctx.
func outlive(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(while, cancel) })
	return longer, func() { stop(); cancel() }
}

// unanswered returns why the bulk cannot go on, nil if it can: jobs that may or may not be
// enqueued, which it counts, or jobs that are not though nothing is wrong with them.
func (b *bulk) unanswered(batch []entry, errs []error) error {
	first, unsent := 0, 0
	for i, err := range errs {
		switch {
		case millhand.MaybeStored(err):
			if b.unknown == 0 {
				first = i
			}
			b.unknown++
		case errors.Is(err, millhand.ErrStoreFull), errors.Is(err, millhand.ErrNotSent):
			if b.unknown+unsent == 0 {
				first = i
			}
			unsent++
		}
	}
	last := batch[len(batch)-1].number
	switch {
	case b.unknown == 1:
		return fmt.Errorf("line %d may or may not be enqueued, what follows it is not: %w", batch[first].number, errs[first])
	case b.unknown > 1:
		return fmt.Errorf("line %d and %d more up to line %d may or may not be enqueued, what follows is not: %w",
			batch[first].number, b.unknown-1, last, errs[first])
	case unsent == 1:
		return fmt.Errorf("line %d is not enqueued, nor is what follows it: %w", batch[first].number, errs[first])
	case unsent > 1:
		return fmt.Errorf("line %d and %d more up to line %d are not enqueued, nor is what follows: %w", batch[first].number, unsent-1, last, errs[first])
	}
	return nil
}

// done counts and prints what became of a job. The error is one of printing.
func (b *bulk) done(ctx context.Context, e entry, ref millhand.Ref, err error) error {
	d, isDuplicate := errors.AsType[*millhand.DuplicateError](err)
	switch {
	case err == nil:
		b.enqueued++
		b.due.add(e.due)
		if b.wait.set {
			b.waiting = append(b.waiting, ref)
			return nil
		}
		return b.printNew(ctx, b.client, ref, !e.due.IsZero())
	case isDuplicate && b.unknown > 0: // a broker that does not answer has nothing to say of it
		b.duplicate++
		return b.print(report{Ref: d.Existing, Duplicate: true, text: d.Existing.ID})
	case isDuplicate:
		b.duplicate++
		return b.printDuplicate(ctx, b.client, d)
	case errors.Is(err, millhand.ErrInvalid), errors.Is(err, millhand.ErrQuotaReached):
		b.refuse(e.number, err)
	}
	return nil
}

func (b *bulk) refuse(number int, err error) {
	b.refused++
	b.progress.clear()
	b.say("enqueue: line %d: %s", number, cli.Text(err))
}
