package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

// A lister is the command list, or the list of dead jobs.
type lister struct {
	picker  picker
	most    int
	cursor  string
	newest  bool
	oldest  bool
	all     bool
	payload bool

	dead  bool // these alone
	meant filter.Filter
}

func listCommand(a *app) *cobra.Command {
	c := &lister{}
	cmd := a.command(spec{
		use:   "list [FILTER]...",
		short: "Jobs, by a filter",
		long: "List the jobs that a filter means: those that run and those that are ready with the oldest first, all\n" +
			"others with the newest first. A word by itself is an id or, if no job has it, a part of payloads.\n\n" +
			"What the broker cannot tell by state, queue, type or time is read and looked at, within a budget.\n" +
			"Then it says what it has looked at, and a cursor that goes on from there.",
		example: "  millhand list state:ready type:import -n 3\n  millhand list state:dead error:'connection refused' age:..24h\n" +
			"  millhand list -q default -state:succeeded --since 10m\n  millhand list meta.customer:42 --all -o ndjson",
		formats:  ofList(),
		args:     cobra.ArbitraryArgs,
		complete: termNames,
		run:      c.run,
	})
	c.register(cmd)
	c.picker.register(a, cmd, filter.Queue, filter.Type, filter.State, filter.ID, filter.Worker, filter.Error, filter.Since, filter.Until)
	return cmd
}

func (c *lister) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVarP(&c.most, "count", "n", 50, "list `N` jobs at most")
	fs.BoolVar(&c.all, "all", false, "list all that match, however long that takes")
	fs.StringVar(&c.cursor, "cursor", "", "go on where a list with the same filter ended, which has printed this `CURSOR`")
	fs.BoolVar(&c.newest, "newest", false, "the newest first")
	fs.BoolVar(&c.oldest, "oldest", false, "the oldest first")
	fs.BoolVar(&c.payload, "payload", false, "with -o json and ndjson: the payloads, too")
}

func (c *lister) run(ctx context.Context, s *session, args []string) error {
	f, err := c.picker.filter(args)
	if err != nil {
		return err
	}
	switch {
	case c.newest && c.oldest:
		return cli.Usagef("--newest and --oldest: use one")
	case c.most < 1:
		return cli.Usagef("--count %d: must be at least 1; --all lists all", c.most)
	case c.dead && f.Has(filter.State):
		return cli.Usagef("state: these are dead all; 'millhand list' has the others")
	case c.dead:
		f = thatAreDead(f)
	}
	c.meant = f
	q := view.Query{Filter: f, Cursor: c.cursor, N: c.most, Order: c.order(), Search: f.Class() == filter.Scan}
	if !f.Has(filter.Word) {
		return c.pages(ctx, s, q)
	}
	q.Filter = f.As(filter.ID)
	if checkNames(q.Filter) == nil { // else it can be no id
		page, err := s.list(ctx, q)
		if err != nil {
			return err
		}
		if len(page.Jobs) > 0 {
			return c.print(ctx, s, page)
		}
	}
	q.Filter = f.As(filter.Payload)
	if err := c.pages(ctx, s, q); err != nil || !c.dead || len(args) != 1 {
		return err
	}
	if hint := meant(args[0], "dead", "groups", "export", "delete"); hint != "" {
		s.warn("%q was looked for in payloads%s", args[0], hint)
	}
	return nil
}

func (c *lister) order() view.Order {
	switch {
	case c.newest:
		return view.NewestFirst
	case c.oldest:
		return view.OldestFirst
	}
	return view.Usual
}

// pages prints a page, or all.
func (c *lister) pages(ctx context.Context, s *session, q view.Query) error {
	if !c.all {
		page, err := s.list(ctx, q)
		if err != nil {
			return err
		}
		return c.print(ctx, s, page)
	}
	var whole *view.Page // of -o json, which is one object
	for {
		page, err := s.list(ctx, q)
		if err != nil {
			return err
		}
		q.Cursor, page.Cursor = page.Cursor, ""
		switch {
		case s.output != formatJSON:
			if len(page.Jobs) > 0 || q.Cursor == "" {
				err = c.print(ctx, s, page)
			}
		case whole == nil:
			whole = page
		default:
			whole.Jobs = append(whole.Jobs, page.Jobs...)
			page.Looked.Messages += whole.Looked.Messages
			page.Looked.Of.Value = max(page.Looked.Of.Value, page.Looked.Messages)
			whole.Looked = page.Looked
		}
		if err != nil {
			return err
		}
		if q.Cursor == "" {
			break
		}
	}
	if whole == nil {
		return nil
	}
	return c.print(ctx, s, whole)
}

