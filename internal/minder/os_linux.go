package minder

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
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

// sweep kills all processes of a session and returns when they are gone.
func sweep(session int) {
	for left := true; left; {
		left = false
		for _, s := range processes() {
			if s.session == session && !s.zombie {
				left = true
				_ = syscall.Kill(s.pid, sigKill) // it may be gone
			}
		}
		if left {
			timer := time.NewTimer(5 * time.Millisecond)
			<-timer.C
		}
	}
}
