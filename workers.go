package millhand

import (
	"context"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/pipeline"
)

// WorkerInfo is what the registry knows of a worker. Times are UTC.
type WorkerInfo struct {
	ID           string       `json:"id"` // unique per start
	Name         string       `json:"name"`
	Host         string       `json:"host"`
	PID          int          `json:"pid"`
	Version      string       `json:"version,omitempty"`
	Started      time.Time    `json:"started"` // by its own clock
	State        WorkerState  `json:"state"`   // working or draining
	Queues       []string     `json:"queues"`
	Types        []string     `json:"types"`
	Concurrency  int          `json:"concurrency"`
	Running      []RunningJob `json:"running"`       // the oldest first, and no more than 100: see [Client.Running]
	RunningTotal int          `json:"running_total"` // all of them
	// Counters has how many runs ended since the start, by the kind of their [Event].
	Counters map[EventKind]uint64 `json:"counters"`
	// ByType has the jobs in hand by "queue/type"; nil: a worker of an earlier version does not say.
	ByType map[string]WorkerLoad `json:"by_type,omitzero"`
	// SlotsFree is how many more jobs it could run; nil: a worker of an earlier version does not say.
	SlotsFree *int `json:"slots_free,omitempty"`
	// QueueSlotsFree is that of queues that may have fewer jobs here than there are slots.
	QueueSlotsFree map[string]int `json:"queue_slots_free,omitzero"`
	// StrictWeights are the weights of its queues if those of more weight go before others; nil: slots are shared out.
	StrictWeights map[string]int `json:"strict_weights,omitempty"`
	// Objectives are how old the oldest ready jobs of queues may be as its configuration says, in seconds.
	Objectives map[string]float64 `json:"objectives_s,omitzero"`
	// Stuck is how many handlers were given up and still run.
	Stuck int `json:"stuck,omitempty"`
	// Rebuilt is when it last made a subscription again that had stopped delivering; zero: never.
	Rebuilt time.Time `json:"rebuilt_at,omitzero"`
	// ClockAhead is by how much its machine's clock is ahead of the broker's, in seconds.
	ClockAhead float64 `json:"clock_ahead_s,omitempty"`
	// DrainingSince is when it began to drain; zero: it does not.
	DrainingSince time.Time `json:"draining_since,omitzero"`
	// DrainTimeout is for how long it waits for its jobs when it stops, in seconds.
	DrainTimeout float64 `json:"drain_timeout_s,omitempty"`
	// NoStats says that it writes no statistics.
	NoStats bool `json:"no_stats,omitempty"`
	// Pipelines are those that take their messages through it. A process whose pipeline reads a stream is
	// listed by itself, without queues, types and slots.
	Pipelines []PipelineInfo `json:"pipelines,omitempty"`
	// Web is the address of its dashboard, empty if others can reach none.
	Web string `json:"web,omitempty"`
	// Order is the order to drain that it heeds, nil if there is none.
	Order *WorkerOrder `json:"order,omitempty"`
	Seen  time.Time    `json:"seen"` // when it last gave word, by the broker's clock
}

// SlotsUsed is how many of the worker's slots its running jobs take: those that one call of a batch
// handler runs share one.
func (w *WorkerInfo) SlotsUsed() int {
	if w.SlotsFree == nil {
		return w.RunningTotal
	}
	return min(w.RunningTotal, w.Concurrency-*w.SlotsFree)
}

// PipelineInfo is what the registry knows of a pipeline in one process: one of jobs, see [JobSource], or of a
// stream, see package pipeline/stream.
type PipelineInfo struct {
	Name       string              `json:"name"`
	InHand     int                 `json:"in_hand"`              // messages pulled and not settled
	Processed  int64               `json:"processed"`            // messages settled as handled, since the pipeline was made
	Failed     int64               `json:"failed"`               // as failed
	State      pipeline.State      `json:"state,omitempty"`      // whether it asks for more, and why not; empty: not known
	Stream     string              `json:"stream,omitempty"`     // that it reads; empty: it takes jobs
	Consumer   string              `json:"consumer,omitempty"`   // what its processes share: a durable consumer, or a group
	Lag        *int64              `json:"lag,omitempty"`        // messages of the stream that are not settled; nil: not known
	LagAge     *float64            `json:"lag_s,omitempty"`      // how long the oldest of them has been stored, in seconds; nil: not known
	Of         int                 `json:"of,omitempty"`         // how many partitions there are, whoever has them
	Partitions []PipelinePartition `json:"partitions,omitempty"` // that it has
}

// A PipelinePartition is a partition of a stream that a pipeline has.
type PipelinePartition struct {
	Partition int      `json:"partition"`       // from 0
	Lag       *int64   `json:"lag,omitempty"`   // messages of it that are not settled; nil: not known
	LagAge    *float64 `json:"lag_s,omitempty"` // how long the oldest of them has been stored, in seconds; nil: not known
}

// A WorkerOrder is an order to a worker to take no new jobs.
type WorkerOrder struct {
	By string    `json:"by,omitempty"` // who gave it
	At time.Time `json:"at"`           // UTC, by their clock
}

// A WorkerLoad is how many jobs of a type in a queue a worker has.
type WorkerLoad struct {
	Run  int `json:"run"`  // whose handlers run
	Hand int `json:"hand"` // those, what is about to start, and whose end is being written
}

// A WorkerState is where a worker is in its life.
type WorkerState string

// The states of a worker.
const (
	WorkerStarting WorkerState = "starting"
	WorkerWorking  WorkerState = "working"
	WorkerDraining WorkerState = "draining" // it takes no new jobs
	WorkerStopped  WorkerState = "stopped"
)

