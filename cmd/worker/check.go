package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
)

// Defaults of a backoff that limit the values which are set.
const (
	defaultInitial = time.Second
	defaultMax     = time.Hour
)

// maxConcurrency is far above what a process can do, and far below what would cost it its
// memory before the first job.
const maxConcurrency = 100_000

const (
	maxWeight      = 1_000_000
	maxMaxAttempts = 1_000_000 // of a job, as the package has it
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
	}
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		if err := checkName(name); err != nil {
			return fmt.Errorf("types: type %q: %w", name, err)
		}
		if err := c.Types[name].check(); err != nil {
			return fmt.Errorf("type %s: %w", name, err)
		}
	}
	return nil
}

func (t typeConfig) check() error {
	switch {
	case (len(t.Exec) > 0) == (t.HTTP != nil):
		return errors.New("wants either exec or http")
	case t.HTTP != nil && t.Env != nil:
		return errors.New("env: is for exec; a header takes a variable as env:NAME")
	case valueOr(t.Timeout, 0) < 0:
		return fmt.Errorf("timeout: %v must not be negative", time.Duration(*t.Timeout))
	case valueOr(t.MaxAttempts, 1) < 0:
		return fmt.Errorf("max_attempts: %d must not be negative", *t.MaxAttempts)
	case valueOr(t.MaxAttempts, 1) == 0:
		return errors.New("max_attempts: 0 must be at least 1; leave it out for the default")
	case valueOr(t.MaxAttempts, 1) > maxMaxAttempts:
		return fmt.Errorf("max_attempts: %d must be at most %d", *t.MaxAttempts, maxMaxAttempts)
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
	return nil
}

func (b backoffConfig) check() error {
	initial, most := valueOr(b.Initial, duration(defaultInitial)), valueOr(b.Max, duration(defaultMax))
	factor, jitter := float64(valueOr(b.Factor, 1)), float64(valueOr(b.Jitter, 0))
	switch { // the comparisons are so that NaN is refused
	case initial <= 0:
		return fmt.Errorf("initial: %v must be more than 0", time.Duration(initial))
	case most <= 0:
		return fmt.Errorf("max: %v must be more than 0", time.Duration(most))
	case b.Initial != nil && initial > most: // a lower max alone is for all delays, the first as well
		return fmt.Errorf("initial: %v is more than max, %v", time.Duration(initial), time.Duration(most))
	case !(factor >= 1) || math.IsInf(factor, 0):
		return fmt.Errorf("factor: %v must be a number from 1", factor)
	case !(jitter >= 0 && jitter < 1):
		return fmt.Errorf("jitter: %v must be from 0 to less than 1", jitter)
	}
	return nil
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
	case n > maxConcurrency:
		return fmt.Errorf("must be at most %d", maxConcurrency)
	}
	return nil
}

func checkWeight(n int) error {
	switch {
	case n < 1:
		return errors.New("must be at least 1")
	case n > maxWeight:
		return fmt.Errorf("must be at most %d", maxWeight)
	}
	return nil
}

func checkMaxStuck(n int) error {
	if n < 0 {
		return errors.New("must not be negative")
	}
	return nil
}

// checkQueue holds a queue to its rule.
func checkQueue(name string) error { return ruleOf(name, millhand.CheckQueue(name)) }

// checkName holds types and namespaces to the rule of types, which is that of both.
func checkName(name string) error { return ruleOf(name, millhand.CheckType(name)) }

// ruleOf is an error about a name without the name and what it is of, which the caller says.
func ruleOf(name string, err error) error {
	if err == nil {
		return nil
	}
	if _, rule, ok := strings.Cut(err.Error(), strconv.Quote(name)+": "); ok {
		return errors.New(rule)
	}
	return err
}
