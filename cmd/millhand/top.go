package main

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
)

// topFlags are those of the console.
type topFlags struct {
	mouse          bool
	record, replay string // files
}

func topCommand(a *app) *cobra.Command {
	var f topFlags
	cmd := a.command(spec{
		use:   "top",
		short: "The console: all of it on one screen, kept up to date",
		long: "A console that fills the terminal: queues, types, jobs, dead jobs, workers, limits and events in tabs,\n" +
			"kept up to date every two seconds. It only reads until a capital letter asks for an operation, which is\n" +
			"asked about first, and does what the command of the same name does. ? shows the keys.",
		example: "  millhand top\n  millhand top --server nats://10.0.0.7:4222\n  millhand top --record incident.jsonl\n  millhand top --replay incident.jsonl",
		formats: []format{formatText},
		run: func(ctx context.Context, s *session, _ []string) error {
			if err := s.checkTerminal(); err != nil {
				return err
			}
			return s.showConsole(ctx, &f)
		},
	})
	fs := cmd.Flags()
	fs.BoolVar(&f.mouse, "mouse", false, "heed the mouse: clicks open tabs and rows, and the wheel moves; the terminal then marks text with Shift only")
	fs.StringVar(&f.record, "record", "", "write what is looked at into `FILE`, payloads and errors included")
	fs.StringVar(&f.replay, "replay", "", "show what was recorded in `FILE`, without a broker")
	live := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.replay == "" {
			return live(cmd, args)
		}
		if f.record != "" {
			return cli.Usagef("--record and --replay do not go together")
		}
		if err := a.check([]format{formatText}); err != nil {
			return err
		}
		return (&session{app: a}).replayConsole(cmd.Context(), &f)
	}
	return cmd
}

// checkTerminal refuses what cannot be drawn over.
func (s *session) checkTerminal() error {
	in, ok := s.in.(*os.File)
	if !ok || !cli.IsTerminal(in) || !cli.CanRedraw(s.out) {
		return cli.Usagef("top fills a terminal, and this is none that can be drawn over; 'millhand status' prints one look, 'millhand watch' what happens")
	}
	return nil
}

// showConsole shows the console until it is left.
func (s *session) showConsole(ctx context.Context, f *topFlags) (err error) {
	t := newTop(s)
	var source console.Source = t
	if f.record != "" {
		file, failed := os.OpenFile(f.record, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if failed != nil {
			return cli.Usagef("--record: %w", failed)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		source = console.Record(t, file)
	}
	ctx, leave := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer leave()
	wg.Go(func() { t.tail.follow(ctx, s.client) })
	return s.runConsole(ctx, source, f)
}

// replayConsole shows what was recorded.
func (s *session) replayConsole(ctx context.Context, f *topFlags) error {
	file, err := os.Open(f.replay)
	if err != nil {
		return cli.Usagef("--replay: %w", err)
	}
	source, err := console.Replay(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return cli.Usagef("--replay %s: %w", f.replay, err)
	}
	if err := s.checkTerminal(); err != nil {
		return err
	}
	return s.runConsole(ctx, source, f)
}

func (s *session) runConsole(ctx context.Context, source console.Source, f *topFlags) error {
	err := console.Run(ctx, source, console.Options{In: s.in, Out: s.out, Colors: s.colors(), UTC: s.utc, Mouse: f.mouse})
	if _, tooLarge := errors.AsType[*console.SizeError](err); tooLarge {
		return cli.Usagef("%w", err)
	}
	return err
}
