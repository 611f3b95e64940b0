package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/view"
)

type workersView struct {
	*look
	Workers     []registry.Node
	Filter      string
	Slots, Used int
	All         int
	By          string // what they are grouped by; empty: nothing
	Groups      []workerGroup
}

// A workerGroup is workers that have something in common.
type workerGroup struct {
	Name        string
	Workers     []registry.Node
	Slots, Used int
}

// workerGroups are what workers can be grouped by.
func workerGroups() map[string]func(*registry.Node) string {
	return map[string]func(*registry.Node) string{
		"host": func(w *registry.Node) string { return w.Host }, "version": func(w *registry.Node) string { return w.Version },
		"state":  func(w *registry.Node) string { return w.State },
		"queues": func(w *registry.Node) string { return strings.Join(w.Queues, ", ") },
	}
}

// nodes are the workers, and the processes whose pipelines read streams.
func (l *look) nodes() []registry.Node { return slices.Concat(l.Workers, l.Readers) }

// group puts workers together.
func (d *workersView) group() {
	of := workerGroups()[d.By]
	groups := make(map[string]*workerGroup)
	for i := range d.Workers {
		w, name := &d.Workers[i], ""
		if of != nil {
			name = of(w)
		}
		g := groups[name]
		if g == nil {
			g = &workerGroup{Name: name}
			groups[name] = g
		}
		g.Workers = append(g.Workers, *w)
		g.Used += w.RunningTotal
		if w.State != registry.Draining {
			g.Slots += w.Concurrency
		}
	}
	for _, name := range sortedKeys(groups) {
		d.Groups = append(d.Groups, *groups[name])
	}
}

// readers are the processes whose pipelines read streams that the filter has.
func (d *workersView) readers() []registry.Node {
	return slices.DeleteFunc(slices.Clone(d.Readers), func(n registry.Node) bool {
		return !slices.ContainsFunc(d.Shown(), func(p *view.Pipeline) bool {
			return slices.ContainsFunc(p.Processes, func(at view.PipelineProcess) bool { return at.Worker == n.ID })
		})
	})
}

// Shown are the pipelines that the filter has.
func (d *workersView) Shown() (all []*view.Pipeline) {
	for i := range d.Pipelines {
		p := &d.Pipelines[i]
		named := []string{p.Name, p.Stream, p.Consumer}
		for _, at := range p.Processes {
			named = append(named, at.Worker)
		}
		if strings.Contains(strings.Join(named, " "), d.Filter) {
			all = append(all, p)
		}
	}
	return all
}

func (h *Handler) workersPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	d := &workersView{look: l, Filter: strings.TrimSpace(v.r.URL.Query().Get("name")), All: len(l.Workers), By: v.r.URL.Query().Get("by")}
	for _, w := range l.Workers {
		d.Used += w.SlotsUsed()
		if w.State != registry.Draining {
			d.Slots += w.Concurrency
		}
		text := strings.Join(append(append([]string{w.ID, w.Host, w.Version, w.State}, w.Queues...), w.Types...), " ")
		if strings.Contains(text, d.Filter) {
			d.Workers = append(d.Workers, w)
		}
	}
	if d.By != "" && workerGroups()[d.By] == nil {
		return nil, badForm("by", "want "+strings.Join(sortedKeys(workerGroups()), ", "))
	}
	d.group()
	return &page{title: "Workers", section: "Workers", template: "workers", data: d}, nil
}

type workerView struct {
	*look
	Worker   registry.Node
	Running  []runRow
	Permits  []permitRow
	Counters []counterRow
	Tree     treeView
}

// A treeView is a worker's supervision tree.
type treeView struct {
	Rows    []treeRow // nil: it did not say
	Trouble int       // of them do not run, or were restarted
}

// A treeRow is a part of a worker's supervision tree, as deep as its indentation.
type treeRow struct {
	supervisor.Node

	Depth int
}

func treeOf(n *supervisor.Node) treeView {
	out := treeView{Rows: treeRows(n, 0)}
	for i := range out.Rows {
		if r := &out.Rows[i]; r.State != supervisor.StateRunning || r.Restarts > 0 || r.Abandoned > 0 {
			out.Trouble++
		}
	}
	return out
}

// treeRows are a tree from its root downwards.
func treeRows(n *supervisor.Node, depth int) (all []treeRow) {
	if n == nil {
		return nil
	}
	all = append(all, treeRow{*n, depth})
	for i := range n.Children {
		all = append(all, treeRows(&n.Children[i], depth+1)...)
	}
	return all
}

// A permitRow is what a worker has of a limit.
type permitRow struct {
	Pool             string
	Held, Used, Want int
}

type counterRow struct {
	Name string
	N    uint64
}

func (h *Handler) workerPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	id := v.r.PathValue("worker")
	nodes := l.nodes()
	i := slices.IndexFunc(nodes, func(w registry.Node) bool { return w.ID == id })
	if i < 0 {
		return nil, &problem{status: http.StatusNotFound, title: "There is no worker " + id, text: "It has stopped, or was not heard of for so long that it is taken for gone. Each start has an id of its own."}
	}
	d := &workerView{look: l, Worker: nodes[i]}
	tree, err := h.registry.Tree(ctx, id)
	if err != nil {
		tree = nil // the rest of the page is shown
	}
	d.Tree = treeOf(tree)
	for _, r := range d.Worker.Running {
		if h.sees(v.user, place{r.Queue, r.Type}) {
			d.Running = append(d.Running, runRow{r.Queue, r.Type, r.ID, id, r.Since})
		}
	}
	for i := range l.Pools {
		for _, g := range l.Pools[i].Grants {
			if g.Worker == id {
				d.Permits = append(d.Permits, permitRow{l.Pools[i].Name, g.Held, g.Used, g.Want})
			}
		}
	}
	for _, name := range sortedKeys(d.Worker.Counters) {
		d.Counters = append(d.Counters, counterRow{name, d.Worker.Counters[name]})
	}
	return &page{title: "Worker " + d.Worker.Name, section: "Workers", template: "worker", data: d}, nil
}

// tellTree is the supervision tree of a worker, as it says itself.
func (h *Handler) tellTree(ctx context.Context, v *visit) (any, error) {
	if _, err := v.look(ctx); err != nil {
		return nil, err
	}
	tree, err := h.registry.Tree(ctx, v.r.PathValue("worker"))
	if err != nil {
		return nil, err
	}
	if tree == nil {
		return nil, &problem{status: http.StatusNotFound, title: "No worker said its tree", text: "It is gone, hangs, or is of an earlier version."}
	}
	return tree, nil
}

// drain orders a worker to take no new jobs, or to take them again.
func (h *Handler) drain(ctx context.Context, v *visit) (*notice, error) {
	id, end := v.r.PathValue("worker"), v.r.PostFormValue("end") != ""
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(l.nodes(), func(w registry.Node) bool { return w.ID == id }) {
		return nil, &problem{status: http.StatusNotFound, title: "There is no worker " + id, text: "It has stopped meanwhile. Nothing was done."}
	}
	store := h.registry.As(v.user.Name)
	if end {
		if err := store.Undrain(ctx, id); err != nil {
			return nil, err
		}
		h.record(ctx, v, audit.Record{Action: audit.Undrain, Ref: id, Count: 1})
		return done("%s was told to take jobs again.", id), nil
	}
	if err := store.Drain(ctx, id); err != nil {
		return nil, err
	}
	h.record(ctx, v, audit.Record{Action: audit.Drain, Ref: id, Count: 1})
	return done("%s was told to take no new jobs, for an hour or until that is ended. What runs goes on.", id), nil
}
