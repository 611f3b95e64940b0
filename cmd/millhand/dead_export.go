package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
)

// deadKeys are the terms that have flags of their own in the commands about dead jobs.
func deadKeys() []filter.Key {
	return []filter.Key{filter.Queue, filter.Type, filter.ID, filter.Reason, filter.Error, filter.Worker, filter.Since, filter.Until}
}

func deadExportCommand(a *app) *cobra.Command {
	var p picker
	cmd := a.command(spec{
		use:   "export [FILTER]...",
		short: "Print dead jobs as lines that 'enqueue --from' reads",
		long: "Print dead jobs as lines of JSON that 'enqueue --from' reads, the oldest first: queue, type, id,\n" +
			"payload, meta, max_attempts and timeout. What cannot be a line is told (exit 7).",
		example:  "  millhand dead export type:email > email.ndjson\n  millhand dead export error:'connection refused' | jq .payload\n  millhand dead export --since 7d",
		formats:  []format{formatText, formatNDJSON},
		args:     cobra.ArbitraryArgs,
		complete: termNames,
		run: func(ctx context.Context, s *session, args []string) error {
			f, err := p.filter(args)
			if err != nil {
				return err
			}
			return s.exportDead(ctx, f)
		},
	})
	p.register(a, cmd, deadKeys()...)
	return cmd
}

// exported is a job as enqueue reads it.
type exported struct {
	Queue       string            `json:"queue"`
	Type        string            `json:"type"`
	ID          string            `json:"id"`
	Payload     json.RawMessage   `json:"payload"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Timeout     string            `json:"timeout,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
}

func (s *session) exportDead(ctx context.Context, f filter.Filter) error {
	n, left := 0, 0
	for d, err := range s.deadMatching(ctx, f) {
		if err != nil {
			return err
		}
		if why := unfit(&d); why != "" {
			left++
			s.warn("%s: left out: %s", refOf(d.Ref), why)
			continue
		}
		e := exported{Queue: d.Queue, Type: d.Type, ID: d.ID, Payload: d.Payload, MaxAttempts: d.MaxAttempts, Meta: d.Meta}
		if d.Timeout > 0 {
			e.Timeout = d.Timeout.String()
		}
		if err := s.jsonLine(e); err != nil {
			return err
		}
		n++
	}
	if left > 0 {
		return exitWith(cli.ExitPartial, fmt.Errorf("%s, and %d left out", plural(n, "job exported", "jobs exported"), left))
	}
	return nil
}

// unfit says why a dead job cannot be a line, empty if it can.
func unfit(d *millhand.DeadJob) string {
	switch {
	case d.PayloadOmitted > 0:
		return fmt.Sprintf("its payload of %s bytes was too large to be kept", thousands(int64(d.PayloadOmitted)))
	case d.Subject != "":
		return "it was published as no job"
	case !utf8.Valid(d.Payload) || !json.Valid(d.Payload):
		return "its payload is no JSON; 'millhand inspect REF --payload FILE' has it"
	}
	return ""
}

// deadMatching yields the dead jobs that a filter means, oldest first. The broker leaves out what it can
// tell by name and time.
func (s *session) deadMatching(ctx context.Context, f filter.Filter) iter.Seq2[millhand.DeadJob, error] {
	return func(yield func(millhand.DeadJob, error) bool) {
		if len(f.States()) != len((filter.Filter{}).States()) {
			yield(millhand.DeadJob{}, cli.Usagef("state: these are dead all; leave the term out"))
			return
		}
		for d, err := range s.client.Dead(ctx, deadFilter(f, time.Now())) {
			if err == nil && !f.Match(matchedDead(&d), time.Now()) {
				continue
			}
			if !yield(d, asUsage(err)) {
				return
			}
		}
	}
}

// deadFilter is as much of a filter as the package can tell.
func deadFilter(f filter.Filter, now time.Time) millhand.DeadFilter {
	one := func(k filter.Key) string {
		if names, ok := f.Names(k); ok && len(names) == 1 {
			return names[0]
		}
		return ""
	}
	since, until := f.Window(now)
	return millhand.DeadFilter{Queue: one(filter.Queue), Type: one(filter.Type), ID: one(filter.ID), Since: since, Until: until}
}

// matchedDead is a dead job as a filter looks at it.
func matchedDead(d *millhand.DeadJob) *filter.Job {
	j := &filter.Job{
		State: job.Dead, Queue: d.Queue, Type: d.Type, ID: d.ID, Life: d.Life, Reason: string(d.Reason), Error: d.LastError(),
		Payload: d.Payload, Meta: d.Meta, Attempt: d.Attempt, Crashes: d.Crashes, Since: d.DiedAt, EndedAt: d.DiedAt,
	}
	if n := len(d.Failures); n > 0 {
		j.Worker = d.Failures[n-1].Worker
	}
	return j
}
