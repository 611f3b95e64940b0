package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// MaxRunning is how many running jobs the record of a node names. All of them answer to
// [Store.Running].
const MaxRunning = 100

// The states of a node.
const (
	Working  = "working"
	Draining = "draining" // it takes no new jobs
)

// A Node is a worker as the registry knows it.
type Node struct {
	ID           string            `json:"id"` // unique per start
	Name         string            `json:"name"`
	Host         string            `json:"host"`
	PID          int               `json:"pid"`
	Version      string            `json:"version,omitempty"`
	Started      time.Time         `json:"started"`
	State        string            `json:"state,omitempty"` // Working or Draining
	Queues       []string          `json:"queues"`
	Types        []string          `json:"types"`
	Concurrency  int               `json:"concurrency"`
	Running      []Running         `json:"running"` // the oldest first, at most MaxRunning of them
	RunningTotal int               `json:"running_total"`
	Counters     map[string]uint64 `json:"counters,omitempty"` // runs since the start, by how they ended

	// Earlier versions say neither.
	ByType    map[string]Load `json:"by_type,omitzero"`     // what it has in hand, by "queue/type"; nil: not known
	SlotsFree *int            `json:"slots_free,omitempty"` // how many more jobs it could run; nil: not known

	// StrictWeights are the weights of its queues if one of more weight goes before the others, as long
	// as jobs wait there; nil if slots are shared out among them.
	StrictWeights map[string]int `json:"strict_weights,omitempty"`

	// What an operator is to know of it, which earlier versions do not say. Times are by the broker's
	// clock, as far as the node knows that.
	Stuck          int            `json:"stuck,omitempty"`           // handlers that were given up and still run
	Rebuilt        time.Time      `json:"rebuilt_at,omitzero"`       // when it last made a subscription again that had stopped delivering
	ClockAhead     float64        `json:"clock_ahead_s,omitempty"`   // of its machine, before the broker's, in seconds
	DrainingSince  time.Time      `json:"draining_since,omitzero"`   // zero: it is working
	DrainTimeout   float64        `json:"drain_timeout_s,omitempty"` // for which it waits for its jobs when it stops, in seconds
	NoStats        bool           `json:"no_stats,omitempty"`        // it writes no statistics
	QueueSlotsFree map[string]int `json:"queue_slots_free,omitzero"` // of queues that may have fewer jobs here than there are slots

	// Objectives are how old the oldest ready jobs of queues may be, in seconds, as its configuration says.
	Objectives map[string]float64 `json:"objectives_s,omitzero"`

	Pipelines []Pipeline `json:"pipelines,omitempty"` // that take their messages through it; of a [Reader] the one that reads

	Web   string `json:"web,omitempty"`   // address of its dashboard, for others; empty: it has none that they could reach
	Order *Order `json:"order,omitempty"` // that it heeds; nil: there is none

	Seen time.Time `json:"-"` // when it wrote last, by the broker's clock
	Ends time.Time `json:"-"` // when it is not there any more unless it writes again; zero: not known
}

// A Pipeline is what a node's pipeline does.
type Pipeline struct {
	Name       string      `json:"name"`
	InHand     int         `json:"in_hand"`              // messages pulled and not settled
	Processed  int64       `json:"processed"`            // messages settled as handled, since the start
	Failed     int64       `json:"failed"`               // as failed
	State      string      `json:"state,omitempty"`      // of package pipeline; empty: an earlier version does not say
	Stream     string      `json:"stream,omitempty"`     // that it reads; empty: it takes jobs
	Consumer   string      `json:"consumer,omitempty"`   // what its processes share: a durable consumer, or a group
	Lag        *int64      `json:"lag,omitempty"`        // messages of the stream that are not settled; nil: not known
	LagAge     *float64    `json:"lag_s,omitempty"`      // how long the oldest of them has been stored, in seconds; nil: not known
	Of         int         `json:"of,omitempty"`         // how many partitions there are, whoever has them
	Partitions []Partition `json:"partitions,omitempty"` // that it has
}

// MaxPartitions is how many partitions a stream may have for those who share it out.
const MaxPartitions = 1024

// A Partition is one that a pipeline reads.
type Partition struct {
	Partition int      `json:"partition"`
	Lag       *int64   `json:"lag,omitempty"`   // messages of it that are not settled; nil: not known
	LagAge    *float64 `json:"lag_s,omitempty"` // how long the oldest of them has been stored, in seconds; nil: not known
}

// A Load is how many jobs of a type in a queue a node has.
type Load struct {
	Run  int `json:"run"`  // whose handlers run
	Hand int `json:"hand"` // all in hand: those that run, that are about to start, and whose end is being written
}

// LoadOf is the key of a type in a queue in [Node.ByType].
func LoadOf(queue, typ string) string { return queue + "/" + typ }

