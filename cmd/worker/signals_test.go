//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

// A workerProcess is the worker as a process, with one type: wait, whose job tells that it
// has started, and ends when it is let go.
type workerProcess struct {
	cmd     *exec.Cmd
	log     *bufio.Reader
	logFile *os.File
	client  *millhand.Client
	started *bufio.Reader // a line of each job that starts
	release *os.File      // a line lets a job end
}

// startWaiting starts a worker by a command line, in which "$@" is its own.
func startWaiting(t *testing.T, line string) *workerProcess {
	t.Helper()
	dir := t.TempDir()
	p := &workerProcess{started: bufio.NewReader(fifo(t, dir, "started")), release: fifo(t, dir, "go")}
	b := startTestBroker(t, t.TempDir(), -1)
	p.client = connectTestClient(t, b.ClientURL())
	p.cmd = exec.CommandContext(t.Context(), "sh", "-c", line, "sh",
		"worker", "-s", b.ClientURL(), "--http", "", "--exec", "wait=sh -c 'echo >started; read line <go'")
	p.cmd.Dir = dir
	var theirs *os.File
	var err error
	if p.logFile, theirs, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	p.cmd.Stderr = theirs
	p.log = bufio.NewReader(p.logFile)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.logFile.Close() })
	p.awaitLog(t, "worker started")
	return p
}

// fifo makes a named pipe, open at both ends so that nobody waits for the other one.
func fifo(t *testing.T, dir, name string) *os.File {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.SetReadDeadline(time.Now().Add(scriptPatience)); err != nil {
		t.Fatal(err)
	}
	return f
}

func (p *workerProcess) awaitLog(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := p.log.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("the worker never said %q: %v", text, err)
		}
	}
}

// begin enqueues a job and waits until it runs.
func (p *workerProcess) begin(t *testing.T) millhand.Ref {
	t.Helper()
	ref, err := p.client.Enqueue(t.Context(), millhand.Raw{Name: "wait"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.started.ReadString('\n'); err != nil {
		t.Fatalf("the job does not start: %v", err)
	}
	return ref
}

// letGo has the job that runs end.
func (p *workerProcess) letGo(t *testing.T) {
	t.Helper()
	if _, err := p.release.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
}

func (p *workerProcess) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// expectDone checks that the worker drained: it ended with 0, and the job at its first attempt.
func (p *workerProcess) expectDone(t *testing.T, ref millhand.Ref) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the worker: %v, want exit code 0", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptPatience)
	defer cancel()
	info, err := p.client.Await(ctx, ref)
	if err != nil || info.Attempt != 1 || info.Crashes != 0 {
		t.Errorf("job = %s at attempt %d after %d crashes, %v, want it succeeded at the first", info.State, info.Attempt, info.Crashes, err)
	}
}

// A terminal that closes hangs up, twice if its shell does so as well.
func TestHangUpDrains(t *testing.T) {
	t.Parallel()
	p := startWaiting(t, `exec "$@"`)
	ref := p.begin(t)
	p.signal(t, syscall.SIGHUP)
	p.awaitLog(t, "draining")
	p.signal(t, syscall.SIGHUP)
	p.letGo(t)
	p.expectDone(t, ref)
}

func TestHangUpUnderNohup(t *testing.T) {
	t.Parallel()
	p := startWaiting(t, `trap "" HUP; exec "$@"`)
	ref := p.begin(t)
	p.signal(t, syscall.SIGHUP)
	p.letGo(t)
	if _, err := p.client.Await(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	ref = p.begin(t) // it still pulls
	p.signal(t, syscall.SIGTERM)
	p.letGo(t)
	p.expectDone(t, ref)
}

// The reader of the log goes away, as head does, or tee at an interrupt of both.
func TestLogWithoutAReader(t *testing.T) {
	t.Parallel()
	p := startWaiting(t, `exec "$@"`)
	ref := p.begin(t)
	if err := p.logFile.Close(); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGTERM) // "draining" has no reader
	p.letGo(t)
	p.expectDone(t, ref)
}

// What a tool sends that rotates logs is not meant to end anything.
func TestSignalsWithoutAMeaning(t *testing.T) {
	t.Parallel()
	p := startWaiting(t, `exec "$@"`)
	ref := p.begin(t)
	for _, sig := range []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE} {
		p.signal(t, sig)
	}
	p.signal(t, syscall.SIGTERM)
	p.letGo(t)
	p.expectDone(t, ref)
}

// Commands have the default actions that the worker has not.
func TestCommandsEndOfABrokenPipe(t *testing.T) {
	t.Parallel()
	got, err := execHandler(t, newTestMinder(t), "sh", "-c", `sh -c 'kill -PIPE $$'; echo $?; sh -c 'kill -HUP $$'; echo $?`)(t.Context(), newJob("{}"))
	if want := "141\n129\n"; err != nil || string(got) != want {
		t.Errorf("result = %q, %v, want %q", got, err, want)
	}
}

func TestDemoWithoutAReader(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "worker", "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = out.Close() // as a reader that goes away
	if err := cmd.Wait(); err != nil {
		t.Errorf("worker demo: %v, want exit code 0", err)
	}
}

func TestHangUpEndsTheDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "worker", "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, out) // to its end
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitInterrupted {
		t.Errorf("worker demo: %v, want exit code %d", cmd.ProcessState, cli.ExitInterrupted)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStops(t *testing.T) {
	t.Parallel()
	hup, term := syscall.SIGHUP, syscall.SIGTERM
	for _, tt := range []struct {
		signals []os.Signal
		want    []int
	}{
		{[]os.Signal{term, os.Interrupt, term}, []int{1, 2, 3}},
		{[]os.Signal{hup, hup, hup}, []int{1, 0, 0}},
		{[]os.Signal{hup, hup, term, hup, term}, []int{1, 0, 2, 0, 3}},
		{[]os.Signal{term, hup, term}, []int{1, 0, 2}},
	} {
		var all stops
		for i, sig := range tt.signals {
			if got := all.next(sig); got != tt.want[i] {
				t.Errorf("%v: signal %d is stop %d, want %d", tt.signals, i, got, tt.want[i])
			}
		}
	}
}
