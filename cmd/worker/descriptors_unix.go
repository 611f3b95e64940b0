//go:build unix

package main

import "golang.org/x/sys/unix"

// descriptorLimit is how many descriptors this process may have.
func descriptorLimit() (limit uint64, ok bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	return uint64(l.Cur), true //nolint:unconvert // signed on some systems
}
