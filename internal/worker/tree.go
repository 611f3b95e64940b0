package worker

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/supervisor"
)

// build puts the tree together, in start order: what is stopped last comes first. If one of
// them fails, those below it are restarted with it.
func (w *Worker) build() (*supervisor.Supervisor, error) {
	agent, err := w.newAgent()
	if err != nil {
		return nil, err
	}
	w.agent = agent
	children := []supervisor.Child{
		{Name: "registry", Part: agent, StopTimeout: settleGrace},
	}
	if w.cfg.Stats != nil {
		statistics, err := w.buildStatistics()
		if err != nil {
			return nil, err
		}
		children = append(children, supervisor.Child{Name: "statistics", Part: statistics})
	}
	children = append(children, []supervisor.Child{
		{Name: "schedules", RunReady: w.crons.RunReady},
		{Name: "cancels", RunReady: w.orders.RunReady},
		{Name: "store", Run: w.watch.Run},
		{Name: "failures", Run: w.failures.Run},
		{Name: "settler", Run: w.settler.Run, StopTimeout: settleGrace},
		{Name: "renewer", Run: w.renewer.Run},
		{Name: "permits", Run: w.slots.WatchPermits},
	}...)
	for _, q := range w.cfg.Queues {
		s, err := w.buildQueue(q)
		if err != nil {
			return nil, err
		}
		children = append(children, supervisor.Child{Name: "queue " + q.Name, Part: s})
	}
	children = append(children, supervisor.Child{Name: "ticker", Run: w.newTicker().Run})
	return w.supervise(supervisor.Spec{
		Name: "worker", Strategy: supervisor.RestForOne,
		MaxRestarts: new(10), Within: 10 * time.Minute, // a queue that fails for good gives up every half minute
		Children: children,
	})
}

// buildStatistics returns parts on which no job depends: however often they fail, nothing else does.
// They stop after all that is counted.
func (w *Worker) buildStatistics() (*supervisor.Supervisor, error) {
	counting := stats.Counting{Node: w.cfg.ID, Counted: w.Counted, Ahead: w.store.ClockOffset}
	w.recorder = stats.NewRecorder(w.cfg.Stats, counting)
	merger := stats.NewMerger(w.cfg.Stats, counting, w.registry.NodeIDs, w.backlog)
	children := []supervisor.Child{
		{Name: "recorder", Run: w.recorder.Run},
		{Name: "merger", Run: merger.Run},
	}
	if w.cfg.Notify != nil {
		children = slices.Insert(children, 0, supervisor.Child{Name: "notifier", Run: w.cfg.Notify.Run})
	}
	return w.supervise(supervisor.Spec{
		Name:        "statistics",
		MaxRestarts: new(math.MaxInt), Within: time.Minute,
		Children: children,
	})
}

// buildQueue has consumers before producers, so that a stop ends the pulling first.
func (w *Worker) buildQueue(q Queue) (*supervisor.Supervisor, error) {
	r, err := newRunner(w, q.Name, w.types...)
	if err != nil {
		return nil, err
	}
	w.runners = append(w.runners, r)
	children := []supervisor.Child{
		{Name: "runner", Part: r, StopTimeout: handlerGrace + settleGrace},
	}
	if q.Concurrency > 0 {
		w.slots.Cap(q.Name, q.Concurrency)
	}
	for _, typ := range w.types {
		p, err := queue.NewPuller(w.settler, w.slots.Source(q.Weight, q.Name, typ))
		if err != nil {
			return nil, err
		}
		if err := r.subscribe(p); err != nil {
			return nil, err
		}
		children = append(children, supervisor.Child{Name: "puller " + typ, Run: w.pull(p), StopTimeout: pullGrace})
	}
	sweeper, err := queue.NewSweeper(w.store, q.Name, w.types)
	if err != nil {
		return nil, err
	}
	children = append(children, supervisor.Child{Name: "sweeper", Run: sweeper.Run})
	listener, err := queue.NewListener(w.store, w.slots, q.Name)
	if err != nil {
		return nil, err
	}
	children = append(children, supervisor.Child{Name: "listener", Run: listener.Run})
	unhandled := func(ctx context.Context) error { return w.watchUnhandled(ctx, q.Name) }
	children = append(children, supervisor.Child{Name: "unhandled", Run: unhandled})
	if w.cfg.Workflows != nil {
		workflows := func(ctx context.Context) error { return w.runWorkflows(ctx, q) }
		children = append(children, supervisor.Child{Name: "workflows", Run: workflows, StopTimeout: handlerGrace + settleGrace + pullGrace})
	}
	return w.supervise(supervisor.Spec{
		Name:        "queue " + q.Name,
		MaxRestarts: new(10), Within: time.Minute,
		Children: children,
	})
}

// supervise returns a supervisor with what all of a worker have in common.
func (w *Worker) supervise(s supervisor.Spec) (*supervisor.Supervisor, error) {
	for i, c := range s.Children {
		s.Children[i] = w.cfg.Instrument(c)
	}
	s.Backoff = supervisor.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	s.OnEvent = w.logEvent
	return supervisor.New(s)
}

// logEvent keeps the log to what is out of the ordinary: first starts and ordered stops
// are for debugging.
func (w *Worker) logEvent(e supervisor.Event) {
	w.counts.restarted(e)
	level := e.Level()
	if e.Kind == supervisor.ChildStopped || e.Kind == supervisor.ChildStarted && e.Restarts == 0 {
		level = slog.LevelDebug
	}
	w.log.LogAttrs(context.Background(), level, e.Kind.String(), e.Attrs()...) //nolint:sloglint // the kinds are constants
}

// pull is a puller's run. An error that will not pass ends the worker: to start the puller again
// could only delay what its operator has to see.
func (w *Worker) pull(p *queue.Puller) func(context.Context) error {
	return func(ctx context.Context) error {
		err := p.Run(ctx)
		if queue.Final(err) {
			w.fail(ctx, err, "the worker cannot go on with this broker: draining", slog.Any("err", err))
		}
		return err
	}
}
