package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/backup"
	"github.com/millhand/millhand/internal/cli"
)

func backupCommand(a *app) *cobra.Command {
	var o backup.Options
	var version string
	cmd := a.command(spec{
		use:   "backup FILE",
		short: "Write all jobs, events and limits to a file, from which they can be restored",
		long: "Write the namespace to a new FILE, a .tar.zst: all queues with what waits and runs, events, dead\n" +
			"jobs, limits, schedules, pauses and statistics. Workers go on meanwhile. A job that runs or ends while\n" +
			"the backup is taken may run again after a restore. With --quiesce none does: all queues are paused\n" +
			"until the backup is written, and it begins when nothing is in hand. The file has all payloads and\n" +
			"results, so only you may read it. docs/backup.md has more.",
		example: "  millhand backup prod-2026-11-28.tar.zst\n  millhand backup prod.tar.zst --quiesce --timeout 5m   wait for jobs that take long",
		args:    cobra.ExactArgs(1),
		run:     func(ctx context.Context, s *session, args []string) error { return s.backup(ctx, args[0], version, o) },
	})
	fs := cmd.Flags()
	fs.BoolVar(&o.Quiesce, "quiesce", false, "pause all queues, and begin when nothing is in hand: the backup is exact")
	fs.DurationVar(&o.Patience, "timeout", time.Minute, "with --quiesce, how `LONG` to wait for what is in hand")
	fs.BoolVar(&o.NoStatistics, "no-statistics", false, "leave out the history of counts and durations, and who did what")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.Patience <= 0 {
			return cli.Usagef("--timeout %v: must be more than nothing", o.Patience)
		}
		version = cmd.Root().Version
		return run(cmd, args)
	}
	return cmd
}

// backupConfig is of the namespace that the session is connected to.
func (s *session) backupConfig() backup.Config {
	return backup.Config{
		Client: s.js, Store: s.store, Registry: s.registry, By: s.by,
		Say: s.warn, Progress: (&streamProgress{session: s, told: time.Now()}).of,
	}
}

// A streamProgress says every ten seconds how far a backup or restore is.
type streamProgress struct {
	*session
	told time.Time
}

func (p *streamProgress) of(of *backup.Stream, done, total uint64) {
	if time.Since(p.told) < tellEvery {
		return
	}
	p.told = time.Now()
	p.warn("%s: %s of %s messages", streamLabel(of), thousands(int64(done)), thousands(int64(total)))
}

// tellEvery is how often it is told how far a long operation is.
const tellEvery = 10 * time.Second

func streamLabel(of *backup.Stream) string {
	if of.Kind == backup.Queue {
		return "queue " + of.Queue
	}
	return string(of.Kind)
}

// A written file is what a backup became.
type written struct {
	File     string           `json:"file"`
	Bytes    int64            `json:"bytes"`
	SHA256   string           `json:"sha256"`
	Manifest *backup.Manifest `json:"-"`
	Took     float64          `json:"took_s"`

	Namespace string          `json:"namespace"`
	Quiesced  bool            `json:"quiesced"`
	Streams   []streamSummary `json:"streams"`
	Resumed   []string        `json:"resumed,omitempty"` // queues that were paused for it
}

// A streamSummary is what a stream of an archive has.
type streamSummary struct {
	Name     string      `json:"name"`
	Kind     backup.Kind `json:"kind"`
	Queue    string      `json:"queue,omitempty"`
	Jobs     *uint64     `json:"jobs,omitempty"` // of a queue
	Messages uint64      `json:"messages"`
}

func summaryOf(streams []*backup.Stream) (all []streamSummary) {
	for _, s := range streams {
		one := streamSummary{Name: s.Name, Kind: s.Kind, Queue: s.Queue, Messages: s.Messages}
		if s.Kind == backup.Queue {
			one.Jobs = &s.Jobs
		}
		all = append(all, one)
	}
	return all
}

// contentOf is what streams have, for people: queues by their jobs, and others by their messages.
func contentOf(streams []*backup.Stream) string {
	var queues, others []string
	for _, s := range streams {
		if s.Kind == backup.Queue {
			queues = append(queues, s.Queue+" "+thousands(int64(s.Jobs)))
		} else {
			others = append(others, string(s.Kind)+" "+thousands(int64(s.Messages)))
		}
	}
	word := "queue "
	if len(queues) > 1 {
		word = "queues "
	}
	return strings.Join(append([]string{word + strings.Join(queues, ", ")}, others...), " · ")
}

func (s *session) backup(ctx context.Context, path, version string, o backup.Options) error {
	outlivePipes()
	began := time.Now()
	c := s.backupConfig()
	c.Millhand = version
	w := written{File: path}
	err := writeNew(path, func(file io.Writer) (err error) {
		sum := sha256.New()
		count := &counter{to: io.MultiWriter(file, sum)}
		w.Manifest, err = backup.Take(ctx, c, o, count)
		w.Bytes, w.SHA256 = count.n, hex.EncodeToString(sum.Sum(nil))
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return &cli.ExitError{Code: cli.ExitRefused, Err: fmt.Errorf("%s is there already; give another name, or remove it", path)}
	case errors.Is(err, backup.ErrBusy):
		return &cli.ExitError{Code: cli.ExitTimeout, Err: err}
	case backup.ErrNothing(err):
		return &cli.ExitError{Code: cli.ExitNotFound, Err: err}
	case err != nil:
		return err
	}
	m := w.Manifest
	s.record(ctx, audit.Record{Action: audit.Backup, Ref: filepath.Base(path), Count: len(m.Queues()), Detail: "sha256 " + w.SHA256})
	w.Took = time.Since(began).Seconds()
	if s.output == formatJSON {
		w.Namespace, w.Quiesced, w.Streams, w.Resumed = m.Namespace, m.Quiesced, summaryOf(m.Streams), m.Paused
		return s.json(w)
	}
	after := ""
	if n := len(m.Paused); n > 0 {
		after = ", " + plural(n, "queue", "queues") + " resumed"
	}
	if err := s.say("%s", contentOf(m.Streams)); err != nil {
		return err
	}
	return s.say("wrote %s in %.1f s, sha256 %s%s", sizeOf(w.Bytes), w.Took, w.SHA256, after)
}

// A counter counts what is written through it.
type counter struct {
	to io.Writer
	n  int64
}

// Write implements [io.Writer].
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	return n, err
}

// writeNew writes a file that is there when it is whole, and not before. The error is [fs.ErrExist] if
// there is one of its name.
func writeNew(path string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // for the owner only
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name()) // it is hidden, and named after what it was for
		}
	}()
	err = write(file)
	for _, step := range []func() error{file.Sync, file.Close} {
		if failed := step(); err == nil {
			err = failed
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// sizeOf is a number of bytes for people.
func sizeOf(n int64) string {
	const unit = 1000
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, names := float64(n), "kMGT"
	for value >= unit && len(names) > 0 {
		value /= unit
		if value < unit || len(names) == 1 {
			return strconv.FormatFloat(value, 'f', 1, 64) + " " + names[:1] + "B"
		}
		names = names[1:]
	}
	return strconv.FormatInt(n, 10) + " B"
}
