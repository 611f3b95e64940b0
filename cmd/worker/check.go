package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/configfile"
)

// check returns an error that names the key at fault. It is all that can be said of a
// configuration without starting anything.
func (c *config) check() error {
	if c.Concurrency != nil {
		if err := checkConcurrency(int(*c.Concurrency)); err != nil {
			return fmt.Errorf("concurrency: %d %w", *c.Concurrency, err)
		}
	}
	if err := checkMaxStuck(int(valueOr(c.MaxStuck, 0))); err != nil {
		return fmt.Errorf("max_stuck: %d %w", *c.MaxStuck, err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Queues)) {
		if err := checkQueue(name); err != nil {
			return fmt.Errorf("queues: queue %q: %w", name, err)
		}
		weight := int(c.Queues[name].Weight)
		if err := checkWeight(weight); err != nil {
			return fmt.Errorf("queues: queue %s: weight %d, %w", name, weight, err)
		}
		if own := c.Queues[name].Concurrency; own != nil {
			if err := checkQueueConcurrency(int(*own)); err != nil {
				return fmt.Errorf("queues: queue %s: concurrency %d, %w", name, *own, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		if err := checkName(name); err != nil {
			return fmt.Errorf("types: type %q: %w", name, err)
		}
		if err := c.Types[name].check(name); err != nil {
			return fmt.Errorf("type %s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Cron)) {
		if err := checkName(name); err != nil {
			return fmt.Errorf("cron: entry %q: %w", name, err)
		}
		if err := c.Cron[name].check(name); err != nil {
			return fmt.Errorf("cron %s: %w", name, err)
		}
	}
	return c.checkWeb()
}

func (c *config) checkWeb() error {
	if err := c.Web.Check(); err != nil {
		return fmt.Errorf("web: %w", err)
	}
	if err := checkNotify(&c.Web.Notify); err != nil {
		return fmt.Errorf("web: notify: %w", err)
	}
	return nil
}

// check holds a type to what the package asks of it and, since in the package zero is the
// default, to its values being something.
func (t typeConfig) check(name string) error {
	switch {
	case (len(t.Exec) > 0) == (t.HTTP != nil):
		return errors.New("wants either exec or http")
	case t.HTTP != nil && t.Env != nil:
		return errors.New("env: is for exec; a header takes a variable as env:NAME")
	case t.HTTP != nil && t.Batch != nil:
		return errors.New("batch: is for exec")
	case valueOr(t.MaxAttempts, 1) == 0:
		return errors.New("max_attempts: 0 must be at least 1; leave it out for the default")
	}
	for _, name := range t.Env {
		name, _, given := strings.Cut(name, "=")
		if given { // what stands behind it may be a secret
			return fmt.Errorf("env: %s: want the name alone, its value is that of the worker's environment", name)
		}
		if name == "" {
			return errors.New("env: a variable's name is empty")
		}
	}
	if err := t.Backoff.check(); err != nil {
		return fmt.Errorf("backoff: %w", err)
	}
	if t.Batch != nil {
		if err := t.Batch.check(); err != nil {
			return fmt.Errorf("batch: %w", err)
		}
	}
	return asInFile(t.settings().Check(name))
}

// check refuses what the package would take for the default, or a negative jitter for none.
func (b backoffConfig) check() error {
	switch {
	case b.Initial != nil && *b.Initial == 0:
		return errors.New("initial: 0s must be more than 0")
	case b.Max != nil && *b.Max == 0:
		return errors.New("max: 0s must be more than 0")
	case b.Factor != nil && *b.Factor == 0:
		return errors.New("factor: 0 must be a number from 1")
	case b.Jitter != nil && *b.Jitter < 0:
		return fmt.Errorf("jitter: %v must be from 0 to less than 1", float64(*b.Jitter))
	}
	return nil
}

// asInFile is an error of the package with the keys of the file.
func asInFile(err error) error {
	e, ok := errors.AsType[*millhand.InvalidError](err)
	if !ok {
		return err
	}
	key := e.What
	if key == "max attempts" {
		key = "max_attempts"
	}
	return fmt.Errorf("%s: %s %s", key, e.Name, e.Rule)
}

// backoff has zeros where nothing was said.
func (b backoffConfig) backoff() millhand.Backoff {
	jitter := float64(valueOr(b.Jitter, 0))
	if b.Jitter != nil && jitter == 0 {
		jitter = -1 // none
	}
	return millhand.Backoff{
		Initial: time.Duration(valueOr(b.Initial, 0)), Factor: float64(valueOr(b.Factor, 0)),
		Max: time.Duration(valueOr(b.Max, 0)), Jitter: jitter,
	}
}

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// checkConcurrency refuses 0, which would mean the default.
func checkConcurrency(n int) error {
	switch {
	case n == 0:
		return errors.New("must be at least 1; leave it out for the default, 4 × CPUs")
	case n < 0:
		return errors.New("must be positive")
	case n > millhand.MaxConcurrency:
		return fmt.Errorf("must be at most %d", millhand.MaxConcurrency)
	}
	return nil
}

// checkWeight refuses 0, too, which would mean the default.
func checkWeight(n int) error {
	if n == 0 {
		return errors.New("must be at least 1")
	}
	return configfile.RuleOf(millhand.Queue{Name: "default", Weight: n}.Check())
}

// checkQueueConcurrency refuses 0, which would mean no limit of the queue's own.
func checkQueueConcurrency(n int) error {
	if n == 0 {
		return errors.New("must be at least 1; leave it out for no limit of its own")
	}
	return configfile.RuleOf(millhand.Queue{Name: "default", Concurrency: n}.Check())
}

func checkMaxStuck(n int) error {
	if n < 0 {
		return errors.New("must not be negative")
	}
	return nil
}

// checkQueue holds a queue to its rule.
func checkQueue(name string) error { return configfile.RuleOf(millhand.CheckQueue(name)) }

// checkName holds types and namespaces to the rule of types, which is that of both.
func checkName(name string) error { return configfile.RuleOf(millhand.CheckType(name)) }
