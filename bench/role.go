package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"sync"
)

// A call is a line on a process's standard input, an answer one on its standard output.
type (
	call struct {
		Method string
		Args   json.RawMessage
	}
	answer struct {
		Result json.RawMessage
		Error  string
	}
)

// methods are what a role can be asked to do. They are called one at a time.
type methods map[string]func(args json.RawMessage) (any, error)

// A role starts with its specification, and returns its methods and how it is stopped.
// Its context ends with the process's standard input.
type role func(ctx context.Context, spec json.RawMessage) (m methods, stop func() error, err error)

func roles() map[string]role {
	return map[string]role{
		"broker": as(startBroker),
		"node":   as(startNode),
		"worker": as(startWorker),
		"caller": as(startCaller),
	}
}

// as decodes the specification of a role.
func as[S any](start func(context.Context, S) (methods, func() error, error)) role {
	return func(ctx context.Context, raw json.RawMessage) (methods, func() error, error) {
		var spec S
		if err := json.Unmarshal(raw, &spec); err != nil {
			return nil, nil, err
		}
		return start(ctx, spec)
	}
}

// method decodes the arguments of a method.
func method[A, R any](f func(A) (R, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return f(args)
	}
}

// playRole plays the role that text, a roleSpec in JSON, names, until in ends.
func playRole(ctx context.Context, text string, in io.Reader, out io.Writer) (err error) {
	var c roleSpec
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	start, ok := roles()[c.Role]
	if !ok {
		return fmt.Errorf("no role %q", c.Role)
	}
	if c.Profile != "" {
		f, err := os.Create(c.Profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, stop, err := start(ctx, c.Spec)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Role, err)
	}
	m["usage"] = method(func(collect bool) (usage, error) { return usageNow(collect) })
	return errors.Join(serve(cancel, m, in, out), stop())
}

// serve answers calls until in ends, which is told with ended at once, also while a call is
// being answered.
func serve(ended func(), m methods, in io.Reader, out io.Writer) error {
	calls := make(chan call)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer ended()
		defer close(calls)
		for dec := json.NewDecoder(in); ; {
			var c call
			if dec.Decode(&c) != nil { // the other end is gone, in whatever way
				return
			}
			calls <- c
		}
	})
	enc := json.NewEncoder(out)
	for c := range calls {
		if err := enc.Encode(m.answer(c)); err != nil {
			return err
		}
	}
	return nil
}

func (m methods) answer(c call) answer {
	f, ok := m[c.Method]
	if !ok {
		return answer{Error: "no such method"}
	}
	result, err := f(c.Args)
	if err != nil {
		return answer{Error: err.Error()}
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Result: raw}
}
