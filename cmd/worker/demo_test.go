package main

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/millhand/millhand/internal/cli"
)

// A herald calls once when something is written that has the text, before the writer goes on.
type herald struct {
	logBuffer
	text string
	call func()
	once sync.Once
}

func (h *herald) Write(p []byte) (int, error) {
	if strings.Contains(string(p), h.text) {
		h.once.Do(h.call)
	}
	return h.logBuffer.Write(p)
}

func TestSignalEndsTheDemo(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		signals := make(chan os.Signal, 1)
		out, log := &herald{text: "jobs that", call: func() { signals <- sig }}, &logBuffer{} // its broker runs, and its jobs are next
		if got := run([]string{"demo"}, signals, out, log); got != cli.ExitInterrupted {
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
