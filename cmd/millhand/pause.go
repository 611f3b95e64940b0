package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/timespan"
	"github.com/millhand/millhand/internal/view"
)

// A pauser is the command pause or the command resume.
type pauser struct {
	resume bool
	all    bool
	dryRun bool

	length  string
	limited func() bool // a length is given
	reason  string
}

func pauseCommand(a *app) *cobra.Command {
	p := &pauser{}
	cmd := a.pauseCommand(p, spec{
		use:   "pause QUEUE[/TYPE]... | --all",
		short: "Keep workers from taking jobs of a queue, or of a type in it",
		long: "Keep all workers from taking jobs of a queue, or of a type in it, until it is resumed or --for is\n" +
			"over: the broker ends that, whoever is there. Workers heed it within a second; what runs goes on to\n" +
			"its end, and jobs may still be enqueued. Of what is paused, reason and end are changed.",
		example: "  millhand pause default --for 1h --reason 'database move'\n  millhand pause default/import --reason 'bad feed'\n  millhand pause --all",
	})
	cmd.Flags().StringVar(&p.length, "for", "", "how long: `DURATION`; without it, until it is resumed")
	p.limited = func() bool { return cmd.Flags().Changed("for") }
	cmd.Flags().StringVar(&p.reason, "reason", "", "`TEXT` for those who see the pause")
	return cmd
}

func resumeCommand(a *app) *cobra.Command {
	return a.pauseCommand(&pauser{resume: true}, spec{
		use:     "resume QUEUE[/TYPE]... | --all",
		short:   "End the pause of a queue, or of a type in it",
		long:    "End the pause of a queue, or of a type in it. Of what is not paused it does nothing. A type that was\npaused by itself stays so when its queue is resumed; --all resumes it, too.",
		example: "  millhand resume default\n  millhand resume default/import\n  millhand resume --all",
	})
}

