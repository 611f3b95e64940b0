package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
)

func runningCommand(a *app) *cobra.Command {
	var typ, longerThan string
	cmd := a.command(spec{
		use:     "running",
		short:   "The jobs that run now, the oldest first",
		long:    "The jobs that run now, the oldest first, as the workers answer within half a second.",
		example: "  millhand running\n  millhand running --type import --longer-than 10m\n  millhand running -o name",
		formats: ofList(),
		run: func(ctx context.Context, s *session, _ []string) error {
			least, err := filter.Duration(longerThan)
			if err != nil {
				return cli.Usagef("--longer-than: %w", err)
			}
			return s.showRunning(ctx, typ, least)
		},
	})
	cmd.Flags().StringVarP(&typ, "type", "t", "", "only jobs of this `TYPE`")
	cmd.Flags().StringVar(&longerThan, "longer-than", "0s", "only jobs that run for longer than `DURATION`")
	_ = cmd.RegisterFlagCompletionFunc("type", a.candidates(typeNames)) // the flag is there
	return cmd
}

func (s *session) showRunning(ctx context.Context, typ string, least time.Duration) error {
	jobs, err := s.client.Running(ctx, typ)
	if err != nil {
		return asUsage(err)
	}
	jobs = slices.DeleteFunc(jobs, func(j millhand.RunningJob) bool { return s.now.Sub(j.Since) < least })
	l := &listing[millhand.RunningJob]{
		key:     "running",
		columns: []column{{title: "JOB"}, {title: "FOR"}, {title: "WORKER"}, {title: "PROGRESS"}},
		row: func(j millhand.RunningJob) []cell {
			return []cell{plain(refOf(j.Ref).String()), plain(s.age(j.Since)), plain(j.Worker), plain(progressText(j.Progress))}
		},
		name:  func(j millhand.RunningJob) string { return refOf(j.Ref).String() },
		empty: "nothing runs",
		foot: func(w io.Writer) error {
			_, err := fmt.Fprintln(w, plural(len(jobs), "job runs", "jobs run"))
			return err
		},
	}
	return l.print(s.app, jobs)
}

// progressText is how far a job says it is.
func progressText(p millhand.Progress) string {
	switch {
	case p.Time.IsZero():
		return ""
	case p.Total > 0:
		return fmt.Sprintf("%s of %s %s", thousands(p.Done), thousands(p.Total), p.Note)
	}
	return thousands(p.Done) + " " + p.Note
}
