package worker

import (
	"strings"
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// Requests count how long the broker takes to answer. Those that settle jobs many at once are not among
// them: how long that takes from a handler's end is counted by itself. Nor are pulls, which wait for jobs.
// The zero value has none.
type Requests struct {
	publish, registry, renew tally.Timer
}

// Wrote counts a write that was waited for by itself.
func (r *Requests) Wrote(subject string, took time.Duration) {
	if strings.Contains(subject, "$KV.") { // behind the prefix of a domain, if there is one
		r.registry.Observe(took)
	} else {
		r.publish.Observe(took)
	}
}

// read returns them by what they were for.
func (r *Requests) read() map[string]*tally.Histogram {
	return map[string]*tally.Histogram{"publish": r.publish.Read(), "registry": r.registry.Read(), "renew": r.renew.Read()}
}
