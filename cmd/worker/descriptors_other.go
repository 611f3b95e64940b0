//go:build !unix

package main

import "math"

// descriptorLimit is how many descriptors this process may have, as far as that is known.
func descriptorLimit() uint64 { return math.MaxUint64 }
