package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/otlp"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/tracing"
)

const examples = `  enqueue email '{"to":"a@example.com"}'           one job; its id is printed
  enqueue email @mail.json --wait 30s              payload from a file; the result within 30 s
  echo '{"to":"b@example.com"}' | enqueue email -  payload from standard input
  enqueue email --id welcome-42                    refused while job welcome-42 is alive
  enqueue email --in 1h30m                         not before that; --at TIME likewise
  enqueue report '{"day":"monday"}' --unique=24h   once a day, whoever enqueues it
  enqueue import --reject-at-quota                 refused while as many imports run as may
  enqueue --from jobs.ndjson                       many: {"type":"email","payload":{…}} a line
  enqueue --from jobs.ndjson --resume monday       the same command goes on where it broke off
  enqueue --from jobs.ndjson --atomic              all of them or none
  find . -name '*.go' | jq -R '{payload:{path:.}}' -c | enqueue sum --from -`

// flushSpans is how long spans are waited for at the end, if their collector hangs.
const flushSpans = time.Second

type streams struct {
	in       io.Reader
	out, err io.Writer
}

func execute(ctx context.Context, args []string, s streams) int {
	c := &command{streams: s, output: "text"}
	root := &cobra.Command{
		Use:   "enqueue [flags] TYPE [JSON | @FILE | -]\n  enqueue [flags] --from FILE.ndjson | --from -",
		Short: "Put jobs into a queue",
		Long: "Put one job of a type into a queue, or many from a file of JSON objects, one a line.\n" +
			"Without a payload a job gets {}. Payloads are JSON by convention; at most 1 MiB.\n" +
			"Lines have type, payload, id, queue, in, at, expires, unique, max_attempts, timeout and meta;\n" +
			"flags hold for lines that do not say otherwise.\n" +
			"Shells ask for completions with __complete and __completeNoDesc as the first argument:\n" +
			"jobs of types with these names are enqueued by --from only.",
		Example: examples,
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.completion != "" {
				return complete(cmd, c.completion)
			}
			return c.run(cmd.Context(), args)
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true // there is --completion
	root.SetOut(s.out)
	fs := root.Flags()
	c.register(fs)
	cli.AddVersion(root)
	cli.GroupFlags(root,
		cli.FlagGroup{Title: "The job", First: "queue"},
		cli.FlagGroup{Title: "Many jobs", First: "from"},
		cli.FlagGroup{Title: "What is printed", First: "wait"},
		cli.FlagGroup{Title: "The broker", First: "server"},
		cli.FlagGroup{Title: "Other", First: "completion"},
	)
	for _, flag := range []string{"--unique", "--wait"} {
		args = joinDuration(fs, args, flag)
	}
	return cli.Execute(ctx, root, args, s.err)
}

// complete is a flag and no command, since any word may be a type of job.
func complete(cmd *cobra.Command, shell string) error {
	out := cmd.OutOrStdout()
	switch shell {
	case "bash":
		return cmd.GenBashCompletionV2(out, true)
	case "zsh":
		return cmd.GenZshCompletion(out)
	case "fish":
		return cmd.GenFishCompletion(out, true)
	case "powershell":
		return cmd.GenPowerShellCompletionWithDesc(out)
	}
	return cli.Usagef("--completion %q: want bash, zsh, fish or powershell", shell)
}

func (c *command) run(ctx context.Context, args []string) error {
	jobs, err := c.input(args)
	if err != nil {
		return err
	}
	defer func() { _ = jobs.Close() }() // only read
	target, err := c.conn.Target()
	if err != nil {
		return err
	}
	nc, err := target.Connect(ctx, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1)) // the client sends again what may be sent again
	if err != nil {
		return err
	}
	defer nc.Close()
	log := slog.New(notes{Handler: slog.DiscardHandler, command: c})
	client, err := millhand.NewClient(nc, millhand.Config{
		Namespace: c.conn.Namespace, Domain: target.Domain, MaxBytes: int64(c.conn.MaxBytes), Patience: c.clientPatience(), Logger: log,
	})
	if err != nil {
		return asUsage(err)
	}
	spans, err := otlp.New(ctx, "millhand-enqueue", c.trace, log)
	if err != nil {
		return cli.Usagef("--trace: %w", err)
	}
	defer spans.Close(ctx, flushSpans)
	if spans != nil {
		client.Use(tracing.Enqueues(tracing.Options{Provider: spans.Provider(), Server: nc.ConnectedUrlRedacted}))
		ctx = otlp.Parent(ctx)
	}
	in := cli.Interruptible(ctx, jobs)
	defer func() { _ = in.Close() }() // only read
	if c.from != "" {
		js, err := stream.New(nc, stream.Config{Namespace: c.conn.Namespace, Domain: target.Domain, MaxBytes: int64(c.conn.MaxBytes), Logger: log})
		if err != nil {
			return err
		}
		defer js.Close()
		return c.enqueueMany(ctx, client, registry.NewStore(js, log), in, typeOf(args))
	}
	return c.enqueueOne(ctx, client, args[0], in)
}

