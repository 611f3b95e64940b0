package minder

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// commandAttr has a command lead a group of its own and die with the minder. The latter
// goes by thread, and Go ends a thread only with a goroutine that locked it.
func commandAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sigKill}
}

// adoptOrphans makes this process the parent of its descendants' orphans, so that it can
// reap them. The worker may be the container's first process, which reaps none.
func adoptOrphans() {
	const setChildSubreaper = 36
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0) // without it only zombies stay longer
}

// selfPath is this very program, even if its file was replaced since: the minder of
// another version would speak another protocol.
func selfPath() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Lstat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// stat is a line of the process table.
type stat struct {
	pid, group, session int
	zombie              bool
}

// processes returns the process table, empty where there is no /proc.
func processes() []stat {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var all []stat
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		if s, ok := parseStat(line); ok {
			all = append(all, s)
		}
	}
	return all
}

// parseStat reads proc_pid_stat(5): pid (name) state ppid pgrp session, and more.
func parseStat(line []byte) (s stat, ok bool) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return s, false
	}
	var state string
	var parent int
	if _, err := fmt.Sscan(string(line[end+1:]), &state, &parent, &s.group, &s.session); err != nil {
		return s, false
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	s.pid, s.zombie = pid, state == "Z" || state == "X"
	return s, err == nil
}

// onlyZombies reports whether all processes of a group have exited.
func onlyZombies(group int) bool {
	all := processes()
	for _, s := range all {
		if s.group == group && !s.zombie {
			return false
		}
	}
	return len(all) > 0
}

// sweepWithin is how long a sweep waits for processes to die.
const sweepWithin = 10 * time.Second

// sweep kills all processes of a session and returns when they are gone, with those left
// that it may not kill or that do not die.
func sweep(session int) []int {
	return sweepIn(session, processes, func(pid int) error { return syscall.Kill(pid, sigKill) })
}

func sweepIn(session int, processes func() []stat, kill func(pid int) error) []int {
	p := pause{}
	for end := time.Now().Add(sweepWithin); ; {
		var foreign, dying []int
		for _, s := range processes() {
			if s.session != session || s.zombie {
				continue
			}
			if errors.Is(kill(s.pid), syscall.EPERM) {
				foreign = append(foreign, s.pid)
			} else {
				dying = append(dying, s.pid)
			}
		}
		if len(dying) == 0 || time.Now().After(end) {
			return append(foreign, dying...)
		}
		timer := time.NewTimer(p.next())
		<-timer.C
	}
}

// awaitExit returns when a child has exited, and leaves it to be waited for.
func awaitExit(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) { // it blocks
	}
}
