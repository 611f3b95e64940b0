//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

// A bar shows what the handler reported last, number and note together, also when it is complete and
// when it begins anew.
func TestWaitBarIsUpToDate(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &waitScreen{out: &out, redraw: true}
	for _, p := range []millhand.Progress{
		{Done: 1, Total: 10, Note: "first"},
		{Done: 3, Total: 10, Note: "second"},
		{Done: 10, Total: 10, Note: "complete"},
		{Done: 10, Total: 10, Note: "tidying"},
		{Done: 2, Total: 20, Note: "again"},
		{Done: 1, Total: 20, Note: "back"},
	} {
		out.Reset()
		p.Time = time.Now()
		s.info.State, s.info.Progress = millhand.Running, p
		s.draw()
		frames := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\r' || r == '\n' })
		want := fmt.Sprintf("(%d/%d)", p.Done, p.Total)
		if len(frames) == 0 || !strings.Contains(frames[len(frames)-1], want) || !strings.Contains(frames[len(frames)-1], p.Note) {
			t.Errorf("last drawn: %q, want %q and %q", frames, p.Note, want)
		}
	}
	s.clear()
	if !strings.HasSuffix(out.String(), "\x1b[2K\r") {
		t.Errorf("a bar is left behind: %q", out.String())
	}
}

// A bar whose end is not known does not go on turning once it is gone.
func TestWaitBarIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := &waitScreen{out: w, redraw: true}
		s.info.State, s.info.Progress = millhand.Running, millhand.Progress{Done: 7, Note: "on", Time: time.Now()}
		s.draw()
		s.clear()
		time.Sleep(250 * time.Millisecond) // it would turn each 100 ms of the library's own clock
		_ = w.Close()                      // a bar that goes on fails in silence
		if b, err := io.ReadAll(r); err != nil || !strings.Contains(string(b), "on") || !strings.HasSuffix(string(b), "\x1b[2K\r") {
			t.Errorf("drawn %q, %v; want a bar, and then nothing", b, err)
		}
	})
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
