package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
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

// line is one job of a bulk. Its fields are a contract.
type line struct {
	Type        *string              `json:"type"` // as null: not given, like all others
	Payload     json.RawMessage      `json:"payload"`
	ID          *string              `json:"id"`
	Queue       *string              `json:"queue"`
	MaxAttempts *int                 `json:"max_attempts"`
	Timeout     *string              `json:"timeout"`
	Meta        map[string]metaValue `json:"meta"`
}

// metaValue is a text of which the decoder replaces nothing.
type metaValue string

// UnmarshalJSON implements json.Unmarshaler.
func (v *metaValue) UnmarshalJSON(b []byte) error {
	if err := checkEscapes(b); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return json.Unmarshal(b, (*string)(v))
}

// bulk is the state of an enqueue --from.
type bulk struct {
	*command
	client   *millhand.Client
	typ      string // of lines without one
	progress *progress

	number    int // of the line read last
	batch     []millhand.Request
	bytes     int   // of its lines
	lines     []int // their numbers
	waiting   []millhand.Ref
	enqueued  int
	duplicate int
	refused   int
	unknown   int // no answer says whether they are stored
}

func (c *command) enqueueMany(ctx context.Context, client *millhand.Client, in io.Reader, typ string) error {
	common, err := c.options()
	if err != nil {
		return err
	}
	b := &bulk{command: c, client: client, typ: typ, progress: newProgress(c.err)}
	start := time.Now()
	err = b.readAll(ctx, in, common)
	b.progress.end()
	c.say("enqueued %d, duplicates %d, refused %d in %.2fs", b.enqueued, b.duplicate, b.refused, time.Since(start).Seconds())
	if ctx.Err() != nil {
		if b.unknown > 0 {
			c.say("enqueue: %v", err)
		}
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	err = b.awaitAll(ctx)
	if b.refused > 0 && (err == nil || exitCode(err) == cli.ExitJobFailed) {
		return &cli.ExitError{Code: cli.ExitPartial}
	}
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

func (b *bulk) readAll(ctx context.Context, in io.Reader, common []millhand.EnqueueOption) error {
	r := bufio.NewReaderSize(in, 64<<10)
	if err := skipMark(r); err != nil {
		return err
	}
	for {
		text, err := readLine(r)
		if ctx.Err() != nil { // and if it is the end: that of a writer interrupted with us
			return ctx.Err()
		}
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return b.flush(ctx)
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLineTooLong) {
			return fmt.Errorf("read line %d: %w", b.number+1, err)
		}
		b.number++
		switch {
		case errors.Is(err, errLineTooLong):
			b.refuse(b.number, err)
		case len(bytes.TrimSpace(text)) > 0:
			b.add(text, common)
		}
		if len(b.batch) >= bulkBatch || b.bytes >= bulkBytes {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
	}
}

const byteOrderMark = "\xef\xbb\xbf"

var errLineTooLong = fmt.Errorf("line is longer than %d MiB", bulkLine>>20)

func (b *bulk) add(text []byte, common []millhand.EnqueueOption) {
	r, err := b.parse(text, common)
	if err != nil {
		b.refuse(b.number, err)
		return
	}
	b.batch, b.lines = append(b.batch, r), append(b.lines, b.number)
	b.bytes += len(text)
}

func (b *bulk) parse(text []byte, common []millhand.EnqueueOption) (millhand.Request, error) {
	l := line{Payload: json.RawMessage("{}")}
	if err := checkText(text); err != nil {
		return millhand.Request{}, err
	}
	if text = bytes.TrimSpace(text); text[0] != '{' { // null would be decoded to nothing
		return millhand.Request{}, errors.New("not a job: want a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return millhand.Request{}, fmt.Errorf("not a job: %w", plainly(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // More takes a bracket for the end
		return millhand.Request{}, errors.New("something follows the JSON object")
	}
	if key, ok := repeatedKey(text); ok { // of which the decoder takes the last one
		return millhand.Request{}, fmt.Errorf("not a job: %q is given twice", key)
	}
	typ := b.typ
	if l.Type != nil {
		typ = *l.Type
	}
	if typ == "" {
		return millhand.Request{}, errors.New("no type; name one in the line or as the argument TYPE")
	}
	own, err := l.options()
	if err != nil {
		return millhand.Request{}, err
	}
	return millhand.Request{
		Args: millhand.Raw{Name: typ, Payload: l.Payload}, Options: append(append([]millhand.EnqueueOption(nil), common...), own...),
	}, nil
}

// plainly says which field has a value of the wrong kind without naming the decoder's own types.
func plainly(err error) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || wrong.Field == "" {
		return err
	}
	want := "text in quotes"
	switch wrong.Field {
	case "max_attempts":
		want = "a whole number"
	case "meta":
		want = `an object of texts, as in {"key":"value"}`
	}
	return fmt.Errorf("%s: want %s, got %s", wrong.Field, want, wrong.Value)
}

// options are those of a line. What is given but empty is an error, as it is for flags.
func (l *line) options() ([]millhand.EnqueueOption, error) {
	var opts []millhand.EnqueueOption
	if l.ID != nil {
		if err := checkID(*l.ID); err != nil {
			return nil, err
		}
		opts = append(opts, millhand.WithID(*l.ID))
	}
	if l.Queue != nil {
		if *l.Queue == "" {
			return nil, errors.New("queue: must not be empty; leave it out for that of --queue")
		}
		opts = append(opts, millhand.WithQueue(*l.Queue))
	}
	if l.MaxAttempts != nil {
		if err := checkMaxAttempts(*l.MaxAttempts); err != nil {
			return nil, err
		}
		opts = append(opts, millhand.WithMaxAttempts(*l.MaxAttempts))
	}
	if l.Timeout != nil {
		d, err := time.ParseDuration(*l.Timeout)
		if err == nil {
			err = checkTimeout(d)
		}
		if err != nil {
			return nil, fmt.Errorf("timeout: %w", err)
		}
		opts = append(opts, millhand.WithTimeout(d))
	}
	for k, v := range l.Meta {
		opts = append(opts, millhand.WithMeta(k, string(v)))
	}
	return opts, nil
}

// flush enqueues the batch, counts and prints what became of each job, and forgets it:
// a second send would be of new ids. The error is one that makes going on pointless.
func (b *bulk) flush(ctx context.Context) error {
	batch, lines := b.batch, b.lines
	b.batch, b.lines, b.bytes = nil, nil, 0
	if len(batch) == 0 {
		return nil
	}
	answers, done := outlive(ctx, answersWithin)
	defer done()
	refs, err := b.client.EnqueueMany(answers, batch)
	failed, isBatch := errors.AsType[*millhand.BatchError](err)
	if err != nil && !isBatch {
		return err
	}
	var unanswered, unprinted error // the first ones
	if isBatch {
		unanswered = b.unanswered(lines, failed.Errs)
	}
	plain := b.out
	page := bufio.NewWriter(plain) // a write for every id would cost more than its job
	b.out = page
	for i, ref := range refs {
		var err error
		if isBatch {
			err = failed.Errs[i]
		}
		if err := b.done(ctx, ref, lines[i], err); unprinted == nil {
			unprinted = err
		}
	}
	b.out = plain
	if err := page.Flush(); unprinted == nil {
		unprinted = err
	}
	b.progress.show(b.enqueued + b.duplicate + b.refused)
	switch {
	case unanswered != nil:
		return unanswered
	case unprinted != nil:
		return fmt.Errorf("write to standard output: %w", unprinted)
	}
	return ctx.Err()
}

// outlive returns a context that ends a while after ctx.
func outlive(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(while, cancel) })
	return longer, func() { stop(); cancel() }
}

