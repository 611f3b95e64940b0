package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
			b.say("enqueue: %s", cli.Text(err))
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
		b.say("enqueue: %s", cli.Text(err))
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
