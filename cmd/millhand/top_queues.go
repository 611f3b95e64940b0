package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

const (
	topProblems = 4 // that are named on the overview

	historyOver  = 30 * time.Minute
	historyFresh = 10 * time.Second // workers write what they counted as often
	historyTail  = 10               // steps that stand beside a queue
)

func (l *loading) overview(ctx context.Context) error {
	snap, rates, err := l.look(ctx)
	if err != nil {
		return err
	}
	series := l.top.lately(ctx, l.session)
	l.problemLines(l.judge(ctx, snap))
	l.page.Head = append(l.page.Head, console.Text(" "+states(snap)))
	if r := rates.Of("", ""); r != nil {
		l.page.Head = append(l.page.Head, l.rateLines(r, series, tally.Pair{})...)
	}
	l.page.Head = append(l.page.Head, console.Text(" "+workersLine(snap.Workers)), nil)
	from := l.queuesListing(snap)
	last := len(from.columns) - 1
	row, state := from.row, from.columns[last]
	from.columns = append(from.columns[:last:last], column{title: "LAST 10 MIN", spare: true}, state)
	from.row = func(q answer.Queue) []cell {
		cells := row(q)
		return append(cells[:last:last], plain(sparkOf(series, tally.Pair{Queue: q.Name}, historyTail, ended)), cells[last])
	}
	showTable(l, from, rates.Queues(snap), l.queueRow)
	l.page.Command = "millhand status"
	return nil
}

// problemLines are what is wrong, the worst first.
func (l *loading) problemLines(r *problem.Report) {
	shown := r.Problems[:min(len(r.Problems), topProblems)]
	for i := range shown {
		p := &shown[i]
		l.page.Head = append(l.page.Head, console.Line{
			{Text: fmt.Sprintf(" ! %-*s", len("warning"), p.Level), Style: console.Style(levelStyle(p.Level))},
			{Text: "  " + string(p.Code) + "  " + cli.OneLine(l.problemText(p))},
		})
	}
	if more := len(r.Problems) - len(shown); more > 0 {
		l.page.Head = append(l.page.Head, console.Text(fmt.Sprintf(" ! and %d more: millhand status", more)))
	}
}

// rateLines are what ends and how long it takes, with how that was lately.
func (l *loading) rateLines(r *answer.Rate, series *tally.Series, p tally.Pair) []console.Line {
	times := func(name string, half, most *float64) string {
		return fmt.Sprintf("%s p50 %-6s p95 %s", name, seconds(half).text, seconds(most).text)
	}
	line := func(name string, perSecond float64, of func(*tally.Counts) uint64, rest string) console.Line {
		return console.Text(fmt.Sprintf(" %-8s %-*s %6s   %s", name, sparkWidth, sparkOf(series, p, sparkWidth, of), rateText(perSecond), rest))
	}
	return []console.Line{
		line("ended/s", r.Ended, ended, times("wait", r.WaitP50, r.WaitP95)),
		line("failed/s", r.Failed+r.Dead, failedRuns, times("run ", r.RunP50, r.RunP95)),
	}
}

func ended(c *tally.Counts) uint64      { return c.Ended() }
func failedRuns(c *tally.Counts) uint64 { return c.N[tally.Retrying] + c.N[tally.Dead] }

// lately returns what was counted in the last half hour, by queue and type; nil if that is not known.
func (t *top) lately(ctx context.Context, s *session) *tally.Series {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.history != nil && time.Since(t.read) < historyFresh {
		return t.history
	}
	series, err := stats.NewStore(s.js, slog.New(slog.DiscardHandler)).History(ctx, stats.Query{From: s.now.Add(-historyOver), Until: s.now, By: tally.ByPair})
	if err != nil {
		return t.history // the next look may be luckier
	}
	t.history, t.read = series, time.Now()
	return series
}

// sparkOf draws the last steps of a queue or type; an empty part stands for all. The step that is not over is
// left out, since it would look as if less had happened.
func sparkOf(s *tally.Series, p tally.Pair, width int, of func(*tally.Counts) uint64) string {
	if s == nil || s.Steps() < 2 {
		return ""
	}
	steps := make([]uint64, s.Steps()-1)
	for _, l := range s.Lines {
		if p.Queue != "" && l.Queue != p.Queue || p.Type != "" && l.Type != p.Type {
			continue
		}
		for i := range steps {
			if c := l.Points[i].Counts; c != nil {
				steps[i] += of(c)
			}
		}
	}
	return sparkline(steps[max(0, len(steps)-width):], width)
}

func (l *loading) queueRow(q answer.Queue) topRow {
	return topRow{
		Row:   console.Row{Name: q.Name, Into: queueScreen(q.Name), Why: q.Name + "/", Can: []console.Op{console.Pause}},
		match: filter.Job{Queue: q.Name, ID: q.Name},
	}
}

