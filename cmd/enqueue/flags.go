package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/job"
)

// command is what the flags say.
type command struct {
	streams
	conn cli.ConnFlags

	queue       string
	id          string
	maxAttempts int
	timeout     time.Duration
	terms       terms
	meta        []string
	reject      bool
	from        string
	atomic      bool
	resume      string
	patience    time.Duration
	wait        waitFlag
	output      outputFlag
	quiet       bool
	trace       string
	completion  string
	given       func(flag string) bool // though it may be empty
}

// register adds the flags to fs, in the order of the help.
func (c *command) register(fs *pflag.FlagSet) {
	c.given = fs.Changed
	fs.SortFlags = false
	fs.StringVarP(&c.queue, "queue", "q", "default", "queue `NAME`")
	fs.StringVar(&c.id, "id", "", "the job's `ID`; enqueued once while a job of that type and id is alive")
	fs.IntVar(&c.maxAttempts, "max-attempts", 0, "failed runs until the job is dead; overrides the type's own setting")
	fs.DurationVar(&c.timeout, "timeout", 0, "limit of one run; overrides the type's own setting")
	fs.Var(&c.terms.in, "in", "run the job `DURATION` from now, by the broker's clock")
	fs.Var(&c.terms.at, "at", "run the job at `TIME`, as 2026-12-24T18:00:00+01:00")
	fs.Var(&c.terms.expires, "expires", "end the job as dead if it has not started within `DURATION` of its time")
	fs.Var(&c.terms.unique, "unique", "derive the id from type and payload: enqueued once while such a job is alive, or once in `[DURATION]`")
	fs.Lookup("unique").NoOptDefVal = uniqueAlive
	fs.StringArrayVar(&c.meta, "meta", nil, "`KEY=VALUE` that reaches the handler; repeatable")
	fs.BoolVar(&c.reject, "reject-at-quota", false, "refuse instead of waiting when the type's quota is fully used")
	fs.StringVar(&c.from, "from", "", "enqueue the jobs in `FILE`, one JSON object a line; - is standard input")
	fs.BoolVar(&c.atomic, "atomic", false, "with --from: enqueue all jobs or none of them, at most 1000 of one queue")
	fs.StringVar(&c.resume, "resume", "", "with --from: keep for a week, under `NAME`, how far it has come: the same command goes on from there, whatever ended it, and enqueues each line once")
	fs.DurationVar(&c.patience, "patience", defaultPatience, "how long a broker that was there is waited for; 0s: as long as it takes")
	fs.Var(&c.wait, "wait", "wait for the outcome, at most `[DURATION]`, and print the result")
	fs.Lookup("wait").NoOptDefVal = waitForever
	fs.VarP(&c.output, "output", "o", "print `text` or json")
	fs.BoolVar(&c.quiet, "quiet", false, "print nothing on standard output")
	fs.StringVar(&c.trace, "trace", "", "`on|off`: whether it sends spans over OTLP, as the OTEL_* variables say (default on if OTEL_EXPORTER_OTLP_ENDPOINT is set)")
	c.conn.Register(fs)
	fs.StringVar(&c.completion, "completion", "", "print the completion script of `SHELL`: bash, zsh, fish or powershell")
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
	if c.trace != "" && c.trace != "on" && c.trace != "off" {
		return cli.Usagef("--trace %q: want on or off", c.trace)
	}
	if c.given("timeout") {
		if err := checkTimeout(c.timeout); err != nil {
			return cli.Usagef("--timeout: %w", err)
		}
	}
	if err := c.terms.check(asFlag, c.id, time.Now()); err != nil {
		return cli.Usagef("%w", err)
	}
	if err := c.checkBulk(); err != nil {
		return err
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

// checkBulk refuses what --from cannot be combined with, and what needs it.
func (c *command) checkBulk() error {
	switch {
	case c.atomic && c.from == "":
		return cli.Usagef("--atomic is for --from")
	case c.given("resume") && c.from == "":
		return cli.Usagef("--resume is for --from")
	case c.atomic && c.given("resume"):
		return cli.Usagef("--atomic and --resume: use one; what is done as a whole has nothing to go on with")
	case c.patience < 0:
		return cli.Usagef("--patience %v: must not be negative; 0s is as long as it takes", c.patience)
	}
	if err := job.CheckBulk(c.resume); err != nil && c.given("resume") {
		if i, ok := errors.AsType[*job.InvalidError](err); ok {
			return cli.Usagef("--resume %q: %s", i.Name, i.Rule)
		}
		return err
	}
	return nil
}

// defaultPatience is time enough for a cluster to agree on another leader.
const defaultPatience = 30 * time.Second

// clientPatience is what the client is told. One job is given up early unless the caller says otherwise: somebody waits.
func (c *command) clientPatience() time.Duration {
	switch {
	case c.from == "" && !c.given("patience"):
		return 0
	case c.patience == 0:
		return -1
	}
	return c.patience
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
	if c.resume != "" || c.wait.set {
		opts = append(opts, millhand.WithAwait()) // else a job that ended in silence would look as if it was never enqueued
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
