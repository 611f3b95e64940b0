package main

import (
	"cmp"
	"log/slog"
	"runtime"
)

// Descriptors that a process needs: for each job that runs, and for itself, which is mostly
// the broker's files and connections.
const (
	descriptorsOfCommand = 5 // four pipes, and a socket to the minder
	descriptorsOfRequest = 1
	descriptorsOfProcess = 200
)

// descriptors is how many this configuration may need at once with this many jobs.
func (c *config) descriptors(concurrency int) int {
	each := 0
	for _, t := range c.Types {
		if t.HTTP != nil {
			each = max(each, descriptorsOfRequest)
		} else {
			each = max(each, descriptorsOfCommand)
		}
	}
	return descriptorsOfProcess + each*concurrency
}

// checkDescriptors warns of a limit that cannot be kept to. Go's runtime has raised the soft
// limit to the hard one by now, and gives commands the one that was.
func (c *config) checkDescriptors(log *slog.Logger, limit uint64) {
	concurrency := cmp.Or(int(valueOr(c.Concurrency, 0)), 4*runtime.GOMAXPROCS(0)) // the default
	if need := c.descriptors(concurrency); uint64(need) > limit {                  //nolint:gosec // it is positive
		log.Warn("too few file descriptors for this many jobs at once: some jobs will wait for them; raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower --concurrency",
			slog.Uint64("limit", limit), slog.Int("needed", need), slog.Int("concurrency", concurrency))
	}
}
