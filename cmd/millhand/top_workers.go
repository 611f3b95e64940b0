package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/view"
)

func (l *loading) workers(ctx context.Context) error {
	workers, err := l.client.Workers(ctx)
	if err != nil {
		return err
	}
	from := l.workersListing(nil)
	clocks := make(map[string]string)
	if snap, err := l.snapshot(ctx); err == nil { // without it, only how their clocks go is not known
		for i := range snap.Workers {
			clocks[snap.Workers[i].ID] = clockText(snap.Workers[i].ClockAhead)
		}
	}
	const queues, slots = 7, 3
	from.columns = slices.Insert(from.columns, queues, column{title: "CLOCK", right: true, spare: true})
	from.columns = slices.Insert(from.columns, slots, column{title: "", spare: true})
	row := from.row
	from.row = func(w millhand.WorkerInfo) []cell {
		cells := slices.Insert(row(w), queues, plain(cmp.Or(clocks[w.ID], none)))
		return slices.Insert(cells, slots, plain(bar10(w.SlotsUsed(), w.Concurrency)))
	}
	showTable(l, from, workers, func(w millhand.WorkerInfo) topRow {
		return topRow{
			Row:   console.Row{Name: w.ID, Into: &console.Screen{Kind: console.Worker, Of: w.ID}, Can: []console.Op{console.Drain}},
			match: filter.Job{Worker: w.ID, ID: w.ID},
		}
	})
	all, used := 0, 0
	for _, w := range workers {
		all, used = all+w.Concurrency, used+w.SlotsUsed()
	}
	l.page.Note = strings.TrimPrefix(l.page.Note+", ", ", ") + fmt.Sprintf("%s, %s, %s used", plural(len(workers), "worker", "workers"), plural(all, "slot", "slots"), thousands(int64(used)))
	l.page.Command = "millhand workers"
	return nil
}

// clockText is how far a worker's clock is ahead of the broker's.
func clockText(seconds float64) string {
	return fmt.Sprintf("%+dms", time.Duration(seconds*float64(time.Second)).Milliseconds())
}

