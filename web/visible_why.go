package web

import (
	"maps"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// onlyVisible leaves of a case the jobs that a user may see: others are named by nothing that follows from it.
func (v *visit) onlyVisible(c *view.Case) {
	running := func(nodes []registry.Node) []registry.Node {
		out := slices.Clone(nodes)
		for i := range out {
			out[i].Running = slices.DeleteFunc(slices.Clone(out[i].Running), func(r registry.Running) bool { return !v.h.sees(v.user, place{r.Queue, r.Type}) })
		}
		return out
	}
	c.Registry.Nodes, c.Located.Nodes = running(c.Registry.Nodes), running(c.Located.Nodes)
}

// visibleAnswer leaves of an answer what names or counts queues, types and workers that a user may not see. That
// something of others is in the way is told.
func (v *visit) visibleAnswer(a *explain.Answer, nodes []registry.Node) *explain.Answer {
	out := *a
	out.Reasons = slices.Clone(a.Reasons)
	var hidden []string // which no advice is to name
	for i := range out.Reasons {
		r := &out.Reasons[i]
		switch d := r.Data.(type) {
		case explain.QueuesData:
			kept := slices.DeleteFunc(slices.Clone(d.Queues), v.h.hiddenFrom(v.user))
			if len(kept) < len(d.Queues) {
				hidden = append(hidden, d.Queues...)
				r.Text, r.Data = "jobs wait in queues that go first", explain.QueuesData{Queues: kept, How: string(view.Unknown)}
			}
		case explain.SlotsData:
			used := maps.Clone(d.Used)
			maps.DeleteFunc(used, func(at string, _ int) bool {
				queue, typ, _ := strings.Cut(at, "/")
				return !v.h.sees(v.user, place{queue, typ})
			})
			if len(used) < len(d.Used) {
				d.Used, r.Data = used, d
				r.Text, _, _ = strings.Cut(r.Text, ": ")
				r.Data = d
			}
		case explain.NearData:
			near := explain.NearData{
				OtherQueues: v.visibleIDs(d.OtherQueues, nodes), OtherTypes: v.visibleIDs(d.OtherTypes, nodes),
				Draining: v.visibleIDs(d.Draining, nodes), Silent: v.visibleIDs(d.Silent, nodes),
			}
			if len(near.OtherQueues) < len(d.OtherQueues) {
				r.Text, _, _ = strings.Cut(r.Text, "; ")
				r.Data = near
			}
		}
	}
	out.Advice = slices.DeleteFunc(slices.Clone(a.Advice), func(advice explain.Advice) bool {
		return slices.Contains(hidden, advice.Command[strings.LastIndexByte(advice.Command, ' ')+1:])
	})
	return &out
}

// visibleIDs are the workers that serve a queue which a user may see.
func (v *visit) visibleIDs(ids []string, nodes []registry.Node) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		i := slices.IndexFunc(nodes, func(n registry.Node) bool { return n.ID == id })
		return i < 0 || !slices.ContainsFunc(nodes[i].Queues, func(queue string) bool { return v.h.sees(v.user, place{Queue: queue}) })
	})
}
