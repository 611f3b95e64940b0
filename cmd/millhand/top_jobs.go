package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// pageOfJobs is how many jobs a page of the console has, and mostPages how many are read anew each time.
const (
	pageOfJobs = 50
	mostPages  = 10
)

// shortID is as much of an id as is shown where there is no room for more.
const shortID = 20

func (l *loading) jobs(ctx context.Context) error {
	pages := max(1, min(l.screen.Pages, mostPages))
	q := view.Query{Filter: l.filter, N: pages * pageOfJobs}
	if l.filter.Has(filter.Word) { // an id, or else a part of the payload
		q.Filter = l.filter.As(filter.ID)
	}
	page := &view.Page{}
	var err error
	if checkNames(q.Filter) == nil { // else it can be no id
		if page, err = l.list(ctx, q); err != nil {
			return err
		}
	}
	if l.filter.Has(filter.Word) && len(page.Jobs) == 0 {
		q.Filter = l.filter.As(filter.Payload)
		if page, err = l.list(ctx, q); err != nil {
			return err
		}
	}
	if snap, err := l.view.Snapshot(ctx); err == nil {
		l.now = snap.At // to which ages are relative
	}
	c := &lister{}
	from := &listing[view.Job]{columns: c.columns(), empty: "no job matches", row: func(j view.Job) []cell { return c.row(l.session, &j) }}
	if page.Cursor != "" {
		from.empty = fmt.Sprintf("none in the %s looked at: PgDn looks at more", thousands(page.Looked.Messages))
	}
	shown := l.filter
	l.filter = filter.Filter{} // the list has only what is meant
	showTable(l, from, page.Jobs, func(j view.Job) topRow { return topRow{Row: l.jobRow(&j)} })
	l.page.More = page.Cursor != "" && pages < mostPages
	l.page.Note = noteText(l.session, page)
	l.page.Command = strings.TrimSpace("millhand list " + shown.String())
	l.page.All = []console.Op{console.Retry, console.RunNow, console.Cancel, console.Delete}
	return nil
}

// jobRow is a job in a list, with what can be done to it in its state.
func (s *session) jobRow(j *view.Job) console.Row {
	name := ref{j.Queue, j.Type, j.ID}.String()
	return console.Row{
		Name: name, Into: &console.Screen{Kind: console.Job, Of: name}, Why: name, Can: opsOf(j.State),
		Detail: cli.OneLine(strings.TrimSpace(name + "  " + s.info(j))),
	}
}

func opsOf(state job.State) []console.Op {
	switch state {
	case job.Dead:
		return []console.Op{console.Retry, console.Delete}
	case job.Scheduled, job.Retrying:
		return []console.Op{console.RunNow, console.Cancel}
	case job.Ready, job.Running:
		return []console.Op{console.Cancel}
	case job.Succeeded, job.Cancelled:
	}
	return nil
}

func (l *loading) dead(ctx context.Context) error {
	f := thatAreDead(l.filter)
	groups, err := l.view.DeadGroups(ctx, view.Query{Filter: f}, false)
	if err != nil {
		return err
	}
	if snap, err := l.view.Snapshot(ctx); err == nil {
		l.now = snap.At
	}
	shown := l.filter
	l.filter = filter.Filter{}
	from := l.groupsListing()
	showTable(l, from, groups.Groups, func(g view.DeadGroup) topRow {
		return topRow{Row: console.Row{
			Name: g.Group, Into: jobsScreen("state:dead", "group:"+g.Group, shown.String()), Can: []console.Op{console.Retry, console.Delete},
		}}
	})
	l.page.Note = plural(groups.Count, "dead job", "dead jobs") + " in " + plural(len(groups.Groups), "group", "groups")
	if groups.Partial {
		l.page.Note += ", of the newest " + thousands(groups.Looked)
	}
	l.page.Command = strings.TrimSpace("millhand dead groups " + shown.String())
	return nil
}

