package natstest

import "syscall"

// enough is what the stores of all tests that run at once do not need by far.
const enough = 2 << 30

// hasRoom reports whether dir can take the stores of tests. In a container it is often of a few megabytes.
func hasRoom(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= enough //nolint:gosec // a size is no negative number
}
