package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
)

const (
	bulkBatch = 1000
	bulkBytes = 8 << 20 // of the lines of a batch: a batch with this many is sent
	bulkLine  = 4 << 20 // bytes; a line holds more than its payload

	// After an interrupt: for the broker's answers to what was sent, so that the summary
	// is true.
	answersWithin = 2 * time.Second
	// After the end of --wait: to tell the jobs that have ended from those that have not.
	lastLookWithin = 5 * time.Second
)

// bulk is the state of an enqueue --from.
type bulk struct {
	*command
	client   *millhand.Client
	common   template
	named    *named // nil: it cannot be gone on with
	progress *progress
	due      dueTimes

	batch     []entry
	bytes     int // of its lines
	answered  int // the line up to which it is known what became of each
	waiting   []millhand.Ref
	enqueued  int
	duplicate int
	refused   int
	unknown   int // no answer says whether they are stored
	unprinted error
}

func (c *command) enqueueMany(ctx context.Context, client *millhand.Client, store *registry.Store, in io.Reader, typ string) error {
	common, err := c.options()
	if err != nil {
		return err
	}
	b := &bulk{
		command: c, client: client, progress: newProgress(c.err),
		common: template{typ: typ, queue: c.queue, terms: c.terms, options: common},
	}
	if c.resume != "" {
		if b.named, err = openNamed(ctx, store, c.resume, c.patience); err != nil {
			return err
		}
	}
	start := time.Now()
	if c.atomic {
		err = b.enqueueAtomic(ctx, in)
	} else {
		err = b.readAll(ctx, in)
	}
	b.progress.end()
	if exitCode(err) == cli.ExitUsage || c.atomic && err != nil {
		return err
	}
	c.say("enqueued %d, duplicates %d, refused %d in %.2fs", b.enqueued, b.duplicate, b.refused, time.Since(start).Seconds())
	if note := b.due.note(); note != "" {
		c.say("%s", note)
	}
	if err != nil {
		return b.stopped(ctx, err)
	}
	err = b.awaitAll(ctx)
	if b.refused > 0 && (err == nil || exitCode(err) == cli.ExitJobFailed) {
		return &cli.ExitError{Code: cli.ExitPartial}
	}
	return err
}

// stopped says how to go on after what ended a bulk early, and returns what the command ends with.
func (b *bulk) stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		if b.unknown > 0 {
			b.say("enqueue: %v", err)
		}
		err = ctx.Err()
	}
	next := "use --resume NAME to be able to go on"
	if b.named != nil {
		next = "the same command goes on from there"
	}
	b.say("enqueue: stopped after line %d; %s", b.answered, next)
	return err
}

// awaitAll waits for the end of every job, and of all of them together no longer than
// --wait says.
func (b *bulk) awaitAll(ctx context.Context) error {
	bounded, cancel := b.wait.bound(ctx)
	defer cancel()
	look, cancelLook := context.WithTimeoutCause(ctx, b.wait.most+lastLookWithin, errWaited)
	defer cancelLook()
	var failed, alive, gone int
	for _, ref := range b.waiting {
		within := bounded
		if bounded.Err() != nil { // the time is up, but this one may have ended within it
			within = look
			if info, err := b.client.Get(look, ref); err == nil && !info.State.Final() {
				alive++
				continue
			}
		}
		err := b.await(within, b.client, ref)
		switch exitCode(err) {
		case cli.ExitOK:
			continue
		case cli.ExitTimeout:
			alive++
			continue
		case cli.ExitJobFailed:
			failed++
		case cli.ExitNotFound:
			gone++
		default:
			return err
		}
		b.say("enqueue: %v", err)
	}
	all := len(b.waiting)
	switch {
	case alive > 0:
		return &cli.ExitError{Code: cli.ExitTimeout, Err: fmt.Errorf("%d of %d jobs have not ended within %v; they go on", alive, all, b.wait.most)}
	case failed > 0:
		return &cli.ExitError{Code: cli.ExitJobFailed, Err: fmt.Errorf("%d of %d jobs failed", failed, all)}
	case gone > 0:
		return &cli.ExitError{Code: cli.ExitNotFound, Err: fmt.Errorf("%d of %d jobs are not known any more", gone, all)}
	}
	return nil
}

// say writes a line to standard error; if that is gone, the exit code still tells.
func (c *command) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.err, format+"\n", args...)
}

func exitCode(err error) int {
	if err == nil {
		return cli.ExitOK
	}
	if e, ok := errors.AsType[*cli.ExitError](err); ok {
		return e.Code
	}
	return cli.ExitRuntime
}

func (b *bulk) readAll(ctx context.Context, in io.Reader) error {
	lines, err := newLines(in, b.named != nil)
	if err == nil && b.named != nil {
		err = b.skip(ctx, lines)
	}
	if err != nil {
		return err
	}
	for {
		text, err := lines.next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return b.flush(ctx, lines, true)
		case errors.Is(err, errLineTooLong):
			b.refuse(lines.number, err)
		case err != nil:
			return err
		case len(bytes.TrimSpace(text)) > 0:
			b.add(text, lines.number)
		}
		if len(b.batch) >= bulkBatch || b.bytes >= bulkBytes {
			if err := b.flush(ctx, lines, false); err != nil {
				return err
			}
		}
	}
}

func (b *bulk) add(text []byte, number int) {
	e, err := b.common.parse(text)
	if err != nil {
		b.refuse(number, err)
		return
	}
	e.number = number
	if b.named != nil {
		b.named.identify(&e)
	}
	b.batch = append(b.batch, e)
	b.bytes += len(text)
}

// skip leaves out what earlier runs of the same name did.
func (b *bulk) skip(ctx context.Context, in *lines) error {
	jobs, err := b.named.skip(ctx, in)
	b.refused = b.named.before.Refused
	b.duplicate = max(0, jobs-b.refused)
	b.answered = in.number
	return err
}

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
	b.say("enqueue: line %d: %s", number, strings.ReplaceAll(ownWords(err), "\n", "; "))
}
