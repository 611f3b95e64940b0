package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
)

// An outcome is what became of one job that something was done to. Its JSON is a contract.
type outcome struct {
	millhand.Ref
	Outcome string         `json:"outcome"` // a code of the command's
	State   millhand.State `json:"state,omitempty"`
	Worker  string         `json:"worker,omitempty"`
	Batch   bool           `json:"batch,omitempty"`   // that worker runs it in a call with others, with which it ends
	TookMS  int64          `json:"took_ms,omitempty"` // until a job that ran had ended
	Error   string         `json:"error,omitempty"`
	Text    string         `json:"text"`               // what -o text prints after the job's name
	RunAt   time.Time      `json:"run_at,omitzero"`    // when it was due, of a job that waited for its time; of one that was moved, when it is
	Exists  *millhand.Ref  `json:"existing,omitempty"` // the job that has the id of one that cannot run again

	code int // what the command exits with if this was the only job
}

// The outcomes that several commands have.
const (
	notFound     = "not_found"
	alreadyEnded = "already_ended"
	refusedAlive = "alive" // another life of it is
	failedCode   = "failed"
	wouldBe      = "would_be" // a dry run
)

// failed is the outcome of what could not be done, with what is known of why.
func failed(r millhand.Ref, err error) outcome {
	o := outcome{Ref: r, Outcome: failedCode, Error: err.Error(), Text: err.Error(), code: cli.ExitRuntime}
	if exit, ok := errors.AsType[*cli.ExitError](err); ok {
		o.code = exit.Code
	}
	finished, isFinished := errors.AsType[*millhand.FinishedError](err)
	switch {
	case isFinished:
		o.Outcome, o.State, o.code = alreadyEnded, finished.State, cli.ExitRefused
		o.Text = "has ended already: " + string(finished.State)
	case errors.Is(err, millhand.ErrNotFound), o.code == cli.ExitNotFound:
		o.Outcome, o.code, o.Text = notFound, cli.ExitNotFound, "not found: nothing of that name is in the queue, among the dead, or in the events that are kept"
	case errors.Is(err, millhand.ErrInvalid):
		o.code = cli.ExitUsage
	}
	return o
}

// atOnce is how many jobs something is done to at the same time.
const atOnce = 8

// act does something to each of the jobs that are named, prints what became of them and, unless it is a dry
// run, keeps a record of it.
func (s *session) act(ctx context.Context, action audit.Action, dryRun bool, refs []ref, do func(context.Context, millhand.Ref) outcome) error {
	var mu sync.Mutex
	all := make([]outcome, 0, len(refs))
	g, doing := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, r := range refs {
		g.Go(func() error {
			o := s.actOn(doing, r, do)
			if doing.Err() != nil {
				return context.Cause(doing)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, o)
			return s.printOutcome(&o)
		})
	}
	err := g.Wait()
	if !dryRun {
		s.recordActs(ctx, action, all)
	}
	if s.output == formatJSON {
		err = errors.Join(err, s.json(map[string]any{"results": all}))
	}
	if err != nil {
		return err
	}
	return outcomeError(all)
}

func (s *session) actOn(ctx context.Context, r ref, do func(context.Context, millhand.Ref) outcome) outcome {
	found, err := s.lookUp(ctx, r)
	if err != nil {
		o := failed(millhand.Ref{Queue: r.queue, Type: r.typ, ID: r.id}, err)
		if o.Outcome == notFound {
			o.Text = "not found: " + s.noJob(ctx, r)
		}
		return o
	}
	return do(ctx, found)
}

// printOutcome prints one at once, but for -o json, which is one object.
func (s *session) printOutcome(o *outcome) error {
	switch s.output {
	case formatJSON:
		return nil
	case formatNDJSON:
		return s.jsonLine(o)
	case formatName:
		if o.code != cli.ExitOK {
			return nil
		}
		return s.say("%s", refOf(o.Ref))
	case formatText, formatCSV:
	}
	if o.code != cli.ExitOK {
		s.warn("%s: %s", refOf(o.Ref), o.Text)
		return nil
	}
	return s.say("%s: %s", refOf(o.Ref), o.Text)
}

// outcomeError is nil if all that was asked for is done. What is wrong with each job is told by then.
func outcomeError(all []outcome) error {
	counts, code, bad := make(map[string]int), cli.ExitOK, 0
	for i := range all {
		if all[i].code != cli.ExitOK {
			bad++
			code = all[i].code
			counts[all[i].Outcome]++
		}
	}
	if bad == 0 || len(all) == 1 {
		return exitWith(code, nil)
	}
	var parts []string
	for outcome, n := range counts {
		parts = append(parts, fmt.Sprintf("%s %d", outcome, n))
	}
	slices.Sort(parts)
	return exitWith(cli.ExitPartial, fmt.Errorf("done with %d of %d jobs: %s", len(all)-bad, len(all), strings.Join(parts, ", ")))
}

func exitWith(code int, err error) error {
	if code == cli.ExitOK {
		return nil
	}
	return &cli.ExitError{Code: code, Err: err}
}
