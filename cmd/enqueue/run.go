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

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

const examples = `  enqueue email '{"to":"a@example.com"}'         one job; its id is printed
  enqueue email @mail.json --wait 30s              payload from a file; wait for the result, at most 30 s
  echo '{"to":"b@example.com"}' | enqueue email -  payload from standard input
  enqueue email --id welcome-42                    refused while job welcome-42 is alive
  enqueue import --reject-at-quota                 refused while as many imports run as may
  enqueue --from jobs.ndjson                       many: {"type":"email","payload":{…}} a line
  find . -name '*.go' | jq -R '{payload:{path:.}}' -c | enqueue sum --from -`

type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command is what the flags say.
type command struct {
	streams
	conn cli.ConnFlags

	queue       string
	id          string
	maxAttempts int
	timeout     time.Duration
	meta        []string
	reject      bool
	from        string
	wait        waitFlag
	output      outputFlag
	quiet       bool
	completion  string
	given       func(flag string) bool // though it may be empty
}

func execute(ctx context.Context, args []string, s streams) int {
	c := &command{streams: s, output: "text"}
	root := &cobra.Command{
		Use:   "enqueue [flags] TYPE [JSON | @FILE | -]\n  enqueue [flags] --from FILE.ndjson | --from -",
		Short: "Put jobs into a queue",
		Long: "Put one job of a type into a queue, or many from a file of JSON objects, one a line.\n" +
			"Without a payload a job gets {}. Payloads are JSON by convention; at most 1 MiB.\n" +
			"Shells ask for completions with __complete and __completeNoDesc as the first argument:\n" +
			"jobs of types with these names are enqueued by --from only.",
		Example: examples,
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.completion != "" {
				return complete(cmd, c.completion)
			}
			c.given = cmd.Flags().Changed
			return c.run(cmd.Context(), args)
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true // there is --completion
	root.SetOut(s.out)
	fs := root.Flags()
	fs.SortFlags = false
	fs.StringVarP(&c.queue, "queue", "q", "default", "queue `NAME`")
	fs.StringVar(&c.id, "id", "", "the job's `ID`; enqueued once while a job of that type and id is alive")
	fs.IntVar(&c.maxAttempts, "max-attempts", 0, "failed runs until the job is dead; overrides the type's own setting")
	fs.DurationVar(&c.timeout, "timeout", 0, "limit of one run; overrides the type's own setting")
	fs.StringArrayVar(&c.meta, "meta", nil, "`KEY=VALUE` that reaches the handler; repeatable")
	fs.BoolVar(&c.reject, "reject-at-quota", false, "refuse instead of waiting when the type's quota is fully used")
	fs.StringVar(&c.from, "from", "", "enqueue the jobs in `FILE`, one JSON object a line; - is standard input")
	fs.Var(&c.wait, "wait", "wait for the outcome, at most `DURATION` if given, and print the result")
	fs.Lookup("wait").NoOptDefVal = waitForever
	fs.VarP(&c.output, "output", "o", "print `text` or json")
	fs.BoolVar(&c.quiet, "quiet", false, "print nothing on standard output")
	c.conn.Register(fs)
	fs.StringVar(&c.completion, "completion", "", "print the completion script of `SHELL`: bash, zsh, fish or powershell")
	cli.AddVersion(root)
	return cli.Execute(ctx, root, joinWait(fs, args), s.err)
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
	nc, err := target.Connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{
		Namespace: c.conn.Namespace, Domain: target.Domain, MaxBytes: int64(c.conn.MaxBytes), Logger: slog.New(notes{Handler: slog.DiscardHandler, command: c}),
	})
	if err != nil {
		return asUsage(err)
	}
	in := interruptible(ctx, jobs)
	defer func() { _ = in.Close() }() // only read
	if c.from != "" {
		return c.enqueueMany(ctx, client, in, typeOf(args))
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

// checkFlags refuses what is given but empty: a variable of the caller's script that was
// not set, rather than a wish for the default.
func (c *command) checkFlags() error {
	if c.given("from") && c.from == "" {
		return cli.Usagef("--from: want a FILE, or -")
	}
	if c.given("id") {
		if c.from != "" {
			return cli.Usagef("--id is for one job: with --from write \"id\" into the lines")
		}
		if err := checkID(c.id); err != nil {
			return cli.Usagef("--%w", err)
		}
	}
	if c.given("timeout") {
		if err := checkTimeout(c.timeout); err != nil {
			return cli.Usagef("--timeout: %w", err)
		}
	}
	if c.given("completion") && c.completion == "" {
		return cli.Usagef("--completion: want bash, zsh, fish or powershell")
	}
	if c.given("max-attempts") {
		if err := checkMaxAttempts(c.maxAttempts); err != nil {
			return cli.Usagef("--max-attempts: %w", err)
		}
	}
	return nil
}

// checkID refuses the id that would mean a random one.
func checkID(id string) error {
	if id == "" {
		return errors.New("id: must not be empty; leave it out for a random one")
	}
	return nil
}

// checkMaxAttempts refuses the number that would mean the type's own setting.
func checkMaxAttempts(n int) error {
	if n == 0 {
		return errors.New("max attempts 0: must be at least 1; leave it out for the type's own setting")
	}
	return nil
}

// checkTimeout refuses the duration that would mean the type's own setting.
func checkTimeout(d time.Duration) error {
	if d == 0 {
		return errors.New("timeout 0s: must be more than 0; leave it out for the type's own setting")
	}
	return nil
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

// options are those that hold for every job of this call.
func (c *command) options() ([]millhand.EnqueueOption, error) {
	opts := []millhand.EnqueueOption{millhand.WithQueue(c.queue)}
	if c.id != "" {
		opts = append(opts, millhand.WithID(c.id))
	}
	if c.maxAttempts != 0 {
		opts = append(opts, millhand.WithMaxAttempts(c.maxAttempts))
	}
	if c.timeout != 0 {
		opts = append(opts, millhand.WithTimeout(c.timeout))
	}
	if c.reject {
		opts = append(opts, millhand.WithRejectAtQuota())
	}
	for _, m := range c.meta {
		k, v, ok := strings.Cut(m, "=")
		if !ok {
			return nil, cli.Usagef("--meta %q: want KEY=VALUE", m)
		}
		opts = append(opts, millhand.WithMeta(k, v))
	}
	return opts, nil
}

func (c *command) enqueueOne(ctx context.Context, client *millhand.Client, typ string, in io.Reader) error {
	opts, err := c.options()
	if err != nil {
		return err
	}
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
		if err := c.print(report{Ref: ref, State: millhand.Ready, text: ref.ID}); err != nil {
			return fmt.Errorf("job %s is enqueued, but its id cannot be written: %w", ref.ID, err)
		}
		return nil
	}
	bounded, cancel := c.wait.bound(ctx)
	defer cancel()
	return c.await(bounded, client, ref)
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
