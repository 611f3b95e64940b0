package worker

import (
	"cmp"
	"os"
	"slices"
	"sync/atomic"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
)

// newAgent returns the worker's part in the registry: what it says of itself there, and what
// it does about limits and pauses.
func (w *Worker) newAgent() (*registry.Agent, error) {
	if w.cfg.OnOverrun != nil {
		w.slots.OnOverrun(registry.Margin(w.cfg.PermitTTL)/2, w.cfg.OnOverrun)
	}
	return registry.NewAgent(w.registry, registry.AgentConfig{
		Node: w.cfg.ID, TTL: w.cfg.PermitTTL, Queues: w.queues, Types: w.types,
		Limits: w.cfg.Limits, Keys: w.cfg.Keys,
		Slots:    pausing{w.slots, w.flows},
		Snapshot: w.snapshot, Doubt: w.store.Doubt, Workflows: func(queue string) { w.flows[queue].begin() }, Standing: w.standing, Tree: func() supervisor.Node { return w.tree.Tree() },
		Logger: w.log, OnEvent: w.logEvent, Instrument: w.cfg.Instrument,
	})
}

// snapshot is what the registry knows of the worker.
func (w *Worker) snapshot() registry.Node {
	n := registry.Node{
		ID: w.cfg.ID, Name: w.cfg.Name, Host: w.host, PID: os.Getpid(), Version: registry.Version(), Started: w.started.UTC(),
		State:  Working,
		Queues: w.queues, Types: w.types, Concurrency: w.cfg.Concurrency,
		Running: []registry.Running{}, Counters: w.outcomes.read(),
	}
	if w.slots.Closed() || w.slots.Suspended() {
		n.State = Draining
	}
	for _, r := range w.runners {
		n.Running = append(n.Running, r.snapshot()...)
	}
	if w.drives() {
		n.Types = append([]string{job.WorkflowType}, n.Types...)
	}
	n.StrictWeights, n.Web = w.strictWeights(), w.cfg.Web
	w.noticed.tell(w, &n)
	if w.cfg.Pipelines != nil {
		n.Pipelines = w.cfg.Pipelines()
	}
	n.ByType, n.SlotsFree = w.loads(n.Running), new(max(0, w.cfg.Concurrency-w.slots.Taken()))
	slices.SortFunc(n.Running, func(a, b registry.Running) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return n
}

// standing is how a job stands with the worker.
func (w *Worker) standing(queue, typ, id string) registry.Standing {
	return registry.Standing{InHand: w.renewer.Has(queue, typ, id), Free: new(w.slots.Free(queue))}
}

// strictWeights are the weights of the queues, nil unless they are an order.
func (w *Worker) strictWeights() map[string]int {
	if !w.cfg.Strict {
		return nil
	}
	weights := make(map[string]int, len(w.cfg.Queues))
	for _, q := range w.cfg.Queues {
		weights[q.Name] = q.Weight
	}
	return weights
}

// loads counts what is in hand, and what of it runs. Each of them is looked at by itself, so a job may
// be in one that is not in the other.
func (w *Worker) loads(running []registry.Running) map[string]registry.Load {
	loads := make(map[string]registry.Load)
	w.renewer.CountInHand(func(queue, typ string) {
		l := loads[registry.LoadOf(queue, typ)]
		l.Hand++
		loads[registry.LoadOf(queue, typ)] = l
	})
	for _, r := range running {
		l := loads[registry.LoadOf(r.Queue, r.Type)]
		l.Run++
		l.Hand = max(l.Hand, l.Run)
		loads[registry.LoadOf(r.Queue, r.Type)] = l
	}
	return loads
}

// snapshot returns what runs.
func (r *runner) snapshot() (running []registry.Running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.running {
		h := a.held
		if since := h.StartedAt(); !since.IsZero() { // else it is about to start
			r := registry.Running{ID: h.ID, Type: h.Type, Queue: h.Queue, Since: since.UTC(), Life: h.Life}
			if p, ok := h.LastProgress(); ok {
				r.Progress = &p
			}
			switch {
			case a.passed != nil:
				r.TimeoutAt = a.passed.timeoutAt().UTC()
			case a.settings.Timeout > 0:
				r.TimeoutAt = since.UTC().Add(a.settings.Timeout)
			}
			if cause := a.toldOf(); cause != nil {
				r.Told = cause.Error()
			}
			running = append(running, r)
		}
	}
	return running
}

// outcomeCounts counts how runs ended.
type outcomeCounts map[job.EventKind]*atomic.Uint64

func newOutcomeCounts() outcomeCounts {
	e := make(outcomeCounts)
	for _, k := range []job.EventKind{
		job.EventSucceeded, job.EventRetrying, job.EventDead, job.EventSnoozed, job.EventHandedBack, job.EventCancelled, job.EventLost,
	} {
		e[k] = new(atomic.Uint64)
	}
	return e
}

// add counts one end. A job that did not start has none.
func (e outcomeCounts) add(k job.EventKind) {
	if n := e[k]; n != nil {
		n.Add(1)
	}
}

func (e outcomeCounts) read() map[string]uint64 {
	counters := make(map[string]uint64)
	for k, n := range e {
		if v := n.Load(); v > 0 {
			counters[string(k)] = v
		}
	}
	return counters
}
