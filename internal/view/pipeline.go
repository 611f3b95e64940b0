package view

import (
	"cmp"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/registry"
)

// A Pipeline is one of a name that takes its messages from the same place, in all processes together.
type Pipeline struct {
	Name      string `json:"name"`
	Stream    string `json:"stream,omitempty"`   // that it reads; empty: it takes jobs
	Consumer  string `json:"consumer,omitempty"` // what its processes share: a durable consumer, or a group
	InHand    int    `json:"in_hand"`
	Processed int64  `json:"processed"` // since its processes made it
	Failed    int64  `json:"failed"`

	// Lag is how many messages of the stream are not settled, nil if no process says it, and LagAge how long
	// the oldest of them has been stored, in seconds. A partition that nobody has counts for nothing.
	Lag    *int64   `json:"lag,omitempty"`
	LagAge *float64 `json:"lag_s,omitempty"`

	// LagAbout is set if Lag is an estimate: what was stored since the last message that a group without a process has
	// settled.
	LagAbout bool `json:"lag_about,omitempty"`

	// LastActive is when a pipeline that no process serves last did something, as far as the broker knows.
	LastActive time.Time `json:"last_active,omitzero"`

	Partitions []OwnedPartition  `json:"partitions,omitempty"` // all there are, by number
	Processes  []PipelineProcess `json:"processes"`            // sorted by worker; none: nobody serves it
}

// An OwnedPartition is a partition, and who has it.
type OwnedPartition struct {
	Partition int      `json:"partition"`
	Worker    string   `json:"worker,omitempty"` // empty: nobody
	Lag       *int64   `json:"lag,omitempty"`
	LagAge    *float64 `json:"lag_s,omitempty"`

	seen time.Time
}

// A PipelineProcess is what a pipeline does in one process.
type PipelineProcess struct {
	Worker    string `json:"worker"`
	State     string `json:"state,omitempty"` // of package pipeline
	InHand    int    `json:"in_hand"`
	Processed int64  `json:"processed"`
	Failed    int64  `json:"failed"`
}

// Unowned are the partitions that nobody has.
func (p *Pipeline) Unowned() (numbers []int) {
	for _, part := range p.Partitions {
		if part.Worker == "" {
			numbers = append(numbers, part.Partition)
		}
	}
	return numbers
}

// asking is the state of a process that takes what comes, as package pipeline has it.
const asking = "asking"

// Held is how many processes take nothing further at the moment, by their state, which says why.
func (p *Pipeline) Held() map[string]int {
	states := make(map[string]int)
	for _, at := range p.Processes {
		if at.State != asking && at.State != "" {
			states[at.State]++
		}
	}
	return states
}

// Of are the partitions that a process has.
func (p *Pipeline) Of(worker string) (parts []OwnedPartition) {
	for _, part := range p.Partitions {
		if part.Worker == worker {
			parts = append(parts, part)
		}
	}
	return parts
}

// pipelinesOf adds up what the processes say.
func pipelinesOf(workers, readers []registry.Node) (all []Pipeline) {
	type place struct{ name, stream, consumer string }
	by := make(map[place]*Pipeline)
	for _, n := range slices.Concat(readers, workers) {
		for _, p := range n.Pipelines {
			if p.Stream == "" && alsoReads(readers, &n, p.Name) {
				continue
			}
			at := place{p.Name, p.Stream, p.Consumer}
			if by[at] == nil {
				by[at] = &Pipeline{Name: p.Name, Stream: p.Stream, Consumer: p.Consumer}
			}
			by[at].add(&n, &p)
		}
	}
	for _, p := range by {
		slices.SortFunc(p.Processes, func(a, b PipelineProcess) int { return cmp.Compare(a.Worker, b.Worker) })
		all = append(all, *p)
	}
	slices.SortFunc(all, comparePipelines)
	return all
}

func comparePipelines(a, b Pipeline) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Consumer, b.Consumer))
}

// alsoReads reports whether a worker's pipeline takes jobs beside a stream, where it is shown already.
func alsoReads(readers []registry.Node, worker *registry.Node, name string) bool {
	return slices.ContainsFunc(readers, func(r registry.Node) bool {
		return r.Host == worker.Host && r.PID == worker.PID &&
			slices.ContainsFunc(r.Pipelines, func(p registry.Pipeline) bool { return p.Name == name })
	})
}

func (p *Pipeline) add(n *registry.Node, of *registry.Pipeline) {
	p.InHand, p.Processed, p.Failed = p.InHand+of.InHand, p.Processed+of.Processed, p.Failed+of.Failed
	p.Processes = append(p.Processes, PipelineProcess{Worker: n.ID, State: of.State, InHand: of.InHand, Processed: of.Processed, Failed: of.Failed})
	if of.LagAge != nil && (p.LagAge == nil || *p.LagAge < *of.LagAge) {
		p.LagAge = of.LagAge
	}
	for len(p.Partitions) < of.Of {
		p.Partitions = append(p.Partitions, OwnedPartition{Partition: len(p.Partitions)})
	}
	if of.Of == 0 {
		if of.Lag != nil && (p.Lag == nil || *p.Lag < *of.Lag) {
			p.Lag = of.Lag // of what all of them share
		}
		return
	}
	for _, part := range of.Partitions {
		if part.Partition < 0 || part.Partition >= len(p.Partitions) {
			continue
		}
		if now := &p.Partitions[part.Partition]; now.Worker == "" || now.seen.Before(n.Seen) { // the former owner wrote before it moved
			*now = OwnedPartition{Partition: part.Partition, Worker: n.ID, Lag: part.Lag, LagAge: part.LagAge, seen: n.Seen}
		}
	}
	var lag *int64
	for _, part := range p.Partitions {
		if part.Lag != nil {
			if lag == nil {
				lag = new(int64)
			}
			*lag += *part.Lag
		}
	}
	p.Lag = lag
}