// list reads a page. What is wrong with a cursor is the caller's.
func (s *session) list(ctx context.Context, q view.Query) (*view.Page, error) {
	page, err := s.view.List(ctx, q)
	if errors.Is(err, view.ErrCursor) {
		return nil, cli.Usagef("--cursor: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return page, nil
}

func (c *lister) print(ctx context.Context, s *session, page *view.Page) error {
	jobs := make([]answer.Listed, 0, len(page.Jobs))
	for _, j := range page.Jobs {
		l := answer.Listed{Job: j}
		if c.payload {
			l.Payload = answer.PayloadOf(j.Payload)
		}
		jobs = append(jobs, l)
	}
	l := &listing[answer.Listed]{
		key: "jobs", columns: c.columns(),
		row:   func(j answer.Listed) []cell { return c.row(s, &j.Job) },
		name:  func(j answer.Listed) string { return ref{j.Queue, j.Type, j.ID}.String() },
		empty: none,
		object: func(jobs []answer.Listed) any {
			return answer.ListedPage{Jobs: jobs, Class: page.Class, Total: page.Total, Looked: page.Looked, Cursor: page.Cursor}
		},
	}
	if len(jobs) > 0 || s.output == formatJSON {
		if err := l.print(s.app, jobs); err != nil {
			return err
		}
	}
	if s.output == formatJSON {
		return nil
	}
	s.note(page)
	if len(jobs) == 0 {
		s.warnOfNames(ctx, c.meant)
	}
	return nil
}

// warnOfNames says which queues and types of a filter there are none of: they may be misspelt. Jobs that have
// ended may be of types that there are not any more.
func (s *session) warnOfNames(ctx context.Context, f filter.Filter) {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return // what was found is told
	}
	var queues, types []string
	for i := range snap.Queues {
		queues = append(queues, snap.Queues[i].Name)
	}
	for _, t := range typesOf(snap) {
		types = append(types, t.Name)
	}
	for _, k := range []struct {
		key   filter.Key
		known []string
	}{{filter.Queue, queues}, {filter.Type, types}} {
		names, _ := f.Names(k.key)
		for _, name := range names {
			if slices.Contains(k.known, name) {
				continue
			}
			hint := "; 'millhand " + string(k.key) + "s' has those there are"
			if near := filter.Nearest(name, k.known); near != "" {
				hint = "; did you mean " + string(k.key) + ":" + near + "?"
			}
			s.warn("no %s %s is known%s", k.key, name, hint)
		}
	}
}

// note says below a list what it is a part of, and how to go on. It is no part of the list: a pipe does
// not get it.
func (s *session) note(page *view.Page) {
	text := noteText(s, page)
	if page.Cursor != "" {
		text += "; more: --cursor " + page.Cursor
	}
	_, _ = fmt.Fprintln(s.err, cli.OneLine(text)) // for people
}

// noteText says what a list is a part of.
func noteText(s *session, page *view.Page) string {
	n := thousands(int64(len(page.Jobs)))
	switch {
	case page.Class == filter.Scan || page.Cursor != "" && !page.Total.Known():
		return fmt.Sprintf("%s found; looked at %s of %s%s%s", n, thousands(page.Looked.Messages), countText(page.Looked.Of), orderText(page.Looked.Order), s.backText(page))
	case page.Cursor != "":
		return n + " of " + countText(page.Total) + orderText(page.Looked.Order)
	case len(page.Jobs) == 0:
		return "no job matches"
	}
	return plural(len(page.Jobs), "job", "jobs") + orderText(page.Looked.Order)
}

func orderText(o view.Order) string {
	switch o {
	case view.NewestFirst:
		return ", newest first"
	case view.OldestFirst:
		return ", oldest first"
	case view.Usual:
	}
	return ""
}

func (s *session) backText(page *view.Page) string {
	switch {
	case page.Looked.BackTo.IsZero() || page.Cursor == "":
		return ""
	case page.Looked.Order == view.OldestFirst:
		return ", up to " + s.moment(page.Looked.BackTo)
	}
	return ", back to " + s.moment(page.Looked.BackTo)
}

func (c *lister) columns() []column {
	if c.dead {
		return []column{{title: "JOB"}, {title: "QUEUE", spare: true}, {title: "TYPE"}, {title: "DIED"}, {title: "ATTEMPT", right: true, spare: true}, {title: "REASON"}, {title: "ERROR"}}
	}
	return []column{{title: "JOB", short: shortID}, {title: "QUEUE", spare: true}, {title: "TYPE"}, {title: "STATE"}, {title: "AGE"}, {title: "ATTEMPT", right: true, spare: true}, {title: "INFO"}}
}

func (c *lister) row(s *session, j *view.Job) []cell {
	if c.dead {
		return []cell{plain(j.ID), plain(j.Queue), plain(j.Type), plain(s.age(j.Since)), number(j.Attempt), plain(j.Reason), plain(j.Error)}
	}
	return []cell{plain(j.ID), plain(j.Queue), plain(j.Type), stateCell(j.State), plain(s.age(j.Since)), number(j.Attempt), plain(s.info(j))}
}

func stateCell(state job.State) cell {
	c := cell{text: string(state)}
	switch state {
	case job.Dead:
		c.style = red
	case job.Retrying:
		c.style = yellow
	case job.Running:
		c.style = green
	case job.Scheduled, job.Ready, job.Succeeded, job.Cancelled:
	}
	return c
}

// info is what else there is to know of a job in a list.
func (s *session) info(j *view.Job) string {
	var parts []string
	switch j.State {
	case job.Scheduled, job.Retrying:
		parts = append(parts, "due "+s.dueText(j))
	case job.Running:
		parts = append(parts, "on "+j.Worker)
	case job.Ready, job.Succeeded, job.Dead, job.Cancelled:
	}
	if j.Reason != "" {
		parts = append(parts, j.Reason)
	}
	switch {
	case j.Error != "" && j.State.Final():
		parts = append(parts, j.Error)
	case j.Error != "":
		parts = append(parts, "after: "+j.Error)
	}
	return strings.Join(parts, ", ")
}

func (s *session) dueText(j *view.Job) string {
	if s.absolute {
		return s.moment(j.RunAt)
	}
	return "in " + span(max(j.RunAt.Sub(s.now), 0))
}
