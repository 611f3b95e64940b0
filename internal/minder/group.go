//go:build unix

package minder

import (
	"errors"
	"syscall"
	"time"
)

const sigKill = syscall.SIGKILL

// signalGroup signals all processes of a group, or returns ESRCH if there is none.
func signalGroup(group int, sig syscall.Signal) error { return syscall.Kill(-group, sig) }

// A pause doubles from one look at a group to the next.
type pause struct{ last time.Duration }

const pauseMax = 50 * time.Millisecond

func (p *pause) next() time.Duration {
	p.last = min(max(2*p.last, time.Millisecond), pauseMax)
	return p.last
}

// long reports whether the pauses do not get longer any more.
func (p *pause) long() bool { return p.last == pauseMax }

// awaitGone kills a group that is not this process's child, until nothing of it is left.
func awaitGone(group int) {
	for p := (pause{}); !gone(group, p.long()); {
		timer := time.NewTimer(p.next())
		<-timer.C
	}
}

// gone kills what is left of a group whose leader has exited or is another's child, and
// reports whether there is nothing left. The group's number cannot be a stranger's: it is
// taken while a process of the group is there, and numbers are given out in turn. A look
// at the process table is for zombies whose parent does not reap them.
func gone(group int, look bool) bool {
	_, _ = syscall.Wait4(-group, nil, syscall.WNOHANG, nil) // orphans that came to this process
	if errors.Is(signalGroup(group, sigKill), syscall.ESRCH) {
		return true
	}
	return look && onlyZombies(group)
}
