package main

import (
	"context"
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
  enqueue email @mail.json --wait                  payload from a file; wait for the result
  echo '{"to":"b@example.com"}' | enqueue email -  payload from standard input
  enqueue email --id welcome-42                    refused while job welcome-42 is alive
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
	from        string
	wait        waitFlag
	output      outputFlag
	quiet       bool
	completion  string
}

func execute(ctx context.Context, args []string, s streams) int {
	c := &command{streams: s, output: "text"}
	root := &cobra.Command{
		Use:   "enqueue [flags] TYPE [JSON | @FILE | -]\n  enqueue [flags] --from FILE.ndjson | --from -",
		Short: "Put jobs into a queue",
		Long: "Put one job of a type into a queue, or many from a file of JSON objects, one a line.\n" +
			"Without a payload a job gets {}. Payloads are JSON by convention; at most 1 MiB.",
		Example: examples,
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.completion != "" {
				return complete(cmd, c.completion)
			}
			return c.run(cmd.Context(), args)
		},
	}
	root.SetOut(s.out)
	fs := root.Flags()
	fs.SortFlags = false
	fs.StringVarP(&c.queue, "queue", "q", "default", "queue `NAME`")
	fs.StringVar(&c.id, "id", "", "the job's `ID`; enqueued once while a job of that type and id is alive")
	fs.IntVar(&c.maxAttempts, "max-attempts", 0, "failed runs before the job is dead; over the type's own setting")
	fs.DurationVar(&c.timeout, "timeout", 0, "of one run; over the type's own setting")
	fs.StringArrayVar(&c.meta, "meta", nil, "`KEY=VALUE` that reaches the handler; repeatable")
	fs.StringVar(&c.from, "from", "", "enqueue the jobs in `FILE`, one JSON object a line; - is standard input")
	fs.Var(&c.wait, "wait", "wait for the outcome, at most `DURATION` if given, and print the result")
	fs.Lookup("wait").NoOptDefVal = waitForever
	fs.VarP(&c.output, "output", "o", "print `text` or json")
	fs.BoolVar(&c.quiet, "quiet", false, "print nothing on standard output")
	c.conn.Register(fs)
	fs.StringVar(&c.completion, "completion", "", "print the completion script of `SHELL`: bash, zsh, fish or powershell")
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
		Namespace: c.conn.Namespace, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return asUsage(err)
	}
	defer func() { _ = jobs.Close() }() // only read
	if c.from != "" {
		return c.enqueueMany(ctx, client, jobs, typeOf(args))
	}
	return c.enqueueOne(ctx, client, args[0], jobs)
}

// input opens what the jobs are read from, and finds wrong usage before connecting.
func (c *command) input(args []string) (io.ReadCloser, error) {
	payload := "{}"
	switch {
	case c.from != "" && len(args) > 1:
		return nil, cli.Usagef("--from has the payloads: remove %q", args[1])
	case c.from != "" && c.id != "":
		return nil, cli.Usagef("--id is for one job: with --from write \"id\" into the lines")
	case c.from == "-":
		return io.NopCloser(c.in), nil
	case c.from != "":
		f, err := os.Open(c.from)
		return f, asUsage(err)
	case len(args) == 0:
		return nil, cli.Usagef("which TYPE of job? or use --from")
	case len(args) == 2:
		payload = args[1]
	}
	if payload == "-" {
		return io.NopCloser(c.in), nil
	}
	if name, ok := strings.CutPrefix(payload, "@"); ok {
		f, err := os.Open(name)
		return f, asUsage(err)
	}
	// Files may hold anything; what is typed is held to the convention, since a shell
	// eats quotes.
	if err := checkJSON([]byte(payload)); err != nil {
		return nil, cli.Usagef("payload: %w", err)
	}
	return io.NopCloser(strings.NewReader(payload)), nil
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
	payload, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	ref, err := client.Enqueue(ctx, millhand.Raw{Name: typ, Payload: payload}, opts...)
	if d, ok := errors.AsType[*millhand.DuplicateError](err); ok {
		if err := c.printDuplicate(ctx, client, d); err != nil {
			return err
		}
		return &cli.ExitError{Code: cli.ExitRefused, Err: err}
	}
	if err != nil {
		return asUsage(err)
	}
	if !c.wait.set {
		return c.print(report{Ref: ref, State: millhand.Ready})
	}
	return c.await(ctx, client, ref)
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
