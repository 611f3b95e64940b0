package web

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/view"
)

// A groupRow is dead jobs with errors of one group.
type groupRow struct {
	view.DeadGroup
	Filter string // that means them
}

// A pick is a select of a form, whose first choice is any.
type pick struct {
	Name   string
	Words  []string
	Is     string // what is picked; empty: any
	Before string // what stands before a word
}

type deadView struct {
	*look
	Groups  *view.DeadGroups
	Rows    []groupRow
	Picks   []pick
	Only    bool      // something is picked
	At      time.Time // when they were grouped
	Deep    bool
	Filter  string
	Actions []string
}

const (
	groupsFor = 30 * time.Second // for which groups are good enough: they are read from all of the dead
	maxGroups = 32               // that are remembered
)

// groupsKnown are groups that were made lately.
type groupsKnown struct {
	mu sync.Mutex
	of map[string]*groupsAt
}

type groupsAt struct {
	*view.DeadGroups
	at time.Time
}

// deadGroups groups the dead that a filter means, or returns what was grouped lately.
func (h *Handler) deadGroups(ctx context.Context, v *visit, f filter.Filter, all bool) (*groupsAt, error) {
	key := f.String()
	if all {
		key += " all"
	}
	if v.seen() != nil {
		key += "\x00" + v.user.Name + "\x00" + v.user.Role
	}
	h.groups.mu.Lock()
	known := h.groups.of[key]
	h.groups.mu.Unlock()
	if known != nil && time.Since(known.at) < groupsFor {
		return known, nil
	}
	g, err := h.data.view.DeadGroups(ctx, view.Query{Filter: f, Visible: v.seen()}, all)
	if err != nil {
		return nil, err
	}
	made := &groupsAt{g, time.Now()}
	h.groups.mu.Lock()
	defer h.groups.mu.Unlock()
	if h.groups.of == nil || len(h.groups.of) >= maxGroups {
		h.groups.of = make(map[string]*groupsAt)
	}
	h.groups.of[key] = made
	return made, nil
}

// forget has groups made anew: something was done to the dead.
func (k *groupsKnown) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.of = nil
}

func (h *Handler) deadPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	q := v.r.URL.Query()
	d := &deadView{look: l, Deep: q.Get("all") != "", Filter: "state:dead", Actions: []string{"retry", "delete"}, Picks: []pick{
		{Name: "type", Words: typeNames(l)},
		{Name: "reason", Words: []string{"exhausted", "permanent", "expired", "malformed", "crashed"}},
		{Name: "since", Words: []string{"1h", "24h", "7d"}, Before: "the last "},
	}}
	keys := map[string]filter.Key{"type": filter.Type, "reason": filter.Reason}
	for i := range d.Picks {
		p := &d.Picks[i]
		if p.Is = q.Get(p.Name); p.Is == "" {
			continue
		}
		if key, ok := keys[p.Name]; ok {
			d.Filter += " " + (&filter.Filter{Terms: []filter.Term{{Key: key, Values: []filter.Value{{Text: p.Is}}}}}).String()
		} else if length, err := filter.Duration(p.Is); err != nil || length <= 0 {
			return nil, badDuration(p.Name, err, "want a duration, such as 90s, 1h30m or 7d")
		} else {
			d.Filter += " age:.." + length.String()
		}
		d.Only = true
	}
	f, err := filter.Parse(d.Filter)
	if err != nil {
		return nil, badForm("type, reason", err.Error())
	}
	g, err := h.deadGroups(ctx, v, f, d.Deep)
	if err != nil {
		return nil, err
	}
	d.Groups, d.At = g.DeadGroups, g.at
	for _, group := range g.Groups {
		d.Rows = append(d.Rows, groupRow{group, d.Filter + " group:" + group.Group})
	}
	return &page{title: "Dead", section: "Dead", template: "dead", data: d}, nil
}

// List is the address of the jobs of a group.
func (g *groupRow) List() string {
	return "/jobs?" + url.Values{"filter": {strings.TrimSpace(g.Filter)}}.Encode()
}
