//go:build unix

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// On a terminal a job that reports progress has a bar, which leaves nothing behind.
func TestWaitOnATerminal(t *testing.T) {
	t.Parallel()
	erased := strings.NewReplacer("\x1b[2K", "", "\x1b[0K", "")
	for env, drawn := range map[string]bool{"TERM=xterm": true, "TERM=dumb": false} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			url := serveSteps(t)
			cmd := exec.CommandContext(t.Context(), "enqueue", "steps", "--wait", "--id", "s1", "-s", url)
			cmd.Env = append(os.Environ(), env)
			terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 80})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = terminal.Close() }() // nothing is written to it
			b, _ := io.ReadAll(terminal)            // Linux ends it with EIO when the command is gone
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, b)
			}
			out := string(b)
			if got := strings.Contains(out, "/50)") && strings.Contains(out, "█"); got != drawn {
				t.Errorf("a bar: %t, want %t: %q", got, drawn, out)
			}
			if strings.Contains(out, "\x1b[2J") {
				t.Errorf("a note moved the cursor: %q", out)
			}
			if !strings.HasPrefix(out, "enqueue: job s1 is enqueued\r\n") || !strings.HasSuffix(out, "walked\r\n") {
				t.Errorf("terminal: %q", out)
			}
			for _, line := range strings.FieldsFunc(out, func(r rune) bool { return r == '\r' || r == '\n' }) {
				if got := utf8.RuneCountInString(erased.Replace(line)); got > 80 {
					t.Errorf("%d columns: %q", got, line)
				}
			}
		})
	}
}

// serveSteps runs a broker and a worker until the test ends.
func serveSteps(t *testing.T) (url string) {
	t.Helper()
	b, err := broker.Start(broker.Config{Store: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	nc, err := nats.Connect(b.ClientURL(), millhand.ConnectOptions(slog.New(slog.DiscardHandler))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	mux := millhand.NewMux()
	mux.HandleFunc("steps", steps)
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	return b.ClientURL()
}
