//go:build unix && !linux

package minder

import (
	"os"
	"syscall"
)

func commandAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// adoptOrphans has no counterpart here: orphans go to the first process, which reaps.
func adoptOrphans() {}

func selfPath() (string, error) { return os.Executable() }

// onlyZombies cannot tell without a process table, so a run waits until they are reaped.
func onlyZombies(int) bool { return false }

// sweep cannot find a session's processes without a process table.
func sweep(int) []int { return nil }

// awaitExit leaves it to Wait.
func awaitExit(int) {}
