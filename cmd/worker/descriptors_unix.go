//go:build unix

package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptorLimit is how many descriptors this process may have, as far as that is known.
func descriptorLimit() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return math.MaxUint64
	}
	return uint64(l.Cur) //nolint:unconvert // signed on some systems
}
