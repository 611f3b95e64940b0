//go:build unix

package minder

import (
	"context"
	"errors"
	"syscall"
	"time"
)

const sigKill = syscall.SIGKILL

// signalGroup signals all processes of a group, or returns ESRCH if there is none.
func signalGroup(group int, sig syscall.Signal) error { return syscall.Kill(-group, sig) }

// A pause doubles from one look at a group to the next.
type pause struct{ last time.Duration }

const (
	pauseLong = 50 * time.Millisecond  // from then on it is a matter of zombies, or of one that does not die
	pauseMax  = 250 * time.Millisecond // a look at the process table costs something
)

func (p *pause) next() time.Duration {
	p.last = min(max(2*p.last, time.Millisecond), pauseMax)
	return p.last
}

// long reports whether it is worth a look at the process table.
func (p *pause) long() bool { return p.last >= pauseLong }

// awaitGone kills a group that is not this process's child, until nothing of it is left, or
// until ctx ends and what is left is another user's.
func awaitGone(ctx context.Context, group int) {
	p := pause{}
	timer := time.NewTimer(p.next())
	defer timer.Stop()
	for done := ctx.Done(); !gone(group, p.long()); {
		select {
		case <-done:
			if errors.Is(signalGroup(group, sigKill), syscall.EPERM) {
				return
			}
			done = nil
		case <-timer.C:
			timer.Reset(p.next())
		}
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
