package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/tally"
)

// lookWithin is how long a screen may take to be read, and planWithin how long it may take to count what an
// operation is about.
const (
	lookWithin = 5 * time.Second
	planWithin = 2 * time.Minute
)

// A top is what the console shows and does, in the words of the other commands. It implements
// [console.Source].
type top struct {
	base *session
	tail *tail

	mu      sync.Mutex
	history *tally.Series // of the last half hour
	read    time.Time     // when it was
}

func newTop(s *session) *top { return &top{base: s, tail: newTail()} }

// quiet returns a session whose output is kept, and not written on the terminal.
func (t *top) quiet() (s *session, out, warnings *bytes.Buffer) {
	s, a := new(session), new(app)
	*s, *a = *t.base, *t.base.app
	out, warnings = &bytes.Buffer{}, &bytes.Buffer{}
	a.out, a.err, a.color, a.output, a.wide = out, warnings, colorNever, formatText, true
	s.app, s.now = a, time.Now()
	return s, out, warnings
}

// Load implements [console.Source].
func (t *top) Load(ctx context.Context, sc console.Screen) (*console.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	s, out, warnings := t.quiet()
	l := &loading{top: t, session: s, out: out, screen: sc, page: &console.Page{}}
	if !s.nc.IsConnected() {
		return nil, console.ErrNoBroker
	}
	f, err := filterOf(sc)
	if err != nil {
		return nil, err
	}
	l.filter = f
	if err := l.load(ctx); err != nil {
		return nil, t.asLost(err)
	}
	l.page.At = s.now
	l.page.Where = s.conn.Namespace + " @ " + cli.Redact(s.nc.ConnectedUrl())
	for w := range strings.Lines(warnings.String()) {
		l.page.Head = append(l.page.Head, console.Line{{Text: " ? " + strings.TrimPrefix(strings.TrimSpace(w), "millhand: "), Style: console.Yellow}})
	}
	return l.page, nil
}

// asLost marks an error that says that nobody answers.
func (t *top) asLost(err error) error {
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting)
	if silent || !t.base.nc.IsConnected() {
		return fmt.Errorf("%w: %w", console.ErrNoBroker, err)
	}
	return err
}

// A loading is one page that is read.
type loading struct {
	*session
	top    *top
	out    *bytes.Buffer
	screen console.Screen
	filter filter.Filter
	page   *console.Page
}

func (l *loading) load(ctx context.Context) error {
	switch l.screen.Kind {
	case console.Overview:
		return l.overview(ctx)
	case console.Queues:
		return l.queues(ctx)
	case console.Types:
		return l.types(ctx)
	case console.Queue:
		return l.queue(ctx)
	case console.Type:
		return l.oneType(ctx)
	case console.Jobs:
		return l.jobs(ctx)
	case console.Dead:
		return l.dead(ctx)
	case console.Job:
		return l.job(ctx)
	case console.Why:
		return l.explainJob(ctx)
	case console.Workers:
		return l.workers(ctx)
	case console.Worker:
		return l.worker(ctx)
	case console.Limits:
		return l.limits(ctx)
	case console.Events:
		return l.events()
	}
	return nil
}

// Check implements [console.Source].
func (t *top) Check(sc console.Screen) error {
	_, err := filterOf(sc)
	return err
}

// filterOf reads the filter of a screen. What is no list of jobs is narrowed by names, and by words that are
// looked for in its rows.
func filterOf(sc console.Screen) (filter.Filter, error) {
	f, err := filter.Parse(sc.Filter)
	if err == nil {
		err = checkNames(f)
	}
	if err != nil {
		return f, err
	}
	switch sc.Kind { //nolint:exhaustive // the others are tables of something else
	case console.Jobs:
		return f, nil
	case console.Dead:
		return f, refuseKeys(f, "these are dead all", filter.State)
	case console.Events:
		return f, refuseKeys(f, "an event has none", noneOfEvents()...)
	}
	for _, k := range filter.Keys() {
		switch k { //nolint:exhaustive // the others are those of jobs
		case filter.Queue, filter.Type, filter.Worker, filter.State, filter.Word:
			continue
		}
		if f.Has(k) {
			return f, cli.Usagef("%s: this screen is narrowed by queue:, type:, worker:, state: and words in its rows; 4 has the jobs", k)
		}
	}
	return f, nil
}

// A topRow is a row, with what a filter looks at.
type topRow struct {
	console.Row
	match filter.Job
}

// showTable has the page show a listing's entries, but for those that the filter does not mean.
func showTable[T any](l *loading, from *listing[T], entries []T, row func(T) topRow) {
	p := l.page
	for _, c := range from.columns {
		p.Columns = append(p.Columns, console.Column{Title: c.title, Right: c.right, Spare: c.spare, Short: c.short})
	}
	p.Empty = from.empty
	for _, e := range entries {
		r := row(e)
		var text []string
		for _, c := range from.row(e) {
			r.Cells = append(r.Cells, console.Cell{Text: cli.OneLine(c.text), Style: console.Style(c.style)})
			text = append(text, c.text)
		}
		if r.Detail == "" && len(text) > 0 {
			r.Detail = cli.OneLine(text[len(text)-1]) // the column that is cut
		}
		r.match.Payload = []byte(strings.Join(text, " "))
		if l.filter.Match(&r.match, l.now) {
			p.Rows = append(p.Rows, r.Row)
		}
	}
	if len(p.Rows) < len(entries) {
		p.Note = fmt.Sprintf("%d of %d", len(p.Rows), len(entries))
		p.Empty = "nothing here matches"
	}
}

// text has the page show what was printed.
func (l *loading) text() {
	l.page.Lines = linesOfText(l.out.String())
}

func linesOfText(text string) (lines []console.Line) {
	for line := range strings.Lines(text) {
		lines = append(lines, console.Text(strings.TrimRight(line, "\n")))
	}
	return lines
}

func queueScreen(name string) *console.Screen {
	return &console.Screen{Kind: console.Queue, Of: name}
}

func jobsScreen(terms ...string) *console.Screen {
	return &console.Screen{Kind: console.Jobs, Filter: strings.Join(terms, " ")}
}
