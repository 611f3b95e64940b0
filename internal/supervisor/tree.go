package supervisor

import (
	"cmp"
	"slices"
	"time"
)

// Kind is what a node of the tree is.
type Kind string

// The kinds of nodes.
const (
	KindSupervisor Kind = "supervisor"
	KindDynamic    Kind = "dynamic"
	KindServer     Kind = "server"
	KindChild      Kind = "child"
)

// State is where a child is in its life.
//
//	stopped ──► starting ──► running ──► stopping ──► stopped
//	             ▲    │         │
//	             │    ▼         ▼
//	            restarting ◄────┘      waits for its backoff
//
// Without a backoff there is no waiting, and without readiness no starting that one would see.
type State string

// The states of a child.
const (
	StateStopped    State = "stopped"
	StateStarting   State = "starting"
	StateRunning    State = "running"
	StateStopping   State = "stopping"
	StateRestarting State = "restarting"
)

// status is what a supervisor shows of a child.
type status struct {
	state    State
	since    time.Time
	restarts int
	err      error // of its last end that was not clean
}

// Node is a part of the tree at one moment, made to be shown as JSON.
type Node struct {
	Name      string    `json:"name"`
	Kind      Kind      `json:"kind"`
	State     State     `json:"state"`
	Restarts  int       `json:"restarts"`
	LastError string    `json:"last_error,omitempty"` // how it ended last, if that was an error
	Since     time.Time `json:"since,omitzero"`       // when it came into this state, UTC
	Abandoned int       `json:"abandoned,omitempty"`  // goroutines that were given up and still run
	Children  []Node    `json:"children,omitempty"`   // in start order
}

// Tree describes the supervisor and everything below it as it is now.
func (s *Supervisor) Tree() Node {
	s.mu.Lock()
	r, running := s.current, s.running
	s.mu.Unlock()
	n := Node{Name: s.spec.Name, Kind: KindSupervisor, State: StateStopped, Abandoned: int(s.abandoned.Load())}
	if running {
		n.State = StateRunning
	}
	if r != nil {
		n.Since, n.Children = r.since, r.nodes()
	}
	return n
}

func (r *run) nodes() []Node {
	r.mu.Lock()
	children := make([]Child, len(r.members))
	statuses := make([]status, len(r.members))
	for i, m := range r.members {
		children[i], statuses[i] = m.child, m.status
	}
	r.mu.Unlock()
	nodes := make([]Node, len(children))
	for i, c := range children {
		nodes[i] = nodeOf(c, statuses[i])
	}
	return nodes
}

// Tree describes the supervisor and its children as they are now.
func (d *Dynamic) Tree() Node {
	d.mu.Lock()
	n := Node{Name: d.spec.Name, Kind: KindDynamic, State: StateStopped, Since: d.since, Abandoned: d.abandoned}
	if d.running {
		n.State = StateRunning
	}
	children := make([]dynamicChild, 0, len(d.children))
	for c := range d.children {
		children = append(children, *c)
	}
	d.mu.Unlock()
	slices.SortFunc(children, func(a, b dynamicChild) int { return cmp.Compare(a.seq, b.seq) })
	for _, c := range children {
		n.Children = append(n.Children, nodeOf(c.Child, c.status))
	}
	return n
}

// nodeOf merges what a supervisor knows about a child with what the child shows of itself.
func nodeOf(c Child, s status) Node {
	n := Node{Kind: KindChild}
	if c.Part != nil {
		n = c.Part.Tree()
	}
	n.Name, n.State, n.Since, n.Restarts = c.Name, s.state, s.since, s.restarts
	if s.err != nil {
		n.LastError = s.err.Error()
	}
	return n
}
