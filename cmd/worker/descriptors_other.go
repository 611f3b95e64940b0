//go:build !unix

package main

// descriptorLimit is unknown where there is none to be reached.
func descriptorLimit() (limit uint64, ok bool) { return 0, false }
