package web

import (
	"context"
	"net/http"
	"net/url"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

// A frame is what is around all pages.
type frame struct {
	Title, Section string
	Charts         bool
	Look           *look // nil: none was taken
	Notice         *notice
	Live           string // where updates come from; empty: the page changes no more
	Problems       int
	Nav            []navItem
	Again          bool // it shows that the broker is away, and comes back by itself
}

// A navItem is an entry of the navigation.
type navItem struct {
	Name, Path, Key string
	Current         bool
	Count           string // empty: none is shown
	Alarm           bool   // the count is one to look at
	Sub             bool   // it belongs to the entry before it
}

// look takes a look for this visit, of what its user may see.
func (v *visit) look(ctx context.Context) (*look, error) {
	l, err := v.h.data.look(ctx)
	if err != nil {
		return nil, err
	}
	l = v.h.visible(l, v.user)
	v.now, v.looked = l.At, l
	return l, nil
}

func (v *visit) frame(p *page) *frame {
	f := &frame{Title: p.title, Section: p.section, Charts: p.charts, Look: v.looked}
	if shown, ok := p.data.(*problem); ok {
		f.Again = shown.status == http.StatusServiceUnavailable
	} else if !p.ended {
		f.Live = v.h.base + "/live" + v.here()
	}
	if !v.isLive() {
		f.Notice = v.takeNotice()
	}
	if v.looked != nil {
		if r := v.h.report(v.looked); r != nil {
			f.Problems = len(r.Problems)
		}
	}
	f.Nav = v.navigation(p.section)
	return f
}

// navigation are the entries that lead to all pages.
func (v *visit) navigation(section string) []navItem {
	jobs := func(s job.State) string { return "/jobs?" + url.Values{"filter": {"state:" + string(s)}}.Encode() }
	nav := []navItem{
		{Name: "Overview", Path: "/", Key: "o"},
		{Name: "Queues", Path: "/queues", Key: "q"},
		{Name: "Types", Path: "/types", Key: "t"},
		{Name: "Jobs", Path: "/jobs", Key: "j"},
		{Name: "Scheduled", Path: jobs(job.Scheduled), Sub: true},
		{Name: "Ready", Path: jobs(job.Ready), Sub: true},
		{Name: "Running", Path: jobs(job.Running), Sub: true},
		{Name: "Retrying", Path: jobs(job.Retrying), Sub: true},
		{Name: "Dead", Path: "/dead", Key: "d"},
		{Name: "Workflows", Path: "/workflows", Key: "f"},
		{Name: "Workers", Path: "/workers", Key: "w"},
		{Name: "Limits", Path: "/limits", Key: "l"},
		{Name: "Cron", Path: "/cron", Key: "c"},
		{Name: "Activity", Path: "/activity", Key: "a"},
		{Name: "Broker", Path: "/broker", Key: "b"},
	}
	for i := range nav {
		n := &nav[i]
		n.Current = !n.Sub && n.Name == section || n.Sub && n.Path == v.here()
		if v.looked != nil {
			n.Count = v.navCount(n.Name)
		}
	}
	return nav
}

// navCount is the number beside an entry of the navigation.
func (v *visit) navCount(name string) string {
	s := v.looked
	switch name {
	case "Queues":
		return thousands(int64(len(s.Queues)))
	case "Types":
		return thousands(int64(len(typeNames(s))))
	case "Scheduled":
		return short(total(s, func(q *view.Queue) view.Count { return q.Scheduled }))
	case "Ready":
		return short(total(s, answer.ReadyOf))
	case "Running":
		return short(total(s, func(q *view.Queue) view.Count { return q.Running }))
	case "Retrying":
		return short(total(s, func(q *view.Queue) view.Count { return q.Retrying }))
	case "Dead":
		return short(s.Dead)
	case "Workers":
		return thousands(int64(len(s.Workers)))
	case "Limits":
		return thousands(int64(len(s.Pools)))
	}
	return ""
}

// total adds up a count of all queues.
func total(l *look, of func(*view.Queue) view.Count) view.Count {
	sum := view.Counted(0, view.Exact, l.At)
	for i := range l.Queues {
		sum = sum.Plus(of(&l.Queues[i]))
	}
	return sum
}

// typeNames are the names of all types, sorted and each once.
func typeNames(l *look) []string {
	seen := make(map[string]bool)
	for i := range l.Queues {
		for j := range l.Queues[i].Types {
			seen[l.Queues[i].Types[j].Name] = true
		}
	}
	return sortedKeys(seen)
}
