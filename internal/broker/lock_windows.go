package broker

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// beyondText is the offset of the byte that is locked: nobody can read what is locked, and the
// file has a number to be read.
const beyondText = 1 << 20

// lockFile locks an open file, for as long as it is open. It reports whether somebody else has
// the lock.
func lockFile(f *os.File) (taken bool, err error) {
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{Offset: beyondText})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return true, nil
	}
	return false, err
}
