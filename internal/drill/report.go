package drill

import (
	"time"

	"github.com/millhand/millhand/internal/verify"
)

// A Report is what came of a drill. Its JSON is a contract.
type Report struct {
	verify.Report
	Drill Summary `json:"drill"`
}

// A Summary is what a drill did.
type Summary struct {
	Queue    string  `json:"queue"`
	Seed     uint64  `json:"seed"` // it chooses; what workers make of it is theirs
	Jobs     int     `json:"jobs"`
	Workers  int     `json:"workers"` // at once
	Duration float64 `json:"duration_s"`
	Runs     int     `json:"runs"`
	Killed   int     `json:"killed"`
	Frozen   int     `json:"frozen"`
	Drained  int     `json:"drained"`
}

// report judges what was seen.
func (c *conductor) report(o *Observations, began time.Time) *Report {
	r := &Report{Drill: Summary{
		Queue: c.queue, Seed: c.o.Seed, Jobs: len(c.jobs), Workers: c.o.Workers, Duration: c.o.Duration.Seconds(),
		Runs: len(o.runs()), Killed: c.count[killed], Frozen: c.count[frozen], Drained: c.count[drained],
	}}
	r.Namespace, r.Server = c.Client.Config().Namespace, c.Server
	r.At, r.Looks, r.Checks = began.Add(-o.Offset).UTC(), 1, Judge(o)
	for i := range r.Checks {
		switch r.Checks[i].Status {
		case verify.Violated:
			r.Violated++
		case verify.Skipped:
			r.Skipped++
		case verify.Passed:
			r.OK++
		}
	}
	r.Took = time.Since(began).Seconds()
	return r
}