func (l *loading) queues(ctx context.Context) error {
	snap, rates, err := l.look(ctx)
	if err != nil {
		return err
	}
	showTable(l, l.queuesListing(snap), rates.Queues(snap), l.queueRow)
	l.page.Command = "millhand queues"
	return nil
}

func (l *loading) typeRow(t answer.Type) topRow {
	name := t.Queue + "/" + t.Name
	return topRow{
		Row:   console.Row{Name: name, Into: jobsScreen("queue:"+t.Queue, "type:"+t.Name), Why: name + "/", Can: []console.Op{console.Pause, console.Limit}},
		match: filter.Job{Queue: t.Queue, Type: t.Name, ID: t.Name},
	}
}

func (l *loading) types(ctx context.Context) error {
	snap, rates, err := l.look(ctx)
	if err != nil {
		return err
	}
	l.typesTable(snap, rates, typesOf(snap))
	for i := range l.page.Rows {
		_, typ, _ := strings.Cut(l.page.Rows[i].Name, "/")
		l.page.Rows[i].Into = &console.Screen{Kind: console.Type, Of: typ}
	}
	l.page.Command = "millhand types"
	return nil
}

// oneType is one type in the queues that have it.
func (l *loading) oneType(ctx context.Context) error {
	name := l.screen.Of
	snap, rates, err := l.look(ctx)
	if err != nil {
		return err
	}
	types := slices.DeleteFunc(typesOf(snap), func(t view.Type) bool { return t.Name != name })
	if len(types) == 0 {
		return notThere("type", name, "'millhand types' has those there are")
	}
	series := l.top.lately(ctx, l.session)
	if rates != nil {
		r := rates.Only(func(p tally.Pair) bool { return p.Type == name }).Of("", "")
		l.page.Head = append(l.page.Head, l.rateLines(r, series, tally.Pair{Type: name})...)
	}
	for i := range snap.Pools {
		if p := &snap.Pools[i]; slices.ContainsFunc(types, func(t view.Type) bool { return answer.Limits(p, &t) }) {
			l.page.Head = append(l.page.Head, console.Text(fmt.Sprintf(" %s %s: %s, %s", answer.LimitedBy(p), p.Name, limitText(p.Limit, p.Per), holdersText(p))))
		}
	}
	l.page.Head = append(l.page.Head, nil)
	l.typesTable(snap, rates, types)
	l.page.Title, l.page.Command = "type "+name, "millhand types "+name
	return nil
}

// typesTable shows types, but for those that have had no job in their queue: a worker serves all of its types
// in all of its queues.
func (l *loading) typesTable(snap *view.Snapshot, rates *answer.Rates, types []view.Type) {
	had := slices.DeleteFunc(slices.Clone(types), func(t view.Type) bool {
		return t.Info != nil && t.Info.Delivered.Consumer == 0 && t.Ready.Value == 0 && t.Paused == nil
	})
	if len(l.filter.Terms) > 0 {
		had = types
	}
	showTable(l, typesListing(l.session), rates.Types(snap, had), l.typeRow)
	if n := len(types) - len(had); n > 0 {
		l.page.Note = thousands(int64(n)) + " that have had no job are left out"
	}
}

// queue is one queue with its types.
func (l *loading) queue(ctx context.Context) error {
	name := l.screen.Of
	snap, rates, err := l.look(ctx)
	if err != nil {
		return err
	}
	for _, q := range rates.Queues(snap) {
		if q.Name != name {
			continue
		}
		l.queueHead(ctx, snap, &q)
		l.typesTable(snap, rates, q.Types)
		l.page.Title, l.page.Command = "queue "+name, "millhand queues "+name
		l.page.Name, l.page.Can, l.page.Why = name, []console.Op{console.Pause}, name+"/"
		return nil
	}
	return notThere("queue", name, "'millhand queues' has those there are")
}

func (l *loading) queueHead(ctx context.Context, snap *view.Snapshot, q *answer.Queue) {
	series := l.top.lately(ctx, l.session)
	text := fmt.Sprintf(" ready %s   running %s   later %s   oldest %s   empty in %s", countText(answer.ReadyOf(&q.Queue)), countText(q.Running),
		countText(q.Later), l.oldestText(oldest(&q.Queue)), emptyText(q.EmptyIn))
	l.page.Head = append(l.page.Head, console.Text(text))
	if r := q.Rate; r != nil {
		l.page.Head = append(l.page.Head, console.Text(fmt.Sprintf(" ended/s  %s %s", sparkOf(series, tally.Pair{Queue: q.Name}, sparkWidth, ended), rateText(r.Ended))))
	}
	if state := l.stateOfQueue(snap, &q.Queue); state.text != "" {
		l.page.Head = append(l.page.Head, console.Line{{Text: " " + cli.OneLine(state.text), Style: console.Style(state.style)}})
	}
	l.page.Head = append(l.page.Head, nil)
}
