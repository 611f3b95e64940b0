package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/backup"
	"github.com/millhand/millhand/internal/cli"
)

// A restorer is the command restore.
type restorer struct {
	question

	replace, resume, dryRun bool
	queues                  []string
}

func restoreCommand(a *app) *cobra.Command {
	r := new(restorer)
	cmd := a.command(spec{
		use:   "restore FILE",
		short: "Make a namespace again from a file that backup wrote",
		long: "Make the namespace again as it was when FILE was written. Stop all workers and whatever enqueues\n" +
			"before. A file that is cut off, was changed or is none of ours is refused before anything is\n" +
			"touched, and so is a namespace that is there, unless --replace says that it may go. Limits,\n" +
			"schedules and pauses come back; what workers held does not. All queues are paused, so that you can\n" +
			"look before jobs run: 'millhand resume --all'. Jobs whose end is among the events are left out.",
		example: "  millhand restore prod.tar.zst --dry-run                  is the file whole, and what would go?\n" +
			"  millhand restore prod.tar.zst\n" +
			"  millhand restore prod.tar.zst --queue media --replace    one queue that was lost, beside the others",
		args: cobra.ExactArgs(1),
		run:  r.run,
	})
	fs := cmd.Flags()
	fs.BoolVar(&r.replace, "replace", false, "remove what is there: all queues, events and limits of the namespace or, with --queue, these queues")
	fs.BoolVar(&r.resume, "resume", false, "do not pause the queues: jobs run as soon as there are workers")
	fs.StringSliceVarP(&r.queues, "queue", "q", nil, "restore only these `QUEUES`, and leave the others, events and limits as they are")
	fs.BoolVar(&r.dryRun, "dry-run", false, "read the file, and say what would be done")
	r.register(cmd)
	return cmd
}

func (r *restorer) run(ctx context.Context, s *session, args []string) error {
	outlivePipes()
	for _, q := range r.queues {
		if err := millhand.CheckQueue(q); err != nil {
			return asUsage(err)
		}
	}
	file, err := os.Open(args[0])
	if err != nil {
		return cli.Usagef("%w", err)
	}
	defer func() { _ = file.Close() }() // it is only read
	began := time.Now()
	m, err := backup.Verify(ctx, file)
	if err != nil {
		return refusedArchive(args[0], err)
	}
	c := s.backupConfig()
	plan, err := c.Look(ctx, m, r.queues)
	if err != nil {
		return refusedArchive(args[0], err)
	}
	if err := r.allowed(s, plan); err != nil {
		return err
	}
	if r.dryRun {
		return r.report(s, plan, &backup.Result{Streams: plan.Streams, Paused: []string{}}, began)
	}
	if len(plan.Existing) > 0 {
		what := fmt.Sprintf("remove %s of queues and %s more, and restore what there was %s",
			plural(int(plan.Jobs), "message", "messages"), thousands(int64(otherMessages(plan))), s.ago(m.Begun))
		if err := r.ask(ctx, s.app, int(plan.Jobs), what); err != nil {
			return err
		}
	}
	done, err := backup.Restore(ctx, c, plan, backup.RestoreOptions{Resume: r.resume, From: filepath.Base(args[0])}, func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, 0, 1<<62)), nil // the very file that was read
	})
	if err != nil {
		return fmt.Errorf("the namespace is restored in part: run this again with --replace: %w", err)
	}
	s.record(ctx, audit.Record{
		Action: audit.Restore, Ref: filepath.Base(args[0]), Count: countQueues(plan), Detail: "as of " + m.Begun.Format(time.RFC3339),
	})
	return r.report(s, plan, done, began)
}

// refusedArchive marks an error that the file is to blame for.
func refusedArchive(path string, err error) error {
	if errors.Is(err, backup.ErrArchive) {
		return cli.Usagef("%s: %w", path, err)
	}
	return err
}

// otherMessages is how many messages that are no jobs would be removed.
func otherMessages(p *backup.Plan) (n int) {
	for _, e := range p.Existing {
		if e.Kind != backup.Queue {
			n += int(e.Messages)
		}
	}
	return n
}

func countQueues(p *backup.Plan) (n int) {
	for _, s := range p.Streams {
		if s.Kind == backup.Queue {
			n++
		}
	}
	return n
}

// allowed returns why nothing is to be touched.
func (r *restorer) allowed(s *session, p *backup.Plan) error {
	refuse := func(format string, args ...any) error {
		return &cli.ExitError{Code: cli.ExitRefused, Err: fmt.Errorf(format, args...)}
	}
	if len(p.Workers) > 0 {
		return refuse("%s: %s; stop all of them first, since they make anew what is removed, or wait ten seconds after they were killed",
			plural(len(p.Workers), "worker runs", "workers run"), strings.Join(p.Workers, ", "))
	}
	if len(p.Existing) == 0 || r.replace {
		return nil
	}
	var there []string
	for _, e := range p.Existing {
		there = append(there, fmt.Sprintf("%s (%s)", e.Name, plural(int(e.Messages), "message", "messages")))
	}
	return refuse("namespace %s is not empty: it has %s; --replace removes that, and 'millhand backup' keeps it", s.js.Namespace(), strings.Join(there, ", "))
}

// report says what was done.
func (r *restorer) report(s *session, p *backup.Plan, done *backup.Result, began time.Time) error {
	m, removed := p.Manifest, p.Existing
	if removed == nil {
		removed = []*backup.Existing{}
	}
	if s.output == formatJSON {
		return s.json(map[string]any{
			"namespace": m.Namespace, "begun": m.Begun, "ended": m.Ended, "quiesced": m.Quiesced, "by": m.By, "dry_run": r.dryRun,
			"streams": summaryOf(done.Streams), "removed": removed, "left_out": done.Dropped, "paused": done.Paused,
			"took_s": time.Since(began).Seconds(),
		})
	}
	how := "while workers ran"
	if m.Quiesced {
		how = "with nothing in hand"
	}
	lines := []string{fmt.Sprintf("backup of namespace %s, taken %s by %s, %s", m.Namespace, s.ago(m.Begun), m.By, how), contentOf(done.Streams)}
	if r.dryRun {
		for _, e := range removed {
			lines = append(lines, fmt.Sprintf("would remove %s (%s)", e.Name, plural(int(e.Messages), "message", "messages")))
		}
		return s.printLines(append(lines, "the file is whole; nothing was done"))
	}
	if done.Dropped > 0 {
		lines = append(lines, plural(int(done.Dropped), "job", "jobs")+" had ended, as the events say, and were left out")
	}
	last := fmt.Sprintf("restored in %.1f s", time.Since(began).Seconds())
	if len(done.Paused) > 0 {
		last += "; all queues of it are paused: see 'millhand status', start the workers, then 'millhand resume --all'"
	}
	return s.printLines(append(lines, last))
}
