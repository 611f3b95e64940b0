//go:build unix

package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

// A typist presses keys on a terminal once what they answer to is there.
type typist struct {
	*testing.T
	terminal *os.File
	seen     string // since the last key
	all      strings.Builder
}

// until reads until a text is there, then presses keys.
func (y *typist) until(text, keys string) {
	y.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(y.seen, text) {
		n, err := y.terminal.Read(buf)
		y.seen += string(buf[:n])
		y.all.Write(buf[:n])
		if err != nil {
			y.Fatalf("no %q: %v, in\n%q", text, err, y.all.String())
		}
	}
	y.seen = ""
	if _, err := io.WriteString(y.terminal, keys); err != nil {
		y.Fatal(err)
	}
}

// The console on a terminal: keys lead to the dead jobs, and retry them on the broker.
func TestTopRetriesDeadJobs(t *testing.T) {
	t.Parallel()
	url := serveDead(t, 3)
	cmd := exec.CommandContext(t.Context(), "millhand", "top", "-s", url)
	cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm-256color")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }() // all is read
	y := &typist{T: t, terminal: terminal}
	y.until("dead 3", "5")
	y.until("3 dead jobs in 1 group", "R")
	y.until("retry 3 dead jobs", "\r") // No is chosen
	y.until("nothing was done", "R")
	y.until("retry 3 dead jobs", "y")
	y.until("retried 3 dead jobs", "q")
	_, _ = io.Copy(io.Discard, terminal) // Linux ends it with EIO when the command is gone
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, after\n%q", err, y.all.String())
	}
	if n := countDead(t, url); n != 0 {
		t.Errorf("%d jobs are dead still", n)
	}
}

// What was looked at can be shown again without a broker.
func TestTopReplaysARecording(t *testing.T) {
	t.Parallel()
	url, file := serveDead(t, 3), filepath.Join(t.TempDir(), "top.jsonl")
	run := func(f func(y *typist), args ...string) {
		cmd := exec.CommandContext(t.Context(), "millhand", append([]string{"top"}, args...)...)
		cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm-256color")
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = terminal.Close() }() // all is read
		y := &typist{T: t, terminal: terminal}
		f(y)
		_, _ = io.Copy(io.Discard, terminal)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v, after\n%q", err, y.all.String())
		}
	}
	run(func(y *typist) {
		y.until("dead 3", "5")
		y.until("3 dead jobs in 1 group", "q")
	}, "-s", url, "--record", file)
	run(func(y *typist) {
		y.until("dead 3", "5")
		y.until("3 dead jobs in 1 group", "R")
		y.until("this is a recording: nothing can be done to it", "q")
	}, "-s", "nats://127.0.0.1:1", "--replay", file)
}

// A terminal that says it is larger than any screen takes no memory for it.
func TestTopOnATerminalThatIsTooLarge(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "millhand", "top", "-s", serveDead(t, 0))
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 2000, Cols: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }() // all is read
	y := &typist{T: t, terminal: terminal}
	y.until("it has 5000 columns and 2000 lines; at most 1000 and 500 can be drawn on", "")
	_, _ = io.Copy(io.Discard, terminal)
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || exit.ExitCode() != cli.ExitUsage {
		t.Errorf("%v, want %d", exit, cli.ExitUsage)
	}
}

func countDead(t *testing.T, url string) int {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	n, err := client.CountDead(t.Context(), millhand.DeadFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What cannot be drawn over is no place for it.
func TestTopNeedsATerminal(t *testing.T) {
	t.Parallel()
	url := serveDead(t, 0)
	for _, env := range []string{"TERM=dumb"} {
		out, code := onTerminal(t, url, env, "", "top")
		if code != cli.ExitUsage || !strings.Contains(out, "'millhand status' prints one look") {
			t.Errorf("%s: exit code %d: %s", env, code, out)
		}
	}
	out, err := exec.CommandContext(t.Context(), "millhand", "top", "-s", url).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "'millhand status' prints one look") {
		t.Errorf("on a pipe: %v: %s", err, out)
	}
}
