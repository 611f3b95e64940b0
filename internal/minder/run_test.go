//go:build unix

package minder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestCommandEndsByItself(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	for _, tt := range []struct {
		name, script   string
		stdout, stderr string
		code           int
		signal         syscall.Signal
	}{
		{name: "success", script: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{name: "exit code", script: "exit 75", code: 75},
		{name: "signal", script: "kill -USR1 $$", code: -1, signal: syscall.SIGUSR1},
		{name: "stdin unread", script: "exec 0<&-; echo done", stdout: "done\n"},
		{name: "environment", script: "echo $ANSWER", stdout: "42\xff\n"},
		{name: "directory", script: "pwd", stdout: "/\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := sh(tt.script)
			c.Dir, c.Env, c.Stdin = "/", append(os.Environ(), "ANSWER=42\xff"), []byte("input")
			got, err := m.Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Stdout) != tt.stdout || string(got.Stderr) != tt.stderr || got.ExitCode != tt.code || got.Signal != tt.signal {
				t.Errorf("Run(%s) = %q, %q, %d, %v, want %q, %q, %d, %v", tt.script,
					got.Stdout, got.Stderr, got.ExitCode, got.Signal, tt.stdout, tt.stderr, tt.code, tt.signal)
			}
		})
	}
}

// Who does not read, or does not end its lines, or goes on after the leader, holds nothing up.
func TestControlOfACommand(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	for _, tt := range []struct{ name, script, want string }{
		{"lines", "echo one >&3; echo two >&3", "one\ntwo\n"},
		{"nothing", "exit 0", ""},
		{"closed by the command", "echo one >&3; exec 3>&-; echo result", "one\n"},
		{"flood", "head -c 3000000 /dev/zero >&3; echo end >&3", strings.Repeat("\x00", 3_000_000) + "end\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			c := sh(tt.script)
			c.Control = &got
			if _, err := m.Run(t.Context(), c); err != nil || got.String() != tt.want {
				t.Errorf("control = %.20q… (%d bytes), %v, want %d bytes", got.String(), got.Len(), err, len(tt.want))
			}
		})
	}
}

// A process that left the command's group may hold the control for ever.
func TestControlThatStaysOpen(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var got bytes.Buffer
	c := Command{Argv: []string{"sh", "-c", `exec 9>"$0"; MINDER_TEST_LEAVE=1 "$1" & read line <"$0"; echo last >&3`, w.path, os.Args[0]}, Control: &got}
	if _, err := m.Run(t.Context(), c); err != nil || got.String() != "last\n" {
		t.Errorf("control = %q, %v, want what was written before the end", got.String(), err)
	}
}

func TestPayloadAndResultOfOneMebibyte(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	in := bytes.Repeat([]byte("0123456789abcdef"), MaxOutput/16)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := m.Run(t.Context(), Command{Argv: []string{"cat"}, Stdin: in})
			if err != nil || !bytes.Equal(got.Stdout, in) {
				t.Errorf("cat: %d of %d bytes, %v", len(got.Stdout), len(in), err)
			}
		})
	}
	wg.Wait()
}

func TestCommandThatIsNoProgram(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	dir := t.TempDir()
	plain, noProgram := filepath.Join(dir, "plain"), filepath.Join(dir, "no-program")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noProgram, []byte("\x00\x01"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{nil, {"no-such-command-anywhere"}, {"./not/here"}, {plain}, {noProgram}, {dir}} {
		if _, err := m.Run(t.Context(), Command{Argv: argv}); !errors.Is(err, ErrNotStarted) {
			t.Errorf("Run(%q) = %v, want ErrNotStarted", argv, err)
		}
	}
	if _, err := m.Run(t.Context(), Command{Argv: []string{"true"}, Dir: "/no/such/directory"}); !errors.Is(err, ErrNotStarted) {
		t.Errorf("Run in a missing directory = %v, want ErrNotStarted", err)
	}
}

func TestTooMuchOutputKillsTheCommand(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	w := newWire(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		script := w.hold() + "echo 1 >&9; head -c 1048577 /dev/zero; sleep 600"
		if _, err := m.Run(t.Context(), sh(script)); !errors.Is(err, ErrOutputTooLarge) {
			t.Errorf("Run = %v, want ErrOutputTooLarge", err)
		}
	})
	w.numbers(t)
	w.awaitEnd(t)
}

