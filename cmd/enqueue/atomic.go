package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

// atomicJobs is how many jobs are enqueued together at most.
const atomicJobs = 1000

// enqueueAtomic enqueues all jobs of the input or none of them.
func (b *bulk) enqueueAtomic(ctx context.Context, in io.Reader) error {
	batch, err := b.readAtomic(ctx, in)
	if err != nil {
		return err
	}
	requests := make([]millhand.Request, len(batch))
	for i, e := range batch {
		requests[i] = e.request
	}
	longer, stop := outlive(ctx, answersWithin)
	defer stop()
	refs, err := b.client.EnqueueAtomic(longer, requests)
	if err != nil {
		return atomicError(err, batch)
	}
	b.paged(func() {
		for i, e := range batch {
			b.printed(b.done(ctx, e, refs[i], nil))
		}
	})
	if b.unprinted != nil {
		return fmt.Errorf("the jobs are enqueued, but their ids cannot be written: %w", b.unprinted)
	}
	return nil
}

// readAtomic reads the jobs of all lines, and finds what the broker need not be asked for.
func (b *bulk) readAtomic(ctx context.Context, in io.Reader) ([]entry, error) {
	lines, err := newLines(in, false)
	if err != nil {
		return nil, err
	}
	var batch []entry
	taken := make(map[string]int) // by type and id: the line
	for {
		text, err := lines.next(ctx)
		switch {
		case errors.Is(err, io.EOF) && len(batch) == 0:
			return nil, cli.Usagef("no jobs in %s", b.inputName())
		case errors.Is(err, io.EOF):
			return batch, nil
		case errors.Is(err, errLineTooLong):
			return nil, lineError(lines.number, err)
		case err != nil:
			return nil, err
		case len(bytes.TrimSpace(text)) == 0:
			continue
		}
		e, err := b.common.parse(text)
		if err != nil {
			return nil, lineError(lines.number, err)
		}
		e.number = lines.number
		key := e.typ + " " + e.id
		switch first := taken[key]; {
		case len(batch) == atomicJobs:
			return nil, cli.Usagef("line %d: an atomic enqueue has at most %d jobs", e.number, atomicJobs)
		case len(batch) > 0 && e.queue != batch[0].queue:
			return nil, cli.Usagef("line %d is of queue %s, line %d of %s: an atomic enqueue is of one queue", e.number, e.queue, batch[0].number, batch[0].queue)
		case e.id != "" && first > 0:
			return nil, cli.Usagef("line %d has the id of line %d", e.number, first)
		}
		taken[key] = e.number
		batch = append(batch, e)
	}
}

func (c *command) inputName() string {
	if c.from == "-" {
		return "standard input"
	}
	return c.from
}

// lineError is what is wrong with a line, of which nothing is enqueued therefore.
func lineError(number int, err error) error {
	return cli.Usagef("line %d: %w", number, err)
}

// atomicError is what the command ends with if the batch was refused.
func atomicError(err error, batch []entry) error {
	failed, named := errors.AsType[*millhand.AtomicError](err)
	switch {
	case !named && millhand.MaybeStored(err):
		return fmt.Errorf("either all %d jobs are enqueued or none of them is: %w", len(batch), err)
	case !named:
		return asUsage(err)
	}
	text := fmt.Errorf("line %d: %w", batch[failed.Index].number, failed.Err)
	if errors.Is(err, millhand.ErrInvalid) {
		return &cli.ExitError{Code: cli.ExitUsage, Err: text}
	}
	if errors.Is(err, millhand.ErrDuplicate) || errors.Is(err, millhand.ErrQuotaReached) {
		return &cli.ExitError{Code: cli.ExitRefused, Err: text}
	}
	return text
}