// bar10 is a part of a whole, in ten columns.
func bar10(n, of int) string {
	const width = 10
	full := 0
	if of > 0 {
		full = min(width, (n*width+of-1)/of)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// worker is one worker with what it runs.
func (l *loading) worker(ctx context.Context) error {
	workers, err := l.client.Workers(ctx)
	if err != nil {
		return err
	}
	found, err := chosen(workers, []string{l.screen.Of})
	if err != nil {
		return err
	}
	w := found[0]
	l.page.Title = "worker " + w.ID
	l.page.Note = fmt.Sprintf("%s, %d of %s used, up %s, seen %s", w.State, w.SlotsUsed(), plural(w.Concurrency, "slot", "slots"), l.age(w.Started), l.ago(w.Seen))
	l.page.Head = []console.Line{
		console.Text(fmt.Sprintf(" host %s   pid %d   version %s", w.Host, w.PID, w.Version)),
		console.Text(" queues " + strings.Join(slices.Sorted(slices.Values(w.Queues)), ", ")),
		console.Text(" types  " + strings.Join(slices.Sorted(slices.Values(w.Types)), ", ")),
	}
	snap, err := l.snapshot(ctx)
	if err != nil {
		return err
	}
	l.page.Head = append(l.page.Head, console.Text(" permits "+permitsText(snap, w.ID)))
	tree, err := l.registry.Tree(ctx, w.ID)
	if err != nil {
		return err
	}
	l.page.Head = append(append(l.page.Head, treeLines(tree)...), nil)
	note := l.page.Note
	from := &listing[millhand.RunningJob]{
		columns: []column{{title: "JOB", short: shortID}, {title: "QUEUE", spare: true}, {title: "TYPE"}, {title: "FOR"}, {title: "PROGRESS"}},
		row: func(j millhand.RunningJob) []cell {
			return []cell{plain(j.ID), plain(j.Queue), plain(j.Type), plain(l.age(j.Since)), plain(progressText(j.Progress))}
		},
		empty: "it runs nothing",
	}
	showTable(l, from, w.Running, func(j millhand.RunningJob) topRow {
		name := refOf(j.Ref).String()
		return topRow{
			Row:   console.Row{Name: name, Into: &console.Screen{Kind: console.Job, Of: name}, Why: name, Can: []console.Op{console.Cancel}},
			match: filter.Job{Queue: j.Queue, Type: j.Type, ID: j.ID, Worker: w.ID},
		}
	})
	l.page.Note, l.page.Command = note, "millhand workers "+w.ID
	l.page.Name, l.page.Can = w.ID, []console.Op{console.Drain}
	return nil
}

// mostParts is how many parts of a tree are told of.
const mostParts = 5

// treeLines are what is to be known of a worker's supervision tree: that all of it runs, or what does not.
func treeLines(tree *supervisor.Node) []console.Line {
	if tree == nil {
		return []console.Line{console.Text(" tree    it did not say")}
	}
	all := 0
	var lines []console.Line
	var visit func(n *supervisor.Node, path string)
	visit = func(n *supervisor.Node, path string) {
		all++
		if path = strings.TrimPrefix(path+" › "+n.Name, " › "); n.State != supervisor.StateRunning || n.Restarts > 0 {
			text := fmt.Sprintf("         %s %s, %s", path, n.State, plural(n.Restarts, "restart", "restarts"))
			if n.LastError != "" {
				text += ", the last after: " + cli.OneLine(n.LastError)
			}
			lines = append(lines, console.Line{{Text: text, Style: console.Yellow}})
		}
		for i := range n.Children {
			visit(&n.Children[i], path)
		}
	}
	visit(tree, "")
	if len(lines) == 0 {
		return []console.Line{console.Text(fmt.Sprintf(" tree    %d parts, all run, and none was restarted", all))}
	}
	head := console.Text(fmt.Sprintf(" tree    %d parts, %d of them not running, or restarted before", all, len(lines)))
	return append([]console.Line{head}, lines[:min(len(lines), mostParts)]...)
}

// permitsText is what a worker has of limits.
func permitsText(snap *view.Snapshot, worker string) string {
	var parts []string
	for i := range snap.Pools {
		p := &snap.Pools[i]
		for _, g := range p.Grants {
			if g.Worker == worker && g.Held > 0 {
				parts = append(parts, fmt.Sprintf("%s %d (%d used)", poolName(p), g.Held, g.Used))
			}
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

// limits are quotas and rates.
func (l *loading) limits(ctx context.Context) error {
	snap, err := l.snapshot(ctx)
	if err != nil {
		return err
	}
	from := (&limiter{}).listing(l.session)
	from.empty = "no limits; on a type, L sets one"
	from.columns = slices.Insert(from.columns, 3, column{title: "", spare: true})
	row := from.row
	from.row = func(p shownLimit) []cell {
		used := p.Used
		if !p.Rate {
			used = int(p.Running.Value)
		}
		return slices.Insert(row(p), 3, plain(bar10(used, p.Limit)))
	}
	showTable(l, from, limitsOf(snap, snap.Pools), func(p shownLimit) topRow {
		return topRow{
			Row:   console.Row{Name: poolName(&p.Pool), Into: holdersScreen(snap, &p.Pool), Can: []console.Op{console.Limit}, Detail: holdersText(&p.Pool)},
			match: filter.Job{Type: p.Name, ID: p.Name},
		}
	})
	l.page.Command = "millhand quota; millhand rate"
	return nil
}

// poolName tells a quota and a rate of one thing apart.
func poolName(p *view.Pool) string { return answer.LimitedBy(p) + " " + p.Name }

// holdersText is which workers have permits of a limit.
func holdersText(p *view.Pool) string {
	var parts []string
	for i := range p.Grants {
		if g := &p.Grants[i]; g.Held > 0 {
			parts = append(parts, fmt.Sprintf("%s %d (%d used)", g.Worker, g.Held, g.Used))
		}
	}
	if len(parts) == 0 {
		return "no worker has a permit of it"
	}
	return "held by " + strings.Join(parts, ", ")
}

// holdersScreen lists the jobs that run under a limit; nil: it is of nothing that is there.
func holdersScreen(snap *view.Snapshot, p *view.Pool) *console.Screen {
	var types []string
	for i := range snap.Queues {
		for j := range snap.Queues[i].Types {
			if t := &snap.Queues[i].Types[j]; answer.Limits(p, t) && !slices.Contains(types, t.Name) {
				types = append(types, t.Name)
			}
		}
	}
	if len(types) == 0 {
		return nil
	}
	return jobsScreen("state:running", "type:"+strings.Join(types, ","))
}