func TestOnlyTheTailOfStderrIsKept(t *testing.T) {
	t.Parallel()
	got, err := newMinder(t).Run(t.Context(), sh("head -c 3000000 /dev/zero >&2; echo last >&2"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Stderr) != StderrTail || !strings.HasSuffix(string(got.Stderr), "\x00last\n") {
		t.Errorf("stderr: %d bytes ending in %q, want %d ending in the last line", len(got.Stderr), got.Stderr[len(got.Stderr)-8:], StderrTail)
	}
}

func TestContextEndStopsTheGroup(t *testing.T) {
	t.Parallel()
	reason := errors.New("reason")
	for _, tt := range []struct {
		name, script string
		grace        time.Duration
		atOnce       bool
		code         int
		signal       syscall.Signal
	}{
		{name: "on SIGTERM", script: `trap "exit 7" TERM; echo 1 >&9; while :; do sleep 600 & wait; done`, grace: time.Hour, code: 7},
		{name: "with success", script: `trap "exit 0" TERM; echo 1 >&9; while :; do sleep 600 & wait; done`, grace: time.Hour},
		{name: "after the grace", script: `trap "" TERM; echo 1 >&9; while :; do sleep 600; done`, grace: 50 * time.Millisecond, code: -1, signal: sigKill},
		{name: "at once", script: `trap "" TERM; echo 1 >&9; while :; do sleep 600; done`, grace: time.Hour, atOnce: true, code: -1, signal: sigKill},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, w := newMinder(t), newWire(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				c := sh(w.hold() + tt.script)
				c.Grace = tt.grace
				if tt.atOnce {
					c.Stopped = func() time.Duration { return 0 }
				}
				got, err := m.Run(ctx, c)
				if !errors.Is(err, reason) || got.ExitCode != tt.code || got.Signal != tt.signal {
					t.Errorf("Run = %d, %v, %v, want %d, %v, %v", got.ExitCode, got.Signal, err, tt.code, tt.signal, reason)
				}
			})
			w.numbers(t)
			cancel(reason)
			w.awaitEnd(t)
		})
	}
}

func TestEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newMinder(t).Run(ctx, sh("exit 1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context.Canceled", err)
	}
}

// What the leader leaves behind is killed before Run returns.
func TestGroupDoesNotOutliveItsLeader(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := m.Run(t.Context(), sh(w.hold()+`(trap "" TERM; sleep 600) & (sleep 600 &); echo 1 >&9; echo result`))
		if err != nil || string(got.Stdout) != "result\n" || got.ExitCode != 0 {
			t.Errorf("Run = %q, %d, %v, want the leader's result", got.Stdout, got.ExitCode, err)
		}
	})
	w.numbers(t)
	wg.Wait()
	w.awaitEnd(t)
}

// A term is a lease that is renewed until it is told when to end.
type term struct{ end atomic.Pointer[time.Time] }

func (t *term) until() time.Time {
	if end := t.end.Load(); end != nil {
		return *end
	}
	return time.Now().Add(time.Minute)
}

func (t *term) endIn(d time.Duration) {
	end := time.Now().Add(d)
	t.end.Store(&end)
}

func TestDeadlineKillsTheGroup(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var lease term
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c := sh(w.family())
		c.Until = lease.until
		got, err := m.Run(t.Context(), c)
		if !errors.Is(err, ErrLeaseEnded) || got.Signal != sigKill {
			t.Errorf("Run = %v, %v, want SIGKILL, ErrLeaseEnded", got.Signal, err)
		}
		if time.Now().Before(lease.until()) {
			t.Error("killed before the deadline")
		}
	})
	w.numbers(t)
	lease.endIn(time.Second)
	w.awaitEnd(t)
}

// The grace of a stopped command does not reach beyond its deadline.
func TestDeadlineWithinTheGrace(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	ctx, cancel := context.WithCancel(t.Context())
	var lease term
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c := sh(w.hold() + `trap "" TERM; echo 1 >&9; while :; do sleep 600; done`)
		c.Grace, c.Until = time.Hour, lease.until
		if got, err := m.Run(ctx, c); !errors.Is(err, context.Canceled) || got.Signal != sigKill {
			t.Errorf("Run = %v, %v, want SIGKILL, context.Canceled", got.Signal, err)
		}
	})
	w.numbers(t)
	cancel()
	lease.endIn(time.Second)
	w.awaitEnd(t)
}

func TestRenewedCommandOutlivesItsFirstDeadline(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	c := sh("sleep 7; echo done")
	c.Until = func() time.Time { return time.Now().Add(5 * time.Second) }
	if got, err := m.Run(t.Context(), c); err != nil || string(got.Stdout) != "done\n" {
		t.Errorf("Run = %q, %v, want it to end by itself", got.Stdout, err)
	}
}

func TestOverdueCommandIsNotStarted(t *testing.T) {
	t.Parallel()
	c := sh("echo ran")
	c.Until = func() time.Time { return time.Now().Add(-time.Second) }
	if got, err := newMinder(t).Run(t.Context(), c); !errors.Is(err, ErrLeaseEnded) || len(got.Stdout) > 0 {
		t.Errorf("Run = %q, %v, want ErrLeaseEnded", got.Stdout, err)
	}
}
