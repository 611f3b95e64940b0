package millhand

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
)

// newAgent returns the worker's part in the registry: what it says of itself there, and what
// it does about limits and pauses.
func (w *Worker) newAgent(instrument func(supervisor.Child) supervisor.Child) (*registry.Agent, error) {
	if w.cfg.OnOverrun != nil {
		w.gate.OnOverrun(registry.Margin(w.cfg.PermitTTL)/2, w.overran)
	}
	return registry.NewAgent(w.registry, registry.AgentConfig{
		Node: w.id, TTL: w.cfg.PermitTTL, Queues: slices.Sorted(maps.Keys(w.cfg.Queues)), Types: w.cfg.Mux.Types(),
		Valve:  w.valve,
		SetKey: w.gate.SetKey,
		Pause: func(queue string, on bool) {
			if on {
				w.log.Info("queue paused", slog.String("queue", queue))
				w.gate.Pause(queue)
			} else {
				w.gate.Resume(queue)
			}
		},
		Snapshot: w.snapshot, Doubt: w.store.Doubt,
		Logger: w.log, OnEvent: w.logEvent, Instrument: instrument,
	})
}

func (w *Worker) valve(p registry.PoolKey, per time.Duration) registry.Valve {
	pool := w.gate.Pool(queue.PoolKey(p))
	if p.Rate {
		pool.Per(per)
	}
	return pool
}

// overran passes on jobs that run although another worker may have their permits.
func (w *Worker) overran(jobs []job.Record) {
	refs := make([]Ref, 0, len(jobs))
	for _, j := range jobs {
		refs = append(refs, refOf(&j))
	}
	w.cfg.OnOverrun(refs)
}

// snapshot is what the registry knows of the worker.
func (w *Worker) snapshot() registry.Node {
	n := registry.Node{
		ID: w.id, Name: w.cfg.Name, Host: w.host, PID: os.Getpid(), Version: version(), Started: w.started.UTC(),
		State:  "working",
		Queues: slices.Sorted(maps.Keys(w.cfg.Queues)), Types: w.cfg.Mux.Types(), Concurrency: w.cfg.Concurrency,
		Running: []registry.Running{}, Counters: w.ends.read(),
	}
	if w.gate.Closed() {
		n.State = "draining"
	}
	for _, r := range w.runners {
		n.Running = append(n.Running, r.snapshot()...)
	}
	slices.SortFunc(n.Running, func(a, b registry.Running) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return n
}

// snapshot returns what runs.
func (r *runner) snapshot() (running []registry.Running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.running {
		if since := h.StartedAt(); !since.IsZero() { // else it is about to start
			running = append(running, registry.Running{ID: h.ID, Type: h.Type, Queue: h.Queue, Since: since.UTC()})
		}
	}
	return running
}

// version is that of the program that is the worker, as it was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

// ends counts how runs ended.
type ends map[job.EventKind]*atomic.Uint64

func newEnds() ends {
	e := make(ends)
	for _, k := range []job.EventKind{
		job.EventSucceeded, job.EventRetrying, job.EventDead, job.EventSnoozed, job.EventHandedBack, job.EventCancelled, job.EventLost,
	} {
		e[k] = new(atomic.Uint64)
	}
	return e
}

// add counts one end. A job that did not start has none.
func (e ends) add(k job.EventKind) {
	if n := e[k]; n != nil {
		n.Add(1)
	}
}

func (e ends) read() map[string]uint64 {
	counters := make(map[string]uint64)
	for k, n := range e {
		if v := n.Load(); v > 0 {
			counters[string(k)] = v
		}
	}
	return counters
}

// setQuotas puts the configured limits into the registry: first all limits, so that no type
// belongs to a key without one. Of two for the same jobs the last one counts.
func (w *Worker) setQuotas(ctx context.Context) error {
	limits, keys := make(map[registry.PoolKey]registry.Limit), make(map[string]string)
	for _, q := range w.cfg.Quotas {
		limits[q.pool()] = q.limit()
		for _, t := range q.Types {
			keys[t] = q.Key
		}
	}
	err := together(ctx, maps.Keys(limits), func(ctx context.Context, p registry.PoolKey) error {
		return w.registry.SetLimit(ctx, p, limits[p])
	})
	if err != nil {
		return err
	}
	return together(ctx, maps.Keys(keys), func(ctx context.Context, typ string) error {
		return w.registry.SetKey(ctx, typ, keys[typ])
	})
}
