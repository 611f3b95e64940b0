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
		if _, err := m.Run(t.Context(), sh(w.hold()+"echo $$ $PPID >&9; MINDER_TEST_LEAVE=1 "+os.Args[0])); !errors.Is(err, ErrMinderDied) {
			t.Errorf("Run = %v, want ErrMinderDied", err)
		}
	})
	pids := w.numbers(t)
	w.numbers(t)
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
	release := w.barrier(t)
	script := "setsid sh -c 'exec 9>" + w.path + "; echo $$ >&9; sleep 600' & head -c 60000 /dev/zero; "
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := m.Run(t.Context(), sh(script+w.await()))
		if err != nil || len(got.Stdout) != 60000 {
			t.Errorf("Run = %d bytes, %v, want 60000", len(got.Stdout), err)
		}
	})
	daemon := w.numbers(t)[0]
	release()
	wg.Wait()
	if err := syscall.Kill(-daemon, sigKill); err != nil {
		t.Errorf("the daemon: %v, want it to live on", err)
	}
	w.awaitEnd(t)
}

// Orphans of commands are the minder's, which reaps them: the first process of a
// container, to which they would go, may be the worker.
func TestMinderAdoptsAndReapsOrphans(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	release := w.barrier(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := m.Run(t.Context(), sh(w.hold()+"(sleep 600 & echo $! >&9); echo $PPID >&9; "+w.await())); err != nil {
			t.Error(err)
		}
	})
	orphan, minder := w.numbers(t)[0], w.numbers(t)[0]
	status, err := os.ReadFile("/proc/" + strconv.Itoa(orphan) + "/status")
	if want := "\nPPid:\t" + strconv.Itoa(minder) + "\n"; err != nil || !strings.Contains(string(status), want) {
		t.Errorf("the orphan's parent is not the minder %d: %v\n%s", minder, err, status)
	}
	release()
	wg.Wait()
	w.awaitEnd(t)
	for range 3 { // what exits with a command is reaped before a later one's end is told
		if _, err := m.Run(t.Context(), sh("sleep 0.1")); err != nil {
			t.Fatal(err)
		}
	}
	pid := strconv.Itoa(minder)
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil || len(children) > 0 {
		t.Errorf("the minder has children %q, %v", children, err)
	}
}
