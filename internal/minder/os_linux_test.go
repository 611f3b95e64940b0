package minder

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestParseStat(t *testing.T) {
	for _, tt := range []struct {
		line string
		want stat
		ok   bool
	}{
		{"12 (sh) S 1 12 10 0 -1\n", stat{pid: 12, group: 12, session: 10}, true},
		{"12 (a) Z 7 7 (b)) Z 1 13 11 0 -1\n", stat{pid: 12, group: 13, session: 11, zombie: true}, true},
		{"12 (sh) S 1\n", stat{}, false},
		{"", stat{}, false},
		{")(", stat{}, false},
	} {
		if got, ok := parseStat([]byte(tt.line)); ok != tt.ok || ok && got != tt.want {
			t.Errorf("parseStat(%q) = %+v, %v, want %+v, %v", tt.line, got, ok, tt.want, tt.ok)
		}
	}
}

// A process that left the group, but not the minder's session, goes when the minder dies.
func TestKilledMinderTakesItsSessionAlong(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := m.Run(t.Context(), sh(w.hold()+"set -m; sleep 600 & echo $$ $PPID >&9; wait")); !errors.Is(err, ErrMinderDied) {
			t.Errorf("Run = %v, want ErrMinderDied", err)
		}
	})
	pids := w.numbers(t)
	if err := syscall.Kill(pids[1], sigKill); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	w.awaitEnd(t)
}

// A daemon leaves group and session. It keeps the command's output open, which must not
// keep the run.
func TestDaemonDoesNotHoldTheRun(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	script := "setsid sh -c '" + strings.TrimSpace(w.hold2()) + "; echo $$ >&9; sleep 600' & head -c 60000 /dev/zero"
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := m.Run(t.Context(), sh(script+"; read line <"+w.path+".go"))
		if err != nil || len(got.Stdout) != 60000 {
			t.Errorf("Run = %d bytes, %v, want 60000", len(got.Stdout), err)
		}
	})
	if err := syscall.Mkfifo(w.path+".go", 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := w.numbers(t)[0]
	leader, err := os.OpenFile(w.path+".go", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Close(); err != nil { // it reads to the end and exits
		t.Fatal(err)
	}
	wg.Wait()
	if err := syscall.Kill(-daemon, sigKill); err != nil {
		t.Errorf("the daemon: %v, want it to live on", err)
	}
	w.awaitEnd(t)
}

// hold2 is hold for use within quotes.
func (w *wire) hold2() string { return "exec 9>" + w.path }

// Orphans of commands are the minder's, so that they do not stay as zombies where
// the first process is the worker.
func TestMinderReapsOrphans(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	got, err := m.Run(t.Context(), sh("for i in 1 2 3; do (true & exec true); done; (sleep 600 &); setsid sh -c 'sleep 0.1' & echo $PPID"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(got.Stdout)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // whatever exits after its command is reaped before a later one's end is told
		if _, err := m.Run(t.Context(), sh("sleep 0.2")); err != nil {
			t.Fatal(err)
		}
	}
	children, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil || len(children) > 0 {
		t.Errorf("the minder has children %q, %v", children, err)
	}
}
