package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/configfile"
	"github.com/millhand/millhand/internal/minder"
)

// config is the file of --config. Its keys are a contract.
type config struct {
	Concurrency *configfile.Count      `yaml:"concurrency"`
	Queues      map[string]queueConfig `yaml:"queues"`
	Strict      configfile.Boolean     `yaml:"strict"`
	MaxStuck    *configfile.Count      `yaml:"max_stuck"`
	Types       map[string]typeConfig  `yaml:"types"`
	Cron        map[string]cronConfig  `yaml:"cron"`
	Web         configfile.Dashboard   `yaml:"web"`

	flags []millhand.Quota // of --quota and --rate
}

type typeConfig struct {
	Exec        []string             `yaml:"exec"`
	Env         []string             `yaml:"env"` // of exec; nil: all but secrets
	HTTP        *httpConfig          `yaml:"http"`
	Batch       *batchConfig         `yaml:"batch"`   // of exec; nil: a command for each job
	Timeout     *configfile.Duration `yaml:"timeout"` // nil: httpTimeout, or none of exec
	MaxAttempts *configfile.Count    `yaml:"max_attempts"`
	Backoff     backoffConfig        `yaml:"backoff"`
	Quota       limitConfig          `yaml:"quota"`
	Rate        limitConfig          `yaml:"rate"`
	Silent      configfile.Boolean   `yaml:"silent_success"`
}

type httpConfig struct {
	URL       string              `yaml:"url"`
	Headers   map[string]string   `yaml:"headers"`
	Redirects *configfile.Boolean `yaml:"redirects"` // nil: true
}

// backoffConfig tells what was left out, which means a default, from what is zero.
type backoffConfig struct {
	Initial *configfile.Duration `yaml:"initial"`
	Factor  *configfile.Fraction `yaml:"factor"`
	Max     *configfile.Duration `yaml:"max"`
	Jitter  *configfile.Fraction `yaml:"jitter"`
}

// readConfig reads a file; an empty name is an empty configuration.
func readConfig(name string) (config, error) {
	var c config
	if name == "" {
		return c, nil
	}
	if err := configfile.Load(name, &c, configfile.Rules{MayBeEmpty: mayBeEmpty, Empty: emptyLimit}); err != nil {
		return c, err
	}
	if err := c.check(); err != nil {
		return c, cli.Usagef("--config: %w", err)
	}
	return c, nil
}

// mayBeEmpty reports whether a key without a value means its default.
func mayBeEmpty(path []string) bool {
	if len(path) == 3 && (path[2] == "quota" || path[2] == "rate") { // none is given, so none is removed
		return true
	}
	if len(path) > 2 && path[0] == "cron" && path[2] == "payload" { // which may have any value
		return true
	}
	if path[0] != "types" || len(path) < 3 {
		return false
	}
	switch path[2] {
	case "timeout", "max_attempts", "backoff", "silent_success":
		return true
	case "http":
		return len(path) == 4 && path[3] == "headers"
	}
	return false
}

// emptyLimit is what is wrong with a limit that says none, which must not be taken for 0.
func emptyLimit(path []string, text string) error {
	if len(path) < 3 || path[2] != "quota" && path[2] != "rate" || path[len(path)-1] == "key" {
		return nil
	}
	_, _, err := cli.ParseLimit(text)
	return err
}

// addExec adds the types of --exec flags, which come over those of the file.
func (c *config) addExec(flags []string) error {
	given := make(map[string]bool)
	for _, f := range flags {
		typ, command, ok := strings.Cut(f, "=")
		if !ok {
			return cli.Usagef("--exec %q: want TYPE=COMMAND", f)
		}
		argv, err := splitCommand(command)
		if err != nil {
			return cli.Usagef("--exec %s: %w", typ, err)
		}
		if err := checkName(typ); err != nil {
			return cli.Usagef("--exec: type %q: %w", typ, err)
		}
		if given[typ] {
			return cli.Usagef("--exec: type %s is given twice; a type has one command", typ)
		}
		given[typ] = true
		t := c.Types[typ]
		t.Exec, t.HTTP = argv, nil
		if c.Types == nil {
			c.Types = make(map[string]typeConfig)
		}
		c.Types[typ] = t
	}
	return nil
}

