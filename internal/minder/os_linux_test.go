package minder

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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

// A process of another user, as one that sudo started, is neither waited for nor asked for
// again and again.
func TestSweepGivesUpWhatItMayNotKill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lives map[int]int // by pid: how many signals each outlives; -1: it is another user's
		want  []int
	}{
		{"nothing there", nil, nil},
		{"dies", map[int]int{11: 0, 12: 2}, nil},
		{"another user's", map[int]int{11: 0, 12: -1}, []int{12}},
		{"only another user's", map[int]int{12: -1}, []int{12}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			looks := 0
			table := func() []stat {
				looks++
				all := []stat{{pid: 1, session: 1}, {pid: 13, session: 10, zombie: true}}
				for pid := range tt.lives {
					all = append(all, stat{pid: pid, session: 10})
				}
				return all
			}
			kill := func(pid int) error {
				switch tt.lives[pid] {
				case -1:
					return syscall.EPERM
				case 0:
					delete(tt.lives, pid)
				default:
					tt.lives[pid]--
				}
				return nil
			}
			if got := sweepIn(10, table, kill); !slices.Equal(got, tt.want) {
				t.Errorf("left = %v, want %v", got, tt.want)
			}
			if looks > 5 {
				t.Errorf("it looked %d times", looks)
			}
		})
	}
}

// A minder without descriptors refuses what it cannot take, and what runs goes on.
func TestMinderOutOfDescriptors(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	release := w.barrier(t)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		if got, err := m.Run(t.Context(), sh(w.hold()+"echo $PPID >&9; "+w.await()+"echo result")); err != nil || string(got.Stdout) != "result\n" {
			t.Errorf("Run = %q, %v, want it to end by itself", got.Stdout, err)
		}
	})
	pid := w.numbers(t)[0]
	for spare := range 6 { // how many of a run's five descriptors arrive, and none to work with
		limit := unix.Rlimit{Cur: numbersFor(t, pid, spare), Max: 1 << 10}
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Run(t.Context(), sh("exit 1")); !errors.Is(err, syscall.EMFILE) || errors.Is(err, ErrMinderDied) {
			t.Errorf("%d to spare: Run = %v, want EMFILE", spare, err)
		}
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 10, Max: 1 << 10}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Run(t.Context(), sh("echo $PPID")); err != nil || string(got.Stdout) != strconv.Itoa(pid)+"\n" {
		t.Errorf("Run with descriptors again = %q, %v, want the same minder, %d", got.Stdout, err, pid)
	}
	release()
}

// numbersFor returns below which number a process has so many free descriptors.
func numbersFor(t *testing.T, pid, free int) uint64 {
	t.Helper()
	open, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(map[string]bool)
	for _, fd := range open {
		taken[fd.Name()] = true
	}
	limit := 0
	for ; free > 0; limit++ {
		if !taken[strconv.Itoa(limit)] {
			free--
		}
	}
	return uint64(limit)
}

// The minder has no use for secrets, and anybody who may trace it could read them.
func TestMinderHasNoSecrets(t *testing.T) {
	t.Setenv("MINDER_TEST_SECRET", "hunter2")
	t.Setenv("GOOGLE_API_KEY", "hunter2")
	t.Setenv("GOTRACEBACK", "single")
	got, err := newMinder(t).Run(t.Context(), sh(`tr '\0' '\n' </proc/$PPID/environ`))
	if err != nil || strings.Contains(string(got.Stdout), "hunter2") || !strings.Contains(string(got.Stdout), "GOTRACEBACK=single\n") {
		t.Errorf("environment = %q, %v, want Go's settings alone", got.Stdout, err)
	}
}
