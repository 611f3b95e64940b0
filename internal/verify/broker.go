package verify

import (
	"fmt"
	"time"
)

func brokerChecks() []Check {
	return []Check{{
		ID: "B01", Class: Broker, judge: replicasFollow,
		Invariant: "every replica has what its leader has, a few seconds later at most",
		Advice:    "see 'nats server report jetstream' for the server; one that stays behind is slow, cut off or full",
	}}
}

// replicaSilent is how long a replica may say nothing.
const replicaSilent = 5 * time.Second

// replicasFollow is B01.
func replicasFollow(f *Facts) judgement {
	j := judgement{what: "replicas", why: "single server"}
	if f.Snapshot.Server.Cluster != "" {
		j.why = "no stream has replicas"
	}
	for i := range f.Snapshot.Streams {
		s := &f.Snapshot.Streams[i]
		for _, r := range s.Replicas {
			j.lookedAt++
			if r.Offline || r.Active > replicaSilent && r.Lag > 0 || !r.Current && r.Lag > 0 {
				j.find(s.Name+" at "+r.Server, fmt.Sprintf("%s at %s is %d operations behind, last heard of %v ago", s.Name, r.Server, r.Lag, r.Active.Round(time.Millisecond)), r)
			}
		}
	}
	return j
}