// thatAreDead has a filter mean dead jobs.
func thatAreDead(f filter.Filter) filter.Filter {
	return f.With(filter.Term{Key: filter.State, Values: []filter.Value{{Text: string(job.Dead)}}})
}

// placeOfScreen is the job that a screen is about.
func placeOfScreen(sc console.Screen) (job.Place, error) {
	r, err := parseRef(sc.Of)
	if err != nil {
		return job.Place{}, err
	}
	return job.PlaceOf(r.queue, r.typ, r.id)
}

func (l *loading) job(ctx context.Context) error {
	p, err := placeOfScreen(l.screen)
	if err != nil {
		return err
	}
	d, err := l.view.Job(ctx, p, "")
	if errors.Is(err, queue.ErrNotFound) {
		return notThere("job", l.screen.Of, noneNamed)
	}
	if err != nil {
		return fmt.Errorf("look at job %s: %w", l.screen.Of, err)
	}
	c := &inspector{stack: slices.ContainsFunc(d.Events, func(e queue.Event) bool { return e.Stack != "" })}
	if err := c.show(l.session, d); err != nil {
		return err
	}
	l.text()
	if err := l.addWhy(ctx, p, d.State); err != nil {
		return err
	}
	l.page.Command = "millhand inspect " + l.screen.Of
	l.page.Name, l.page.Can, l.page.Why = l.screen.Of, opsOf(d.State), l.screen.Of
	return nil
}

// addWhy has beside a job that has not ended what it waits for.
func (l *loading) addWhy(ctx context.Context, p job.Place, state job.State) error {
	if state == job.Succeeded || state == job.Cancelled || state == job.Dead {
		return nil
	}
	a, err := l.why(ctx, p)
	if err != nil {
		return fmt.Errorf("look what job %s waits for: %w", l.screen.Of, err)
	}
	l.out.Reset()
	if err := l.showAnswer(a, ref{queue: a.Queue, typ: a.Type, id: a.ID}); err != nil {
		return err
	}
	l.page.Side = linesOfText(l.out.String())
	return nil
}

// explainJob says what a job waits for: the one that is named, or the oldest that is ready of a queue or type.
func (l *loading) explainJob(ctx context.Context) error {
	of := l.screen.Of
	if part, ok := strings.CutSuffix(of, "/"); ok {
		oldest, err := l.oldestOf(ctx, part)
		if err != nil {
			return err
		}
		if oldest == "" {
			l.page.Title, l.page.Empty = "why "+part, "nothing waits there"
			return nil
		}
		of = oldest
	}
	p, err := placeOfScreen(console.Screen{Of: of})
	if err != nil {
		return err
	}
	a, err := l.why(ctx, p)
	if err != nil {
		return fmt.Errorf("look at job %s: %w", of, err)
	}
	if err := l.showAnswer(a, ref{queue: a.Queue, typ: a.Type, id: a.ID}); err != nil {
		return err
	}
	l.text()
	l.page.Title, l.page.Command, l.page.Name = "why "+of, "millhand why "+of, of
	if a.First().Code != explain.NotFound {
		l.page.Can, l.page.Why = opsOf(a.State), of
	}
	return nil
}

// oldestOf is the name of the oldest ready job of a queue, or of a type in it; empty: there is none.
func (l *loading) oldestOf(ctx context.Context, part string) (string, error) {
	queueName, typ, _ := strings.Cut(part, "/")
	text := "state:ready queue:" + queueName
	if typ != "" {
		text += " type:" + typ
	}
	f, err := filter.Parse(text)
	if err != nil {
		return "", err
	}
	page, err := l.list(ctx, view.Query{Filter: f, N: 1})
	if err != nil || len(page.Jobs) == 0 {
		return "", err
	}
	j := &page.Jobs[0]
	return ref{j.Queue, j.Type, j.ID}.String(), nil
}
