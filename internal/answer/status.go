package answer

import (
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/view"
)

// A Status is all in one: a snapshot, what is wrong, and what ends.
type Status struct {
	*view.Snapshot
	Problems []problem.Problem `json:"problems"`
	Unknown  []problem.Gap     `json:"not_looked_for"`
	Queues   []Queue           `json:"queues"`
	Rate     *Rate             `json:"per_second,omitempty"`
}

// StatusOf is a snapshot with what is known of its rates and problems. Nobody has looked for problems if there is no
// report.
func StatusOf(snap *view.Snapshot, r *Rates, report *problem.Report) *Status {
	s := &Status{Snapshot: snap, Queues: r.Queues(snap), Rate: r.Of("", ""), Problems: []problem.Problem{}, Unknown: []problem.Gap{}}
	if report != nil {
		s.Problems, s.Unknown = report.Problems, report.Unknown
	}
	return s
}
