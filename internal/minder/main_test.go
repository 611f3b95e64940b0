//go:build unix

package minder

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if Main() {
		return
	}
	if script := os.Getenv("MINDER_TEST_SCRIPT"); script != "" {
		beWorker(script)
		return
	}
	if os.Getenv("MINDER_TEST_LEAVE") != "" {
		leaveGroup()
		return
	}
	os.Exit(m.Run())
}

// leaveGroup is a process that leaves its group, but not its session.
func leaveGroup() {
	if err := syscall.Setpgid(0, 0); err == nil {
		_, _ = os.NewFile(9, "wire").WriteString("1\n")
		select {}
	}
}

// beWorker runs a script under a lease that it renews for as long as it is not frozen.
func beWorker(script string) {
	c := sh(script)
	if d, err := time.ParseDuration(os.Getenv("MINDER_TEST_LEASE")); err == nil {
		c.Until = func() time.Time { return time.Now().Add(d) }
	}
	_, _ = New(slog.New(slog.DiscardHandler)).Run(context.Background(), c)
}

// startWorker starts this binary as a worker that runs a script.
func startWorker(t *testing.T, script, lease string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "MINDER_TEST_SCRIPT="+script, "MINDER_TEST_LEASE="+lease)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func newMinder(t *testing.T) *Minder {
	t.Helper()
	m := New(slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(m.Close)
	return m
}

func sh(script string) Command { return Command{Argv: []string{"sh", "-c", script}} }

// A wire is a named pipe that all processes of a command hold open: it says a line when
// they run, and ends when the last of them is gone. So a test needs no look at processes.
type wire struct {
	path string
	in   *bufio.Reader
	file *os.File
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{path: filepath.Join(t.TempDir(), "wire")}
	if err := syscall.Mkfifo(w.path, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open(t, os.O_RDWR) // so that it does not wait for the command
	return w
}

// hold is a script's first line: it has the shell, and all it starts, hold the wire.
func (w *wire) hold() string { return "exec 9>'" + w.path + "'\n" }

// family is a script whose shell has a child, one that ignores SIGTERM, and a grandchild.
func (w *wire) family() string {
	return w.hold() + `
		sleep 600 &
		(trap "" TERM; sleep 600; sleep 600) &
		sh -c 'sleep 600; sleep 600' &
		echo $$ $PPID >&9
		wait`
}

// numbers waits for the next line of the command, which holds numbers.
func (w *wire) numbers(t *testing.T) []int {
	t.Helper()
	line, err := w.in.ReadString('\n')
	if err != nil {
		t.Fatalf("the command did not say that it runs: %v", err)
	}
	var all []int
	for field := range strings.FieldsSeq(line) {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// awaitEnd waits until no process holds the wire.
func (w *wire) awaitEnd(t *testing.T) {
	t.Helper()
	test := w.file
	w.open(t, os.O_RDONLY)
	_ = test.Close() // the last writer that is no process of the command
	if _, err := io.Copy(io.Discard, w.in); err != nil {
		t.Fatalf("processes of the command are still there: %v", err)
	}
}

// barrier makes a place where a script's line await stays until release is called.
func (w *wire) barrier(t *testing.T) (release func()) {
	t.Helper()
	path := w.path + ".barrier"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the script
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil { // the script reads the end
			t.Fatal(err)
		}
	}
}

func (w *wire) await() string { return "read line <'" + w.path + ".barrier'\n" }

func (w *wire) open(t *testing.T, flag int) {
	t.Helper()
	f, err := os.OpenFile(w.path, flag, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.file, w.in = f, bufio.NewReader(f)
}