// input opens what the jobs are read from, and finds wrong usage before connecting.
func (c *command) input(args []string) (io.ReadCloser, error) {
	payload := "{}"
	if err := c.checkFlags(); err != nil {
		return nil, err
	}
	switch {
	case c.from != "" && len(args) > 1:
		return nil, cli.Usagef("--from has the payloads: remove %q", args[1])
	case c.from == "-":
		return io.NopCloser(c.in), nil
	case c.from != "":
		return open(c.from)
	case len(args) == 0:
		return nil, cli.Usagef("which TYPE of job? or use --from")
	case len(args) == 2:
		payload = args[1]
	}
	if payload == "-" {
		return io.NopCloser(c.in), nil
	}
	if name, ok := strings.CutPrefix(payload, "@"); ok {
		if name == "" {
			return nil, cli.Usagef("payload: @ without a FILE; want @FILE, or - for standard input")
		}
		return open(name)
	}
	// Files may hold anything; what is typed is held to the convention, since a shell
	// eats quotes.
	if err := checkJSON([]byte(payload)); err != nil {
		return nil, cli.Usagef("payload: %w", err)
	}
	return io.NopCloser(strings.NewReader(payload)), nil
}

// open opens a file that the caller named. That it cannot be is the caller's mistake.
func open(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close() // nothing was read
		return nil, cli.Usagef("open %s: is a directory", name)
	}
	return f, nil
}

func typeOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (c *command) enqueueOne(ctx context.Context, client *millhand.Client, typ string, in io.Reader) error {
	opts, err := c.options()
	if err != nil {
		return err
	}
	opts = append(opts, c.terms.options(c.id != "")...)
	payload, err := io.ReadAll(io.LimitReader(in, millhand.MaxPayload+2)) // with one byte too many, its size is told
	if ctx.Err() != nil {                                                 // and if it is the end: that of a writer interrupted with us
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	if len(payload) > millhand.MaxPayload+1 {
		return cli.Usagef("the payload is over the limit of %d bytes (%d KiB), and was not read to its end; store it elsewhere and send a reference",
			millhand.MaxPayload, millhand.MaxPayload>>10)
	}
	if text, ok := bytes.CutPrefix(payload, []byte(byteOrderMark)); ok && json.Valid(text) {
		payload = text // the mark would make it no JSON; in anything else it may belong there
	}
	ref, err := client.Enqueue(ctx, millhand.Raw{Name: typ, Payload: payload}, opts...)
	if d, ok := errors.AsType[*millhand.DuplicateError](err); ok {
		if err := c.printDuplicate(ctx, client, d); err != nil {
			return err
		}
		return &cli.ExitError{Code: cli.ExitRefused, Err: err}
	}
	if errors.Is(err, millhand.ErrQuotaReached) {
		return &cli.ExitError{Code: cli.ExitRefused, Err: err}
	}
	if err != nil {
		return asUsage(err)
	}
	if !c.wait.set {
		if err := c.printNew(ctx, client, ref, !c.terms.due(time.Now()).IsZero()); err != nil {
			return fmt.Errorf("job %s is enqueued, but its id cannot be written: %w", ref.ID, err)
		}
		return nil
	}
	bounded, cancel := c.wait.bound(ctx)
	defer cancel()
	stop := c.showWait(bounded, client, ref)
	info, err := client.Await(bounded, ref)
	stop()
	return c.ended(bounded, ref, info, err)
}

// asUsage marks an error of the caller's input as such.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, millhand.ErrInvalid) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return cli.Usagef("%w", err)
	}
	return err
}
