package natstest

import (
	"os"
	"runtime/debug"
)

// rareCollections is Go's GOGC in tests. They have small heaps, of which the collector would otherwise
// take a sixth of all their time.
const rareCollections = 400

func init() { //nolint:gochecknoinits // for whatever is tested with this package
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(rareCollections)
	}
}
