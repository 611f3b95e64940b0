//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"github.com/nats-io/nats.go"
	"github.com/rivo/uniseg"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
)

// A terminal is as wide as it is, and has colours unless somebody wants none.
func TestOnATerminal(t *testing.T) {
	t.Parallel()
	url := serveDead(t, 3)
	colored := regexp.MustCompile("\x1b\\[[0-9]+m")
	for _, tt := range []struct {
		env         string
		args        []string
		fits, gaudy bool
	}{
		{"TERM=xterm", []string{"list"}, true, true},
		{"TERM=xterm", []string{"dead"}, true, true},
		{"TERM=xterm", []string{"status"}, true, true},
		{"TERM=xterm", []string{"types"}, true, true},
		{"TERM=xterm", []string{"dead", "--wide"}, false, true},
		{"NO_COLOR=1", []string{"dead"}, true, false},
		{"TERM=dumb", []string{"dead"}, true, false},
		{"TERM=xterm", []string{"dead", "--color", "never"}, true, false},
	} {
		out, code := onTerminal(t, url, tt.env, "", tt.args...)
		if code != cli.ExitOK {
			t.Errorf("%v: exit code %d: %s", tt.args, code, out)
		}
		if got := colored.MatchString(out); got != tt.gaudy {
			t.Errorf("%v with %s: colours %t, want %t: %q", tt.args, tt.env, got, tt.gaudy, out)
		}
		widest := 0
		for line := range strings.Lines(colored.ReplaceAllString(out, "")) {
			widest = max(widest, uniseg.StringWidth(strings.TrimRight(line, "\r\n")))
		}
		if (widest <= 80) != tt.fits {
			t.Errorf("%v has %d columns, fits %t: %s", tt.args, widest, tt.fits, out)
		}
		if tt.args[0] == "dead" && tt.fits && !strings.Contains(out, "…") {
			t.Errorf("%v: nothing says that a text is cut: %s", tt.args, out)
		}
	}
}

// What cannot be undone is asked, and done only if that is answered.
func TestAskingOnATerminal(t *testing.T) {
	t.Parallel()
	const many = 101
	url := serveDead(t, many)
	for _, tt := range []struct {
		answer string
		args   []string
		code   int
		want   string
	}{
		{"n\n", []string{"id:d-1"}, cli.ExitRuntime, "remove 1 dead job for good? (y or n) n\r\nmillhand: nothing was done"},
		{"\n", []string{"id:d-1"}, cli.ExitRuntime, "nothing was done"},
		{"\x04", []string{"id:d-1"}, cli.ExitRuntime, "nothing was done"},
		{"\x03", []string{"id:d-1"}, cli.ExitInterrupted, "for good? (y or n) "},
		{"y\n", []string{"--all"}, cli.ExitRuntime, "remove 101 dead jobs for good? (type 101 to go on) y\r\nmillhand: nothing was done"},
		{"Y\n", []string{"id:d-1"}, cli.ExitOK, "removed 1 dead job"},
		{"100\n", []string{"--all"}, cli.ExitRuntime, "remove 100 dead jobs for good? (y or n)"},
		{"y\n", []string{"--all"}, cli.ExitOK, "removed 100 dead jobs"},
	} {
		out, code := onTerminal(t, url, "TERM=xterm", tt.answer, append([]string{"dead", "delete"}, tt.args...)...)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%v, answered %q: exit code %d, want %d and %q: %s", tt.args, tt.answer, code, tt.code, tt.want, out)
		}
	}
}

// onTerminal runs the command on a terminal of 80 columns, and types an answer once it is asked.
func onTerminal(t *testing.T, url, env, answer string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "millhand", append(args, "-s", url)...)
	cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm", env)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }() // all is read
	var b strings.Builder
	buf := make([]byte, 4096)
	for err == nil { // Linux ends it with EIO when the command is gone
		var n int
		n, err = terminal.Read(buf)
		b.Write(buf[:n])
		if answer != "" && strings.HasSuffix(b.String(), ") ") {
			if _, err := io.WriteString(terminal, answer); err != nil {
				t.Fatal(err)
			}
			answer = ""
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return b.String(), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return b.String(), cli.ExitOK
}

// serveDead starts a broker with n dead jobs, d-1 and so on.
func serveDead(t *testing.T, n int) (url string) {
	t.Helper()
	b, err := broker.Start(broker.Config{Store: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	log := slog.New(slog.DiscardHandler)
	nc, err := nats.Connect(b.ClientURL(), millhand.ConnectOptions(log)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	mux := millhand.NewMux()
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New(strings.Repeat("no such customer, 顧客がありません; ", 10)))
	})
	cfg := millhand.Config{Logger: log}
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: cfg, Mux: mux, DrainTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	client, err := millhand.NewClient(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) }) // nothing is asked of its end
	defer wg.Wait()
	defer stop()
	for i := range n {
		ref, err := client.Enqueue(ctx, millhand.Raw{Name: "doomed", Payload: []byte("{}")}, millhand.WithID("d-"+strconv.Itoa(i+1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Await(ctx, ref); !errors.Is(err, millhand.ErrFailed) {
			t.Fatal(err)
		}
	}
	return b.ClientURL()
}

// A watch ends by being interrupted, and has nothing to say about that.
func TestWatchEndsWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs strings.Builder
	code := execute(ctx, []string{"watch", "--since", "1h", "-o", "name", "-s", serveDead(t, 1)}, streams{
		in: strings.NewReader(""), out: writerFunc(func(b []byte) (int, error) { cancel(); return out.Write(b) }), err: &errs,
	})
	if code != cli.ExitInterrupted || out.String() != "default/doomed/d-1\n" || errs.String() != "" {
		t.Errorf("exit code %d, out %q, err %q", code, out.String(), errs.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