// Running is a job that a node runs.
type Running struct {
	ID    string    `json:"id"`
	Type  string    `json:"type"`
	Queue string    `json:"queue"`
	Since time.Time `json:"since"`
	Node  string    `json:"node,omitempty"` // left out in the node's own record

	// Left out in the record of the node, which is stored.
	Life     string        `json:"life,omitempty"`
	Progress *job.Progress `json:"progress,omitempty"` // nil: the handler has said nothing of it
	// TimeoutAt is when the handler's time is over, by the node's clock; zero: never, or not known.
	TimeoutAt time.Time `json:"timeout_at,omitzero"`
	// Told is why the handler was told to stop, which it has not done yet; empty: it was not.
	Told string `json:"told,omitempty"`
}

// bounded is n as it is written: with its oldest jobs only, and what does not change of them.
func (n *Node) bounded() Node {
	b := *n
	slices.SortFunc(b.Running, func(a, b Running) int { return a.Since.Compare(b.Since) })
	b.RunningTotal = max(b.RunningTotal, len(b.Running))
	b.Running = b.Running[:min(len(b.Running), MaxRunning)]
	for i := range b.Running {
		r := &b.Running[i]
		r.Life, r.Progress, r.TimeoutAt, r.Told = "", nil, time.Time{}, ""
	}
	return b
}

// Nodes returns the nodes there are, sorted by id. One that crashed stays until its
// presence expires.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	entries, err := s.peek(ctx, nodeKeys+".*")
	if err != nil {
		return nil, err
	}
	return nodesOf(entries), nil
}

// nodesOf reads the nodes from entries, among which may be others.
func nodesOf(entries []stream.Entry) []Node {
	var nodes []Node
	for _, e := range entries {
		if n, ok := nodeOf(e); ok {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// NodeIDs returns the ids of the nodes there are, in no order. It costs less than [Store.Nodes], and
// may have one that left a moment ago.
func (s *Store) NodeIDs(ctx context.Context) ([]string, error) {
	ids, err := s.bucket.Keys(ctx, nodeKeys+".*")
	for i, key := range ids {
		ids[i] = lastToken(key)
	}
	return ids, err
}

func nodeOf(e stream.Entry) (n Node, ok bool) {
	id, ok := strings.CutPrefix(e.Key, nodeKeys+".")
	if !ok || e.Value == nil || json.Unmarshal(e.Value, &n) != nil {
		return Node{}, false
	}
	n.ID, n.Seen = id, e.Time.UTC()
	for i := range n.Pipelines { // whoever shows them makes a line of each
		n.Pipelines[i].Of = min(n.Pipelines[i].Of, MaxPartitions)
	}
	if e.TTL > 0 {
		n.Ends = n.Seen.Add(e.TTL)
	}
	return n, true
}

// A NodeEvent says that a node came or went.
type NodeEvent struct {
	Kind string // Joined, Left or Expired
	Node Node   // as it was last known
}

// The kinds of node events.
const (
	Joined  = "joined"  // it is there, from the beginning or from now on
	Left    = "left"    // it stopped, and said so
	Expired = "expired" // it crashed, or cannot reach the broker
)

// WatchNodes yields every node there is and then those that come and go, until ctx ends or
// the caller stops.
func (s *Store) WatchNodes(ctx context.Context) iter.Seq2[NodeEvent, error] {
	return func(yield func(NodeEvent, error) bool) {
		w := &nodeWatcher{known: make(map[string]Node), yield: yield}
		_ = s.bucket.Watch(w, nodeKeys+".*").Run(ctx) // ends with ctx or with the caller
	}
}

// A nodeWatcher tells of nodes that come and go.
type nodeWatcher struct {
	known map[string]Node
	yield func(NodeEvent, error) bool
}

// errEnough ends a watch whose caller has enough.
var errEnough = errors.New("the caller stopped")

// Changed implements [stream.Watcher].
func (w *nodeWatcher) Changed(_ context.Context, e stream.Entry) error {
	id := lastToken(e.Key)
	old, there := w.known[id]
	n, alive := nodeOf(e)
	event := NodeEvent{Kind: Joined, Node: n}
	switch {
	case alive:
		w.known[id] = n
	case e.Expired:
		event = NodeEvent{Kind: Expired, Node: old}
	default:
		event = NodeEvent{Kind: Left, Node: old}
	}
	if !alive {
		delete(w.known, id)
	}
	if alive == there { // refreshed, or never seen
		return nil
	}
	if !w.yield(event, nil) {
		return errEnough
	}
	return nil
}

// Synced implements [stream.Watcher].
func (*nodeWatcher) Synced(context.Context) error { return nil }

// Failed implements [stream.Watcher]. The nodes stay as they were last seen.
func (*nodeWatcher) Failed(context.Context, error) {}

// Lost implements [stream.Watcher]. Nodes write themselves again.
func (*nodeWatcher) Lost(context.Context, []stream.Entry) error { return nil }

// SlotsUsed is how many slots its running jobs take: those that one call runs share one.
func (n *Node) SlotsUsed() int {
	if n.SlotsFree == nil {
		return n.RunningTotal
	}
	return min(n.RunningTotal, n.Concurrency-*n.SlotsFree)
}
