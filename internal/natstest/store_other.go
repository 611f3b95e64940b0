//go:build !linux

package natstest

// hasRoom reports whether dir is memory that can take the stores of tests.
func hasRoom(string) bool { return false }
