package web

import (
	"context"
	"net/url"
	"slices"
	"strings"

	problems "github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/view"
)

// judged are the facts of a snapshot, and what of them is wrong.
type judged struct {
	facts  *problems.Facts
	report *problems.Report
}

// judge says what is wrong as of a snapshot. All who look at it share that.
func (d *data) judge(ctx context.Context, s *view.Snapshot) *judged {
	d.mu.Lock()
	known := d.judged
	d.mu.Unlock()
	if known != nil && known.facts.Snapshot == s {
		return known
	}
	f := d.looker.Facts(ctx, s, nil)
	j := &judged{facts: f, report: problems.Decide(f)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.judged = j
	return j
}

func (d *data) lastJudged() *judged {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.judged
}

// report is what is wrong of what a look shows, nil if that is not known. Where not everybody sees
// everything it is decided anew by what is seen.
func (h *Handler) report(l *look) *problems.Report {
	switch {
	case l.judged == nil:
		return nil
	case h.opts.Visible == nil:
		return l.judged.report
	}
	f := *l.judged.facts
	f.Snapshot = l.Snapshot
	r := problems.Decide(&f)
	r.Problems = slices.DeleteFunc(r.Problems, func(p problems.Problem) bool { return !l.has(&p) })
	return r
}

// has reports whether a look has what a problem is about, as far as that does not follow from the snapshot.
func (l *look) has(p *problems.Problem) bool {
	switch p.Code {
	case problems.Dying, problems.Failing, problems.Lost: // by what was counted, of types in all queues
		return slices.Contains(typeNames(l), p.Subject)
	case problems.ScheduleLate: // likewise, of queues
		return slices.ContainsFunc(l.Queues, func(q view.Queue) bool { return q.Name == p.Subject })
	case problems.QuotaIdle: // limits are everybody's
		for i := range l.Pools {
			if pool := &l.Pools[i]; strings.HasPrefix(p.Subject, pool.Name+" at ") {
				return under(l, pool, func(*view.Queue, *view.Type) view.Count { return view.Count{Value: 1} }) > 0
			}
		}
		return false
	case problems.NoWorker, problems.Stalled, problems.NotPulled, problems.Late, problems.UnclaimedInHand, problems.PausedLong,
		problems.Stuck, problems.Rebuilt, problems.Clock, problems.Leaderless, problems.Lagging, problems.Disk, problems.Versions,
		problems.StatsGap, problems.DrainLong, problems.Unserved:
	}
	return true
}

// A problemRow is a problem in a list.
type problemRow struct {
	problems.Problem

	Kind string // error, warn or note
	Path string // where it goes on, without the base
	Do   string // what is there
	Hint string // what helps
}

func problemRows(r *problems.Report) (all []problemRow) {
	if r == nil {
		return nil
	}
	kinds := map[problems.Level]string{problems.Error: "error", problems.Warning: "warn", problems.Notice: "note"}
	for _, p := range r.Problems {
		row := problemRow{Problem: p, Kind: kinds[p.Level]}
		row.Path, row.Do = whereOf(&p)
		if p.Advice != nil {
			row.Hint = strings.TrimSpace(p.Advice.Text + "\n" + p.Advice.Command)
		}
		all = append(all, row)
	}
	return all
}

// whereOf is the page on which a problem can be looked into.
func whereOf(p *problems.Problem) (path, is string) {
	queue, typ, _ := strings.Cut(p.Subject, "/")
	jobs := func(filter string) (string, string) {
		return "/jobs?" + url.Values{"filter": {filter}}.Encode(), "jobs"
	}
	of := " queue:" + queue
	if typ != "" {
		of += " type:" + typ
	}
	switch p.Code {
	case problems.NoWorker, problems.NotPulled:
		if p.Subject != "" {
			return jobs("state:ready" + of)
		}
	case problems.Stalled, problems.UnclaimedInHand:
		return jobs("state:running" + of)
	case problems.Late, problems.PausedLong, problems.ScheduleLate:
		return "/queues/" + url.PathEscape(queue), "queue"
	case problems.Dying:
		return "/dead?" + url.Values{"type": {p.Subject}}.Encode(), "error groups"
	case problems.Failing:
		return jobs("state:retrying,dead type:" + p.Subject)
	case problems.Lost:
		return "/types/" + url.PathEscape(p.Subject), "type"
	case problems.QuotaIdle:
		return "/limits", "limits"
	case problems.Stuck, problems.Rebuilt, problems.Clock, problems.DrainLong:
		return "/workers/" + url.PathEscape(p.Subject), "worker"
	case problems.Unserved:
		return "/workers?" + url.Values{"name": {p.Subject}}.Encode(), "pipelines"
	case problems.Leaderless, problems.Lagging, problems.Disk:
		return "/broker", "broker"
	case problems.Versions:
		if p.Subject == "server" {
			return "/broker", "broker"
		}
	case problems.StatsGap:
	}
	return "/workers", "workers"
}
