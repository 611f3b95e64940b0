package integration

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a command that runs beside the test. It is killed with the test, and what
// it wrote to standard error is shown if the test fails.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    *log
	exited chan struct{} // closed when it has ended
}

func launch(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: newLog(), exited: make(chan struct{})}
	cmd.Env = append(environment(t), cmd.Env...)
	cmd.Stderr = p.log
	cmd.SysProcAttr = orphanAttr()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // the tests look at its state
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-p.exited
		text := p.log.String()
		if strings.Contains(text, "WARNING: DATA RACE") || panicked(text) {
			t.Errorf("%s %d: it raced or panicked", name, p.pid())
		}
		if t.Failed() {
			t.Logf("%s %d: %v\n%s", name, p.pid(), cmd.ProcessState, text)
		}
	})
	return p
}

// handlerFailed are the lines of a worker that tell of a handler's error, which may be its panic.
var handlerFailed = regexp.MustCompile(`level=(?:DEBUG msg="(?:a run failed|more runs failed)|WARN msg="(?:a job is dead|more jobs are dead))[^"]*" worker=.* id=\S+ .* err=`)

// panicked reports whether a log tells of a panic other than a handler's.
func panicked(text string) bool {
	for line := range strings.Lines(text) {
		before, _, found := strings.Cut(line, "panic: ")
		if found && !handlerFailed.MatchString(before) {
			return true
		}
	}
	return false
}

func TestPanicked(t *testing.T) {
	t.Parallel()
	const when = "time=2026-11-28T20:34:32.123Z "
	for line, want := range map[string]bool{
		"panic: runtime error: index out of range": true,
		when + `level=WARN msg="a job is dead" worker=w-1 type=demo queue=default id=1 attempt=3 reason=exhausted err="panic: boom"`:                                                   false,
		when + `level=DEBUG msg="more runs failed and will be retried, this is the last of them" worker=w-1 type=demo count=3 queue=default id=1 attempt=1 delay=1s err="panic: boom"`: false,
		when + `level=DEBUG msg="a run failed, the job will be retried" worker=w-1 type=demo queue=default id=1 attempt=1 delay=1s err="server: panic: boom"`:                          false,
		when + `level=WARN msg="child failed" worker=w-1 child=settler err="panic: boom"`:                                                                                              true,
		when + `level=WARN msg="cannot settle a job" worker=w-1 id=1 err="panic: boom"`:                                                                                                true,
		when + `level=WARN msg="panic: boom" worker=w-1 id=1 err=none`:                                                                                                                 true,
	} {
		if got := panicked("first\n" + line + "\nlast\n"); got != want {
			t.Errorf("panicked(%s) = %t, want %t", line, got, want)
		}
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Errorf("%v to %s %d: %v", sig, p.name, p.pid(), err)
	}
}

// kill kills it, unless it has just ended by itself, and waits for its end.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill %s %d: %v", p.name, p.pid(), err)
	}
	receive(t, p.name+" ends when killed", p.exited)
}

// freeze stops it as SIGSTOP does, until thaw.
func (p *process) freeze(t *testing.T) { t.Helper(); p.signal(t, syscall.SIGSTOP) }

func (p *process) thaw(t *testing.T) { t.Helper(); p.signal(t, syscall.SIGCONT) }

// wait waits for its end and returns the exit code, -1 if a signal ended it.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	receive(t, p.name+" ends", p.exited)
	return p.cmd.ProcessState.ExitCode()
}

// awaitLog waits for a line of its standard error and returns it.
func (p *process) awaitLog(t *testing.T, text string) string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		line, grown := p.log.find(text)
		if line != "" {
			return line
		}
		select {
		case <-grown:
		case <-p.exited:
			if line, _ := p.log.find(text); line != "" {
				return line
			}
			t.Fatalf("%s %d ended (%v) and never said %q", p.name, p.pid(), p.cmd.ProcessState, text)
		case <-deadline.C:
			t.Fatalf("%s %d did not say %q within %v", p.name, p.pid(), text, patience)
		}
	}
}

// log is what a process wrote so far.
type log struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed and replaced when there is more
}

func newLog() *log { return &log{grown: make(chan struct{})} }

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grown)
	l.grown = make(chan struct{})
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count returns how many complete lines have the text.
func (l *log) count(text string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
			n++
		}
	}
	return n
}

// find returns the first complete line with the text, or what is closed when there is more.
func (l *log) find(text string) (line string, grown <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
			return line, l.grown
		}
	}
	return "", l.grown
}
