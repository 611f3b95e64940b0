package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
)

func cronCommand(a *app) *cobra.Command {
	return withCommands(a.command(spec{
		use:   "cron [ENTRY]...",
		short: "The entries of the schedule, and their next ticks",
		long: "The entries of the schedule with their last and next ticks, and how the job of the last one ended.\n" +
			"MISSED are ticks that nobody enqueued in time, SKIPPED those whose job before was still alive.",
		example:  "  millhand cron\n  millhand cron nightly -o json",
		formats:  ofList(),
		args:     cobra.ArbitraryArgs,
		complete: cronNames,
		run: func(ctx context.Context, s *session, args []string) error {
			entries, err := s.crons(ctx, args)
			if err != nil {
				return err
			}
			return s.cronListing().print(s.app, entries)
		},
	}), cronPauseCommand(a), cronResumeCommand(a), cronRunCommand(a))
}

func cronNames(ctx context.Context, s *session) []string {
	entries, _ := s.client.Crons(ctx) // without them nothing is completed
	var names []string
	for i := range entries {
		names = append(names, entries[i].Name)
	}
	return names
}

// A cronEntry is what is printed of an entry.
type cronEntry struct {
	answer.CronEntry

	entry millhand.Cron
}

// crons are the entries of those names, all without any.
func (s *session) crons(ctx context.Context, names []string) ([]cronEntry, error) {
	infos, err := s.client.Crons(ctx)
	if err != nil {
		return nil, err
	}
	known, err := s.registry.Crons(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the entries: %w", err)
	}
	pauses := make(map[string]*registry.Pause)
	for i := range known {
		pauses[known[i].Name] = known[i].Paused
	}
	byName := make(map[string]*millhand.CronInfo)
	var all []string
	for i := range infos {
		byName[infos[i].Name] = &infos[i]
		all = append(all, infos[i].Name)
	}
	if len(names) == 0 {
		names = all
	}
	var entries []cronEntry
	for _, name := range names {
		info, ok := byName[name]
		if !ok {
			return nil, exitWith(cli.ExitNotFound, notThere("entry", name, "'millhand cron' has those there are"+meant(name, "cron", "run", "pause", "resume")))
		}
		e := cronEntry{answer.CronEntryOf(info, pauses[name]), info.Cron}
		if err := e.ReadLastEnd(ctx, s.store); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (s *session) cronListing() *listing[cronEntry] {
	return &listing[cronEntry]{
		key: "entries",
		columns: []column{
			{title: "ENTRY"},
			{title: "SCHEDULE"},
			{title: "JOB", spare: true},
			{title: "LAST"},
			{title: "ENDED"},
			{title: "MISSED", right: true, spare: true},
			{title: "SKIPPED", right: true, spare: true},
			{title: "NEXT"},
		},
		row: func(e cronEntry) []cell {
			return []cell{
				plain(e.Name), plain(scheduleText(&e)), plain(e.Queue + "/" + e.Type), plain(s.lastText(e.LastTick)), plain(e.LastEnd),
				number(e.Missed), number(e.Skipped), s.nextCell(&e),
			}
		},
		name:  func(e cronEntry) string { return e.Name },
		empty: "no entries; docs/cron.md says how a worker's file or Client.PutCron puts one",
	}
}

func scheduleText(e *cronEntry) string {
	if e.Zone == "" || e.Zone == "UTC" || strings.HasPrefix(e.Schedule, "@every") {
		return e.Schedule
	}
	return e.Schedule + " " + e.Zone
}

func (s *session) nextCell(e *cronEntry) cell {
	switch t := e.NextTick; {
	case e.Paused != nil:
		return cell{text: s.pauseText(e.Paused), style: yellow}
	case t.IsZero() || s.absolute:
		return plain(s.moment(t))
	default:
		return plain("in " + span(max(t.Sub(s.now), 0)))
	}
}

func (s *session) lastText(t time.Time) string {
	if t.IsZero() {
		return none
	}
	return s.ago(t)
}

func cronRunCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := a.command(spec{
		use:   "run ENTRY...",
		short: "Enqueue the job of an entry now, beside its ticks",
		long: "Enqueue the job of an entry now, with an id of its own: it is no tick, so it counts as none, and it\n" +
			"runs beside the job of a tick if there is one.",
		example:  "  millhand cron run nightly",
		formats:  ofList(),
		args:     cobra.MinimumNArgs(1),
		complete: cronNames,
		run: func(ctx context.Context, s *session, args []string) error {
			return s.runEntries(ctx, args, dryRun)
		},
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be enqueued")
	return cmd
}

func (s *session) runEntries(ctx context.Context, names []string, dryRun bool) error {
	entries, err := s.crons(ctx, names)
	if err != nil {
		return err
	}
	all := make([]outcome, 0, len(entries))
	for _, e := range entries {
		o := outcome{Ref: millhand.Ref{Queue: e.Queue, Type: e.Type}, Outcome: wouldBe, Text: "would be enqueued for " + e.Name}
		if !dryRun {
			ref, err := s.client.Enqueue(ctx, e.entry.Args, e.entry.Options...)
			if err != nil {
				return fmt.Errorf("enqueue the job of %s: %w", e.Name, err)
			}
			s.record(ctx, audit.Record{Action: audit.RunCron, Ref: e.Name, Count: 1, Detail: "job " + refOf(ref).String()})
			o = outcome{Ref: ref, Outcome: "enqueued", State: millhand.Ready, Text: "enqueued for " + e.Name}
		}
		all = append(all, o)
		if err := s.printOutcome(&o); err != nil {
			return err
		}
	}
	if s.output == formatJSON {
		return s.json(map[string]any{"results": all})
	}
	return nil
}
