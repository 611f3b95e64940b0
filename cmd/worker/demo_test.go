package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/millhand/millhand/internal/cli"
)

func TestSignalEndsTheDemo(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		out, log := &logBuffer{}, &logBuffer{}
		signals, code := make(chan os.Signal, 1), make(chan int, 1)
		go func() { code <- run([]string{"demo"}, signals, out, log) }()
		until(t, "the demo is under way", func() bool { return out.find("jobs ended") != "" })
		signals <- sig
		if got := <-code; got != cli.ExitInterrupted {
			t.Errorf("%v: exit code %d, want %d", sig, got, cli.ExitInterrupted)
		}
		if got, want := log.text.String(), "worker: interrupted\n"; got != want {
			t.Errorf("%v: stderr = %q, want %q", sig, got, want)
		}
		if out.find("Try next") != "" {
			t.Errorf("%v: the demo went on to its end", sig)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("%v: left behind %v, %v", sig, left, err)
		}
	}
}

// The signal may come while there is only half a demo.
func TestSignalBeforeTheDemoHasBegun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var out, log logBuffer
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	if got := run([]string{"demo"}, signals, &out, &log); got != cli.ExitInterrupted {
		t.Errorf("exit code %d, want %d", got, cli.ExitInterrupted)
	}
	if got := log.text.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("stderr = %q, want one line", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind %v, %v", left, err)
	}
}
