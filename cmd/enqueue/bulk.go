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

	"github.com/schollz/progressbar/v3"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

const (
	bulkBatch     = 1000
	bulkLine      = 4 << 20 // bytes; a line holds more than its payload
	progressEvery = 10 * time.Second
)

// line is one job of a bulk. Its fields are a contract.
type line struct {
	Type        string            `json:"type"`
	Payload     json.RawMessage   `json:"payload"`
	ID          string            `json:"id"`
	Queue       string            `json:"queue"`
	MaxAttempts int               `json:"max_attempts"`
	Timeout     string            `json:"timeout"`
	Meta        map[string]string `json:"meta"`
}

// bulk is the state of an enqueue --from.
type bulk struct {
	*command
	client   *millhand.Client
	typ      string // of lines without one
	progress *progress

	number    int // of the line read last
	batch     []millhand.Request
	lines     []int // their numbers
	waiting   []millhand.Ref
	enqueued  int
	duplicate int
	refused   int
}

func (c *command) enqueueMany(ctx context.Context, client *millhand.Client, in io.Reader, typ string) error {
	common, err := c.options()
	if err != nil {
		return err
	}
	b := &bulk{command: c, client: client, typ: typ, progress: newProgress(c.err)}
	start := time.Now()
	err = b.readAll(ctx, in, common)
	if flushErr := b.flush(ctx); err == nil {
		err = flushErr
	}
	b.progress.end()
	c.say("enqueued %d, duplicates %d, refused %d in %.2fs", b.enqueued, b.duplicate, b.refused, time.Since(start).Seconds())
	if err != nil {
		return err
	}
	failed := 0
	for _, ref := range b.waiting {
		switch err := c.await(ctx, client, ref); {
		case err == nil:
		case exitCode(err) == cli.ExitJobFailed:
			failed++
			c.say("enqueue: %v", err)
		default:
			return err
		}
	}
	switch {
	case b.refused > 0:
		return &cli.ExitError{Code: cli.ExitPartial}
	case failed > 0:
		return &cli.ExitError{Code: cli.ExitJobFailed, Err: fmt.Errorf("%d of %d jobs failed", failed, len(b.waiting))}
	}
	return nil
}

// say writes a line to standard error; if that is gone, the exit code still tells.
func (c *command) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.err, format+"\n", args...)
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*cli.ExitError](err); ok {
		return e.Code
	}
	return cli.ExitRuntime
}

func (b *bulk) readAll(ctx context.Context, in io.Reader, common []millhand.EnqueueOption) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		text, err := readLine(r)
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return nil
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
		if len(b.batch) >= bulkBatch {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
	}
}

var errLineTooLong = fmt.Errorf("line is longer than %d MiB", bulkLine>>20)

// readLine returns the next line; of one that is too long it reads the rest and says so.
func readLine(r *bufio.Reader) (text []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(text)+len(part) > bulkLine {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			return nil, errLineTooLong
		}
		text = append(text, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

func (b *bulk) add(text []byte, common []millhand.EnqueueOption) {
	r, err := b.parse(text, common)
	if err != nil {
		b.refuse(b.number, err)
		return
	}
	b.batch, b.lines = append(b.batch, r), append(b.lines, b.number)
}

func (b *bulk) parse(text []byte, common []millhand.EnqueueOption) (millhand.Request, error) {
	l := line{Type: b.typ, Payload: json.RawMessage("{}")}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return millhand.Request{}, fmt.Errorf("not a job: %w", err)
	}
	if dec.More() {
		return millhand.Request{}, errors.New("more than one JSON value")
	}
	if l.Type == "" {
		return millhand.Request{}, errors.New("no type; name one in the line or as the argument TYPE")
	}
	opts := append([]millhand.EnqueueOption(nil), common...)
	if l.ID != "" {
		opts = append(opts, millhand.WithID(l.ID))
	}
	if l.Queue != "" {
		opts = append(opts, millhand.WithQueue(l.Queue))
	}
	if l.MaxAttempts != 0 {
		opts = append(opts, millhand.WithMaxAttempts(l.MaxAttempts))
	}
	if l.Timeout != "" {
		d, err := time.ParseDuration(l.Timeout)
		if err != nil {
			return millhand.Request{}, fmt.Errorf("timeout: %w", err)
		}
		opts = append(opts, millhand.WithTimeout(d))
	}
	for k, v := range l.Meta {
		opts = append(opts, millhand.WithMeta(k, v))
	}
	return millhand.Request{Args: millhand.Raw{Name: l.Type, Payload: l.Payload}, Options: opts}, nil
}

// flush enqueues the batch. The error is one that makes going on pointless.
func (b *bulk) flush(ctx context.Context) error {
	if len(b.batch) == 0 {
		return nil
	}
	refs, err := b.client.EnqueueMany(ctx, b.batch)
	failed, isBatch := errors.AsType[*millhand.BatchError](err)
	if err != nil && !isBatch {
		return err
	}
	for i, ref := range refs {
		var err error
		if isBatch {
			err = failed.Errs[i]
		}
		if err := b.done(ctx, ref, b.lines[i], err); err != nil {
			return err
		}
	}
	b.batch, b.lines = b.batch[:0], b.lines[:0]
	b.progress.show(b.enqueued + b.duplicate + b.refused)
	return ctx.Err()
}

func (b *bulk) done(ctx context.Context, ref millhand.Ref, number int, err error) error {
	d, isDuplicate := errors.AsType[*millhand.DuplicateError](err)
	switch {
	case err == nil:
		b.enqueued++
		if b.wait.set {
			b.waiting = append(b.waiting, ref)
			return nil
		}
		return b.print(report{Ref: ref, State: millhand.Ready})
	case isDuplicate:
		b.duplicate++
		return b.printDuplicate(ctx, b.client, d)
	case errors.Is(err, millhand.ErrInvalid):
		b.refuse(number, err)
		return nil
	default: // the broker, not the line
		return fmt.Errorf("line %d, and what follows it: %w", number, err)
	}
}

func (b *bulk) refuse(number int, err error) {
	b.refused++
	b.progress.clear()
	b.say("enqueue: line %d: %s", number, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// checkJSON holds a payload typed by a person to the convention.
func checkJSON(b []byte) error {
	if json.Valid(b) {
		return nil
	}
	var v any
	err := json.Unmarshal(b, &v)
	return fmt.Errorf("%w; quote the JSON for the shell, as in '{\"to\":\"a@example.com\"}'", err)
}

// progress draws on a terminal and writes a line now and then elsewhere.
type progress struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	start time.Time
	last  time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, start: time.Now(), last: time.Now()}
	if cli.IsTerminal(out) {
		p.bar = progressbar.NewOptions(-1, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("enqueueing"),
			progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionSetItsString("jobs"),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *progress) show(n int) {
	switch {
	case p.bar != nil:
		_ = p.bar.Set(n) // drawing is for show
	case time.Since(p.last) >= progressEvery:
		p.last = time.Now()
		_, _ = fmt.Fprintf(p.out, "enqueue: %d lines, %.0f/s\n", n, float64(n)/time.Since(p.start).Seconds()) // for show
	}
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