// addQueues takes --queue flags, which replace the queues of the file, but not their limits.
func (c *config) addQueues(flags []string) error {
	file := c.Queues
	if len(flags) > 0 {
		c.Queues = make(map[string]queueConfig)
	}
	for _, f := range flags {
		name, weight, weighted := strings.Cut(f, "=")
		n := 1
		if weighted {
			var err error
			if n, err = strconv.Atoi(weight); errors.Is(err, strconv.ErrRange) && n > 0 { // which leaves the largest number
				err = nil
			}
			if err != nil || n < 1 {
				return cli.Usagef("--queue %q: the weight must be a whole number from 1", f)
			}
			if err := checkWeight(n); err != nil {
				return cli.Usagef("--queue %q: the weight %w", f, err)
			}
		}
		if err := checkQueue(name); err != nil {
			return cli.Usagef("--queue: queue %q: %w", name, err)
		}
		if _, given := c.Queues[name]; given {
			return cli.Usagef("--queue: queue %s is given twice; a queue has one weight", name)
		}
		q := file[name]
		q.Weight = configfile.Count(n)
		c.Queues[name] = q
	}
	return nil
}

// worker returns what the configuration says of a worker, its handlers included.
func (c *config) worker(log *slog.Logger, m *minder.Minder, builtin func(*millhand.Mux)) (millhand.WorkerConfig, error) {
	quotas, err := c.quotas()
	if err != nil {
		return millhand.WorkerConfig{}, cli.Usagef("--config: %w", err)
	}
	w := millhand.WorkerConfig{
		Mux: millhand.NewMux(), Quotas: quotas, Strict: bool(c.Strict), Concurrency: int(valueOr(c.Concurrency, 0)),
	}
	w.Crons, w.RemovedCrons = c.crons()
	if err := c.problems(&w); err != nil {
		return w, err
	}
	for name, q := range c.Queues {
		w.Queues = append(w.Queues, millhand.Queue{Name: name, Weight: int(q.Weight), Concurrency: int(valueOr(q.Concurrency, 0))})
	}
	if len(c.Types) == 0 {
		builtin(w.Mux)
	}
	if c.MaxStuck != nil {
		w.MaxAbandoned = cmp.Or(int(*c.MaxStuck), -1) // there 0 is the default
	}
	own, secret := newTrouble(log), c.secretVariables()
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		t := c.Types[name]
		if err := t.register(w.Mux, name, m, own, secret); err != nil {
			return w, cli.Usagef("type %s: %w", name, err)
		}
	}
	return w, nil
}

// register gives a type its handler.
func (t typeConfig) register(mux *millhand.Mux, name string, m *minder.Minder, own *trouble, secret func(string) bool) error {
	if t.HTTP != nil {
		h, err := newHTTPType(*t.HTTP, own)
		if err == nil {
			mux.HandleFunc(name, h.handle, t.settings())
		}
		return err
	}
	if err := checkCommand(t.Exec); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	c := &commandType{minder: m, trouble: own, argv: t.Exec, env: t.inherited(os.Environ(), secret)}
	if t.Batch != nil {
		mux.HandleBatchFunc(name, t.Batch.settings(), c.handleBatch, t.settings())
	} else {
		mux.HandleFunc(name, c.handle, t.settings())
	}
	return nil
}

func (t typeConfig) settings() millhand.TypeConfig {
	return millhand.TypeConfig{
		Timeout: t.timeout(), MaxAttempts: int(valueOr(t.MaxAttempts, 0)), Backoff: t.Backoff.backoff(), SilentSuccess: bool(t.Silent),
	}
}

func (t typeConfig) timeout() time.Duration {
	switch {
	case t.Timeout != nil:
		return time.Duration(*t.Timeout)
	case t.HTTP != nil:
		return httpTimeout
	}
	return 0
}
