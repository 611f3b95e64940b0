package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/timespan"
)

// report is what is printed of one job. Its JSON is a contract.
type report struct {
	millhand.Ref
	State     millhand.State  `json:"state"`
	RunAt     *time.Time      `json:"run_at,omitempty"` // of a scheduled job
	Duplicate bool            `json:"duplicate"`
	Until     *time.Time      `json:"until,omitempty"` // of a duplicate that has ended, and whose id is kept
	Result    json.RawMessage `json:"result,omitempty"`
	Base64    []byte          `json:"result_base64,omitempty"`
	Attempts  int             `json:"attempts,omitempty"`
	Error     string          `json:"error,omitempty"`

	text string // what -o text prints
}

func (c *command) print(r report) error {
	if c.quiet {
		return nil
	}
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	_, err := fmt.Fprintln(c.out, strings.TrimSuffix(r.text, "\n")) // most commands end their output with one
	return err
}

// printNew prints a job that was enqueued, and may have to wait for its time.
func (c *command) printNew(ctx context.Context, client *millhand.Client, ref millhand.Ref, delayed bool) error {
	r := report{Ref: ref, State: millhand.Ready, text: ref.ID}
	if delayed && c.output == "json" && !c.quiet {
		r.look(ctx, client) // whether it waits, and until when, is the broker's to say
	}
	return c.print(r)
}

// look fills in what is known of the job by now, if anything.
func (r *report) look(ctx context.Context, client *millhand.Client) {
	if info, err := client.Get(ctx, r.Ref); err == nil { // it may have ended meanwhile
		r.setState(&info)
	}
}

func (r *report) setState(info *millhand.Info) {
	r.State = info.State
	if info.State == millhand.Scheduled {
		r.RunAt = &info.RunAt
	}
}

// printDuplicate prints the job that is in the way of a new one.
func (c *command) printDuplicate(ctx context.Context, client *millhand.Client, d *millhand.DuplicateError) error {
	r := report{Ref: d.Existing, Duplicate: true, text: d.Existing.ID}
	if !d.Until.IsZero() {
		r.Until = new(d.Until.UTC())
	}
	r.look(ctx, client)
	return c.print(r)
}

// await waits for a job's end and prints it. It gives up when ctx ends, which
// [waitFlag.bound] makes it do.
func (c *command) await(ctx context.Context, client *millhand.Client, ref millhand.Ref) error {
	info, err := client.Await(ctx, ref)
	return c.ended(ctx, ref, info, err)
}

// ended prints what became of a job that was awaited until ctx ended at the latest.
func (c *command) ended(ctx context.Context, ref millhand.Ref, info millhand.Info, err error) error {
	r := report{Ref: ref, State: info.State, Attempts: info.Attempt}
	failed, isFailed := errors.AsType[*millhand.FailedError](err)
	switch {
	case err == nil:
		r.setResult(info.Returned)
		return c.print(r)
	case isFailed:
		r.Error = failed.Message
	case errors.Is(err, millhand.ErrCancelled):
		r.Error = info.LastError()
		err = fmt.Errorf("job %s was cancelled (%s)", ref.ID, info.Reason)
		if r.Error != "" {
			err = fmt.Errorf("%w: %s", err, r.Error)
		}
	case errors.Is(err, errWaited) && !errors.Is(context.Cause(ctx), err): // with why nothing is known
		return &cli.ExitError{Code: cli.ExitTimeout, Err: fmt.Errorf("job %s: %w", ref.ID, err)}
	case errors.Is(err, errWaited):
		return &cli.ExitError{Code: cli.ExitTimeout, Err: fmt.Errorf("job %s has not ended within %v; it goes on", ref.ID, c.wait.most)}
	case errors.Is(err, millhand.ErrNotFound):
		return &cli.ExitError{Code: cli.ExitNotFound, Err: fmt.Errorf("job %s has ended and left no record: its type keeps none of a success, or its events have expired", ref.ID)}
	case errors.Is(context.Cause(ctx), context.Canceled):
		return &cli.ExitError{Code: cli.ExitInterrupted, Err: fmt.Errorf("interrupted; job %s goes on: %s", ref.ID, c.goOn(ref))}
	default:
		return err
	}
	if c.output == "json" {
		if err := c.print(r); err != nil {
			return err
		}
	}
	return &cli.ExitError{Code: cli.ExitJobFailed, Err: err}
}

// goOn says how to learn what becomes of a job that is not waited for any more.
func (c *command) goOn(ref millhand.Ref) string {
	return fmt.Sprintf("'%s' says how it ends, and '%s' what it waits for", c.operator("inspect", ref), c.operator("why", ref))
}

// operator is a command of millhand about a job.
func (c *command) operator(name string, ref millhand.Ref) string {
	command := fmt.Sprintf("millhand %s %s/%s/%s", name, ref.Queue, ref.Type, ref.ID)
	if c.conn.Namespace != "millhand" {
		command += " --namespace " + c.conn.Namespace
	}
	return command
}

var errWaited = errors.New("waited long enough")

// setResult shows a JSON string as the text that it is.
func (r *report) setResult(got millhand.Returned) {
	b := []byte(got.Result)
	if len(got.ResultBytes) > 0 {
		b = got.ResultBytes
	}
	switch {
	case json.Valid(b) && utf8.Valid(b):
		r.Result = b
	case len(b) > 0:
		r.Base64 = b
	}
	var s *string
	switch {
	case utf8.Valid(b) && json.Unmarshal(b, &s) == nil && s != nil: // null is shown as such
		r.text = *s
	case utf8.Valid(b):
		r.text = string(b)
	default:
		r.text = fmt.Sprintf("%d bytes, not text: use -o json", len(b))
	}
}

// waitFlag is --wait, with or without a bound.
type waitFlag struct {
	set  bool
	most time.Duration
}

// bound returns a context that ends with ctx or when --wait is over.
func (f *waitFlag) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.most > 0 {
		return context.WithTimeoutCause(ctx, f.most, errWaited)
	}
	return context.WithCancel(ctx)
}

const waitForever = "forever"

func (f *waitFlag) String() string {
	if !f.set {
		return ""
	}
	return f.most.String()
}

// Type implements pflag.Value.
func (f *waitFlag) Type() string { return "duration" }

// Set implements pflag.Value.
func (f *waitFlag) Set(s string) error {
	f.set = true
	if s == waitForever {
		return nil
	}
	d, err := timespan.Parse(s)
	if err == nil && d <= 0 {
		err = errors.New("must be positive")
	}
	f.most = d
	return err
}

// outputFlag is -o.
type outputFlag string

func (f *outputFlag) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *outputFlag) Type() string { return "format" }

// Set implements pflag.Value.
func (f *outputFlag) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("must be text or json")
	}
	*f = outputFlag(s)
	return nil
}