// A RunningJob is a job that a worker has in hand.
type RunningJob struct {
	Ref
	Worker   string    `json:"worker"`            // its id
	Since    time.Time `json:"since"`             // UTC, by the worker's clock
	Progress Progress  `json:"progress,omitzero"` // that the handler reported; zero: none
}

// Workers returns the workers there are, as each of them said within the last seconds, sorted by id, and
// among them the processes whose pipelines read streams. One that was killed is gone after 10 s, one that stopped at once.
func (c *Client) Workers(ctx context.Context) ([]WorkerInfo, error) {
	nodes, err := c.registry.Nodes(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	workers := make([]WorkerInfo, 0, len(nodes))
	for _, n := range nodes {
		workers = append(workers, workerOf(n))
	}
	return workers, nil
}

// Running returns the jobs of a type that run now, or all if typ is empty, the oldest first.
// The workers are asked; of one that does not answer within half a second, the jobs are
// those that it named last.
func (c *Client) Running(ctx context.Context, typ string) ([]RunningJob, error) {
	if typ != "" {
		if err := CheckType(typ); err != nil {
			return nil, err
		}
	}
	found, err := c.registry.Running(ctx, typ)
	if err != nil {
		return nil, publicError(err)
	}
	jobs := make([]RunningJob, 0, len(found))
	for _, r := range found {
		jobs = append(jobs, runningOf(r))
	}
	return jobs, nil
}

// FindRunning returns a job that is running, with the worker that runs it. It returns
// [ErrNotFound] if the job is not running, and [ErrInvalid] for a ref that can name no job.
// It asks the workers as [Client.Running] does.
func (c *Client) FindRunning(ctx context.Context, ref Ref) (RunningJob, error) {
	ref, _, err := ref.checked()
	if err != nil {
		return RunningJob{}, err
	}
	r, ok, err := c.registry.Owner(ctx, ref.Queue, ref.Type, ref.ID)
	if err != nil {
		return RunningJob{}, publicError(err)
	}
	if !ok {
		return RunningJob{}, ErrNotFound
	}
	return runningOf(r), nil
}

// A WorkerEvent says that a worker came or went.
type WorkerEvent struct {
	Kind   WorkerEventKind `json:"kind"`
	Worker WorkerInfo      `json:"worker"`
}

// A WorkerEventKind is what a worker did.
type WorkerEventKind string

// The kinds of events of workers.
const (
	WorkerJoined  WorkerEventKind = "joined"
	WorkerLeft    WorkerEventKind = "left"    // it stopped
	WorkerExpired WorkerEventKind = "expired" // it was killed, or is cut off
)

// WatchWorkers yields an event for every worker there is, then for those that come and go,
// until ctx ends or the caller breaks. It goes on while the broker is away.
func (c *Client) WatchWorkers(ctx context.Context) iter.Seq2[WorkerEvent, error] {
	return func(yield func(WorkerEvent, error) bool) {
		for e, err := range c.registry.WatchNodes(ctx) {
			if !yield(WorkerEvent{Kind: WorkerEventKind(e.Kind), Worker: workerOf(e.Node)}, publicError(err)) {
				return
			}
		}
	}
}

func workerOf(n registry.Node) WorkerInfo {
	w := WorkerInfo{
		ID: n.ID, Name: n.Name, Host: n.Host, PID: n.PID, Version: n.Version, Started: n.Started, State: WorkerState(n.State),
		Queues: notNil(n.Queues), Types: notNil(n.Types), Concurrency: n.Concurrency,
		Running: []RunningJob{}, RunningTotal: n.RunningTotal, Counters: make(map[EventKind]uint64, len(n.Counters)), SlotsFree: n.SlotsFree, Web: n.Web, Seen: n.Seen,
		QueueSlotsFree: n.QueueSlotsFree, StrictWeights: n.StrictWeights, Objectives: n.Objectives,
		Stuck: n.Stuck, Rebuilt: n.Rebuilt, ClockAhead: n.ClockAhead, DrainingSince: n.DrainingSince, DrainTimeout: n.DrainTimeout, NoStats: n.NoStats,
	}
	if n.Order != nil {
		w.Order = &WorkerOrder{By: n.Order.By, At: n.Order.At}
	}
	if n.ByType != nil {
		w.ByType = make(map[string]WorkerLoad, len(n.ByType))
		for at, load := range n.ByType {
			w.ByType[at] = WorkerLoad(load)
		}
	}
	for _, p := range n.Pipelines {
		w.Pipelines = append(w.Pipelines, pipelineOf(p))
	}
	for kind, runs := range n.Counters {
		w.Counters[EventKind(kind)] = runs
	}
	for _, r := range n.Running {
		r.Node = n.ID
		w.Running = append(w.Running, runningOf(r))
	}
	return w
}

func pipelineOf(p registry.Pipeline) PipelineInfo {
	i := PipelineInfo{
		Name: p.Name, InHand: p.InHand, Processed: p.Processed, Failed: p.Failed, State: pipeline.State(p.State),
		Stream: p.Stream, Consumer: p.Consumer, Lag: p.Lag, LagAge: p.LagAge, Of: p.Of,
	}
	for _, part := range p.Partitions {
		i.Partitions = append(i.Partitions, PipelinePartition(part))
	}
	return i
}

func runningOf(r registry.Running) RunningJob {
	j := RunningJob{Ref: Ref{ID: r.ID, Type: r.Type, Queue: r.Queue, Life: r.Life}, Worker: r.Node, Since: r.Since}
	if r.Progress != nil {
		j.Progress = Progress(*r.Progress)
	}
	return j
}

// notNil is a list that is [] in JSON, and not null, where there is nothing in it.
func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
