package millhand

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/supervisor"
)

// Health is what a worker says of itself. It is made to be shown as JSON.
type Health struct {
	Worker    string      `json:"worker"`
	State     WorkerState `json:"state"`
	InHand    int         `json:"in_hand"`
	Abandoned int         `json:"stuck"` // handlers that were given up and still run
	// Unsettled jobs have ended and are not in hand any more, but their ends are not yet all
	// written. They hold UnsettledBytes in memory.
	Unsettled      int   `json:"unsettled"`
	UnsettledBytes int64 `json:"unsettled_bytes"`
	// Refused says that the broker does not take some of these ends, which are tried again.
	Refused *RefusedEnds `json:"refused,omitempty"`
	// Rebuilt counts pull subscriptions that stopped delivering while jobs were waiting and were
	// re-created.
	Rebuilt int `json:"rebuilt"`
	// Oldest is the job that runs for longest: if all slots are taken and this one began long
	// ago, it hangs, and a timeout is missing.
	Oldest *RunningJob `json:"oldest_running,omitempty"`
	// WaitsFor is what a worker that is starting waits for.
	WaitsFor string `json:"waits_for,omitempty"`
	// Registry says what keeps the worker from its part in the registry: its presence, its
	// permits, or its knowledge of limits and pauses. Jobs without a limit run all the same.
	Registry []string `json:"registry,omitempty"`
	// HistorySince is since when it is known what became of jobs, if that is less than an hour: there
	// are more events than are kept. [Client.SetRetention] has more of them kept.
	HistorySince time.Time `json:"history_since,omitzero"`
	// ClockOffset is how far this machine's clock is ahead of the broker's, by which jobs wait and
	// expire, as "5m0s" or "-1.5s". What the way to the broker may account for is "0s".
	ClockOffset string   `json:"clock_offset"`
	Tree        TreeNode `json:"tree"`
}

// RefusedEnds are ends of jobs that the broker does not take.
type RefusedEnds struct {
	Jobs   int       `json:"jobs"`
	Since  time.Time `json:"since"`  // when the first of them was refused
	What   string    `json:"what"`   // of that one, could not be written
	Reason string    `json:"reason"` // the broker's, or that it did not answer
}

// A TreeNode is one part of a worker's supervision tree, with the parts below it.
type TreeNode struct {
	Name      string     `json:"name"`
	Kind      TreeKind   `json:"kind"`
	State     TreeState  `json:"state"`
	Restarts  int        `json:"restarts"`
	LastError string     `json:"last_error,omitempty"` // how it ended last, if that was an error
	Since     time.Time  `json:"since,omitzero"`       // when it came into this state
	Abandoned int        `json:"abandoned,omitempty"`  // goroutines below it that did not stop in time and still run
	Children  []TreeNode `json:"children,omitempty"`   // in start order
}

// A TreeKind is what a part of the tree is.
type TreeKind string

// The kinds of parts.
const (
	TreeSupervisor TreeKind = "supervisor" // restarts the parts below it
	TreeDynamic    TreeKind = "dynamic"    // a supervisor whose parts come and go, such as running jobs
	TreeServer     TreeKind = "server"     // handles one message after the other
	TreeChild      TreeKind = "child"      // anything else
)

// A TreeState is where a part of the tree is in its life.
type TreeState string

// The states of parts.
const (
	TreeStarting   TreeState = "starting"
	TreeRunning    TreeState = "running"
	TreeStopping   TreeState = "stopping"
	TreeStopped    TreeState = "stopped"
	TreeRestarting TreeState = "restarting" // it failed, and waits for its backoff
)

func treeOf(n supervisor.Node) TreeNode {
	p := TreeNode{
		Name: n.Name, Kind: TreeKind(n.Kind), State: TreeState(n.State),
		Restarts: n.Restarts, LastError: n.LastError, Since: n.Since, Abandoned: n.Abandoned,
	}
	for _, c := range n.Children {
		p.Children = append(p.Children, treeOf(c))
	}
	return p
}

// Health describes the worker as it is now. It does not block.
func (w *Worker) Health() Health {
	now := w.worker.Health()
	h := Health{
		Worker: w.id, State: WorkerState(now.State), InHand: now.InHand, Abandoned: now.Abandoned,
		Unsettled: now.Unsettled, UnsettledBytes: now.UnsettledBytes,
		ClockOffset: now.ClockOffset.Round(time.Millisecond).String(),
		Rebuilt:     now.Rebuilt, WaitsFor: now.WaitsFor, Registry: now.Registry, Tree: treeOf(now.Tree),
	}
	if !now.HistorySince.IsZero() {
		h.HistorySince = now.HistorySince.UTC()
	}
	if j := now.Oldest; j != nil {
		h.Oldest = &RunningJob{Ref: refOf(&j.Record), Worker: w.id, Since: j.StartedAt().UTC()}
	}
	if r := now.Refused; r != nil {
		h.Refused = &RefusedEnds{Jobs: r.Ends, Since: r.Since.UTC(), What: r.What, Reason: r.Reason}
	}
	return h
}

// Ready returns an error while the broker does not store a job of this worker's queues or
// its end. It finds out by storing something in each of their streams, and removing it; the
// answer holds for up to three seconds.
func (w *Worker) Ready(ctx context.Context) error { return publicError(w.worker.Ready(ctx)) }
