package web

import (
	"maps"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// visible leaves out of a look what a user may not see. To a user who sees everything it is the look itself.
func (h *Handler) visible(l *look, u User) *look {
	if h.opts.Visible == nil {
		return l
	}
	s, hides := *l.Snapshot, false
	s.Queues = nil
	seen := make(map[tally.Pair]bool)
	for _, q := range l.Queues {
		if !h.opts.Visible(u, q.Name, "") {
			hides = true
			continue
		}
		all := len(q.Types)
		q.Types = slices.DeleteFunc(slices.Clone(q.Types), func(t view.Type) bool { return !h.opts.Visible(u, q.Name, t.Name) })
		hides = hides || len(q.Types) < all
		for i := range q.Types {
			seen[tally.Pair{Queue: q.Name, Type: q.Types[i].Name}] = true
		}
		s.Queues = append(s.Queues, q)
	}
	hides = hides || slices.ContainsFunc(l.Workers, func(w registry.Node) bool { return slices.ContainsFunc(w.Queues, h.hiddenFrom(u)) })
	if !hides {
		return l
	}
	out := look{Snapshot: &s, Failed: l.Failed, Rates: l.Rates.Only(func(p tally.Pair) bool { return seen[p] }), Partial: true, judged: l.judged}
	hidden := h.hiddenFrom(u)
	s.Streams = slices.DeleteFunc(slices.Clone(s.Streams), func(t view.Stream) bool { return t.Queue != "" && hidden(t.Queue) })
	s.Dead = view.Uncounted()                         // it is known of all together only
	s.Workers, s.Readers, s.Pipelines = nil, nil, nil // whose messages a pipeline takes nobody says
	for _, w := range l.Workers {
		if w, ok := h.visibleWorker(&w, u, seen); ok {
			s.Workers = append(s.Workers, w)
		}
	}
	s.Pools = slices.DeleteFunc(slices.Clone(s.Pools), func(p view.Pool) bool { return !limitsAny(&out, &p) })
	for i := range s.Pools {
		s.Pools[i].Types = slices.DeleteFunc(slices.Clone(s.Pools[i].Types), func(name string) bool { return !slices.Contains(typeNames(&out), name) })
	}
	s.Missing = slices.Clone(s.Missing)
	for i := range s.Missing {
		s.Missing[i].What, s.Missing[i].Why = "a part", "it may be of what cannot be seen from here"
	}
	return &out
}

// hiddenFrom reports whether a user may not see a queue.
func (h *Handler) hiddenFrom(u User) func(queue string) bool {
	return func(queue string) bool { return !h.sees(u, place{Queue: queue}) }
}

// visibleWorker is what a user may see of a worker, nothing if it serves no queue that they see.
func (h *Handler) visibleWorker(w *registry.Node, u User, seen map[tally.Pair]bool) (registry.Node, bool) {
	out := *w
	out.Queues = slices.DeleteFunc(slices.Clone(w.Queues), h.hiddenFrom(u))
	out.Types = slices.DeleteFunc(slices.Clone(w.Types), func(name string) bool {
		return !slices.ContainsFunc(out.Queues, func(queue string) bool { return seen[tally.Pair{Queue: queue, Type: name}] })
	})
	out.ByType = only(w.ByType, func(pair string) bool {
		queue, typ, _ := strings.Cut(pair, "/")
		return h.sees(u, place{queue, typ})
	})
	sees := func(queue string) bool { return h.sees(u, place{Queue: queue}) }
	out.StrictWeights, out.QueueSlotsFree, out.Objectives = only(w.StrictWeights, sees), only(w.QueueSlotsFree, sees), only(w.Objectives, sees)
	out.Running = slices.DeleteFunc(slices.Clone(w.Running), func(r registry.Running) bool { return !h.sees(u, place{r.Queue, r.Type}) })
	if len(out.Queues) < len(w.Queues) {
		out.Pipelines = nil // what of them is of the queues that can be seen nobody says
	}
	return out, len(out.Queues) > 0
}

// only is what a map has under keys that may be seen, nil if it is.
func only[V any](all map[string]V, sees func(key string) bool) map[string]V {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(key string, _ V) bool { return !sees(key) })
	return out
}

// limitsAny reports whether a limit holds for something that can be seen.
func limitsAny(l *look, p *view.Pool) bool {
	for i := range l.Queues {
		if p.Name == "queue="+l.Queues[i].Name {
			return true
		}
		for j := range l.Queues[i].Types {
			if limits(p, &l.Queues[i].Types[j]) {
				return true
			}
		}
	}
	return false
}

// seesRecord reports whether a user may see what somebody did: what they did themselves and, of the rest,
// what was done to a queue, a type or a job that they see. It is asked where they do not see everything.
func (h *Handler) seesRecord(u User, l *look, r *audit.Record) bool {
	if r.By == u.Name {
		return true
	}
	parts := strings.Split(r.Ref, "/")
	if !slices.ContainsFunc(l.Queues, func(q view.Queue) bool { return q.Name == parts[0] }) {
		return false
	}
	return len(parts) == 1 || h.sees(u, place{parts[0], parts[1]})
}