// unanswered returns why the bulk cannot go on, nil if it can: jobs that may or may not be
// enqueued, which it counts, or jobs that are not though nothing is wrong with them.
func (b *bulk) unanswered(lines []int, errs []error) error {
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
	last := lines[len(lines)-1]
	switch {
	case b.unknown == 1:
		return fmt.Errorf("line %d may or may not be enqueued, what follows it is not: %w", lines[first], errs[first])
	case b.unknown > 1:
		return fmt.Errorf("line %d and %d more up to line %d may or may not be enqueued, what follows is not: %w",
			lines[first], b.unknown-1, last, errs[first])
	case unsent == 1:
		return fmt.Errorf("line %d is not enqueued, nor is what follows it: %w", lines[first], errs[first])
	case unsent > 1:
		return fmt.Errorf("line %d and %d more up to line %d are not enqueued, nor is what follows: %w", lines[first], unsent-1, last, errs[first])
	}
	return nil
}

// done counts and prints what became of a job. The error is one of printing.
func (b *bulk) done(ctx context.Context, ref millhand.Ref, number int, err error) error {
	d, isDuplicate := errors.AsType[*millhand.DuplicateError](err)
	switch {
	case err == nil:
		b.enqueued++
		if b.wait.set {
			b.waiting = append(b.waiting, ref)
			return nil
		}
		return b.print(report{Ref: ref, State: millhand.Ready, text: ref.ID})
	case isDuplicate && b.unknown > 0: // a broker that does not answer has nothing to say of it
		b.duplicate++
		return b.print(report{Ref: d.Existing, Duplicate: true, text: d.Existing.ID})
	case isDuplicate:
		b.duplicate++
		return b.printDuplicate(ctx, b.client, d)
	case errors.Is(err, millhand.ErrInvalid), errors.Is(err, millhand.ErrQuotaReached):
		b.refuse(number, err)
	}
	return nil
}

func (b *bulk) refuse(number int, err error) {
	b.refused++
	b.progress.clear()
	b.say("enqueue: line %d: %s", number, strings.ReplaceAll(err.Error(), "\n", "; "))
}