func (a *app) pauseCommand(p *pauser, s spec) *cobra.Command {
	s.args, s.complete, s.run = cobra.ArbitraryArgs, partNames, p.run
	cmd := a.command(s)
	cmd.Flags().BoolVar(&p.all, "all", false, "all queues")
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func (p *pauser) run(ctx context.Context, s *session, args []string) error {
	length, err := p.duration()
	if err != nil {
		return err
	}
	paused, err := s.pausedParts(ctx)
	if err != nil {
		return err
	}
	parts, err := p.parts(ctx, s, args, paused)
	if err != nil {
		return err
	}
	names, idle := []string{}, []string{}
	for _, part := range parts {
		if p.resume && !paused[part] {
			idle = append(idle, part.String())
			continue
		}
		names = append(names, part.String())
		if p.dryRun {
			continue
		}
		if err := p.act(ctx, s, part, length); err != nil {
			return asUsage(err)
		}
		s.record(ctx, p.done(part, length))
	}
	return p.report(s, names, idle)
}

// report says what was done, and to what there was nothing to do.
func (p *pauser) report(s *session, names, idle []string) error {
	if s.output == formatJSON {
		out := map[string]any{p.word(): names, "dry_run": p.dryRun}
		if p.resume {
			out["not_paused"] = idle
		}
		return s.json(out)
	}
	if p.all && p.resume && len(names) == 0 {
		return s.say("nothing is paused")
	}
	word := p.word()
	if p.dryRun {
		word = "would be " + word
	}
	for _, name := range names {
		if err := s.say("%s: %s", name, word); err != nil {
			return err
		}
	}
	for _, name := range idle {
		if err := s.say("%s: was not paused; 'millhand status' has what is", name); err != nil {
			return err
		}
	}
	return nil
}

// pausedParts are all queues and types that are paused now, those included that have no job yet.
func (s *session) pausedParts(ctx context.Context) (map[part]bool, error) {
	queues, types, err := s.registry.PausedParts(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at what is paused: %w", err)
	}
	all := make(map[part]bool)
	for q := range queues {
		all[part{queue: q}] = true
	}
	for name := range types {
		queue, typ, _ := strings.Cut(name, "/")
		all[part{queue, typ}] = true
	}
	return all, nil
}

// A part is what is paused: a queue, or a type in it.
type part struct{ queue, typ string }

// String is the part as it is read.
func (p part) String() string { return strings.TrimSuffix(p.queue+"/"+p.typ, "/") }

func (p *pauser) act(ctx context.Context, s *session, at part, length time.Duration) error {
	switch {
	case p.resume && at.typ == "":
		return s.registry.Resume(ctx, at.queue)
	case p.resume:
		return s.registry.ResumeType(ctx, at.queue, at.typ)
	case at.typ == "":
		return s.registry.PauseFor(ctx, at.queue, p.reason, length)
	}
	return s.registry.PauseType(ctx, at.queue, at.typ, p.reason, length)
}

// done is what the audit keeps of it.
func (p *pauser) done(at part, length time.Duration) audit.Record {
	r := audit.Record{Action: audit.Resume, Ref: at.String(), Count: 1}
	if !p.resume {
		r.Action, r.Detail = audit.Pause, p.reason
	}
	if length > 0 {
		r.Detail = strings.TrimSuffix("for "+span(length)+": "+p.reason, ": ")
	}
	return r
}

// duration is what --for says.
func (p *pauser) duration() (time.Duration, error) {
	if p.resume || !p.limited() {
		return 0, nil
	}
	d, err := filter.Duration(p.length)
	switch {
	case errors.Is(err, timespan.ErrTooLong):
		return 0, cli.Usagef("--for: %w; leave --for out to pause until 'millhand resume'", err)
	case err != nil || d < 0:
		return 0, cli.Usagef("--for %q: want a duration, such as 90s, 1h30m or 7d", p.length)
	case d == 0:
		return 0, cli.Usagef("--for %s: a pause of no length; leave --for out to pause until 'millhand resume', or say how long, such as 1h", p.length)
	}
	return d, nil
}

func (p *pauser) word() string {
	if p.resume {
		return "resumed"
	}
	return "paused"
}

// parts are those that are meant.
func (p *pauser) parts(ctx context.Context, s *session, args []string, paused map[part]bool) ([]part, error) {
	if p.all == (len(args) > 0) {
		return nil, cli.Usagef("which QUEUE? name some, or give --all")
	}
	var meant []part
	for _, arg := range args {
		queue, typ, hasType := strings.Cut(arg, "/")
		err := millhand.CheckQueue(queue)
		if err == nil && hasType {
			err = job.CheckType(typ)
		}
		if err != nil {
			return nil, asUsage(err)
		}
		meant = append(meant, part{queue, typ})
	}
	if p.resume {
		if p.all {
			meant = slices.SortedFunc(maps.Keys(paused), func(a, b part) int { return cmp.Compare(a.String(), b.String()) })
		}
		return meant, nil
	}
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if p.all {
		for _, q := range snap.Queues {
			meant = append(meant, part{queue: q.Name})
		}
		return meant, nil
	}
	s.warnOfParts(snap, meant)
	return meant, nil
}

// warnOfParts says what pauses of these will not do as one may think.
func (s *session) warnOfParts(snap *view.Snapshot, meant []part) {
	there := []string{}
	types := make(map[part]bool)
	for _, q := range snap.Queues {
		there = append(there, q.Name)
		for i := range q.Types {
			types[part{q.Name, q.Types[i].Name}] = true
		}
	}
	for _, at := range meant {
		switch {
		case !slices.Contains(there, at.queue):
			s.warn("there is no queue %s yet, only %s; it is paused from its first job on", at.queue, strings.Join(there, ", "))
		case at.typ != "" && !types[at]:
			s.warn("there is no type %s in queue %s yet; it is paused from its first job on; 'millhand types' has those there are", at.typ, at.queue)
		}
		for _, n := range snap.Workers {
			if at.typ != "" && n.ByType == nil && slices.Contains(n.Queues, at.queue) && slices.Contains(n.Types, at.typ) {
				s.warn("worker %s is of version %s, which does not know of pauses of a type: it goes on; pause the queue, or update it", n.ID, n.Version)
			}
		}
	}
}

func partNames(ctx context.Context, s *session) []string {
	names := queueNames(ctx, s)
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return names // without them no more is completed
	}
	for _, t := range typesOf(snap) {
		names = append(names, part{t.Queue, t.Name}.String())
	}
	return names
}
