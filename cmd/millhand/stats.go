package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/timespan"
)

// byTime has a row for each step, of all jobs together.
const byTime = "time"

// statsKept is how far back there are statistics.
const statsKept = 100 * 24 * time.Hour

func statsCommand(a *app) *cobra.Command {
	var q stats.Query
	var span, by string
	cmd := a.command(spec{
		use:   "stats",
		short: "What ran in the last hour, or up to 100 days: how much, how it ended, how long it took",
		long: "How many jobs ran, how they ended, and how long they waited and ran, as the workers counted:\n" +
			"for each type, queue or pair of both, or in steps of time. Half of them took at most p50, 95 of\n" +
			"100 at most p95; these are off by up to 9 %. Up to three hours are in steps of a minute, a week\n" +
			"in steps of ten minutes, and more in steps of an hour. The last ten seconds are missing, and what\n" +
			"workers had not sent that were killed.",
		example: "  millhand stats\n  millhand stats --range 24h --by queue\n  millhand stats --type email --range 7d --by time\n  millhand stats --range 30d -o csv > month.csv",
		formats: []format{formatText, formatJSON, formatNDJSON, formatName, formatCSV},
		run: func(ctx context.Context, s *session, _ []string) error {
			d, err := filter.Duration(span)
			tooLong := errors.Is(err, timespan.ErrTooLong)
			if err != nil && !tooLong {
				return cli.Usagef("--range: %w", err)
			}
			if tooLong || d < time.Minute || d > statsKept {
				return cli.Usagef("--range %s: want 1m to 100d, for which statistics are kept", span)
			}
			q.From, q.Until = s.now.Add(-d), s.now
			if q.By, err = parseBy(by); err != nil {
				return err
			}
			if q.Queue != "" {
				err = job.CheckQueue(q.Queue)
			}
			if err == nil && q.Type != "" {
				_, err = job.TypeName(q.Type)
			}
			if err != nil {
				return cli.Usagef("%w", err)
			}
			series, err := stats.NewStore(s.js, slog.New(slog.DiscardHandler)).History(ctx, q)
			if err != nil {
				return err
			}
			return s.showStats(answer.StatsOf(series, by))
		},
	})
	cmd.Flags().StringVar(&span, "range", "1h", "how far back, a `DURATION` such as 30m, 24h or 7d")
	cmd.Flags().StringVar(&by, "by", "type", "a row for each `type`, queue, pair (type in a queue) or time")
	cmd.Flags().StringVarP(&q.Queue, "queue", "q", "", "only jobs of this `QUEUE`")
	cmd.Flags().StringVarP(&q.Type, "type", "t", "", "only jobs of this `TYPE`")
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{"type", "queue", "pair", byTime}, cobra.ShellCompDirectiveNoFileComp)) // the flags are there
	_ = cmd.RegisterFlagCompletionFunc("type", a.candidates(typeNames))
	_ = cmd.RegisterFlagCompletionFunc("queue", a.candidates(queueNames))
	return cmd
}

func parseBy(text string) (tally.By, error) {
	if text == byTime {
		return tally.ByAll, nil
	}
	if by := tally.By(text); by == tally.ByType || by == tally.ByQueue || by == tally.ByPair {
		return by, nil
	}
	return "", cli.Usagef("--by %q: want type, queue, pair or time", text)
}

// showStats prints a report as -o has it.
func (s *session) showStats(r *answer.Stats) error {
	switch {
	case s.output == formatCSV:
		return statsCSV(s.out, r)
	case r.By == byTime && s.output == formatText:
		return s.statsByTime(r).print(s.app, pointsOf(r))
	}
	return s.statsByLine(r).print(s.app, r.Lines)
}

func (s *session) statsByLine(r *answer.Stats) *listing[*answer.StatsLine] {
	name := func(l *answer.StatsLine) string {
		if l.Queue != "" && l.Type != "" {
			return l.Queue + "/" + l.Type
		}
		return cmp.Or(l.Type, l.Queue)
	}
	l := &listing[*answer.StatsLine]{
		key:     "lines",
		columns: append([]column{{title: titleOf(r.By)}}, statsColumns()...),
		row:     func(l *answer.StatsLine) []cell { return append([]cell{plain(name(l))}, statsCells(l.Total)...) },
		name:    name,
		object:  func([]*answer.StatsLine) any { return r },
		foot:    s.statsFoot(r),
		empty:   statsEmpty,
	}
	if cli.IsTerminal(s.out) {
		row := l.row
		l.columns = append(l.columns, column{title: "ENDED", spare: true})
		l.row = func(line *answer.StatsLine) []cell {
			return append(row(line), plain(sparkline(endsBySteps(line), sparkWidth)))
		}
	}
	return l
}

const statsEmpty = "nothing was counted in that time; workers count what they run, unless they are started with --stats off"

func titleOf(by string) string {
	switch tally.By(by) {
	case tally.ByQueue:
		return "QUEUE"
	case tally.ByPair:
		return "QUEUE/TYPE"
	case tally.ByType, tally.ByAll:
	}
	return "TYPE"
}

func (s *session) statsByTime(r *answer.Stats) *listing[*answer.StatsPoint] {
	return &listing[*answer.StatsPoint]{
		columns: append(append([]column{{title: "FROM"}}, statsColumns()...), column{title: "READY", right: true}),
		row: func(p *answer.StatsPoint) []cell {
			waits := plain(none)
			if p.Ready != nil {
				waits = number(*p.Ready)
			}
			return append(append([]cell{plain(s.moment(p.At))}, statsCells(p.StatsCounts)...), waits)
		},
		foot:  s.statsFoot(r),
		empty: statsEmpty,
	}
}

// statsColumns are those of counts.
func statsColumns() []column {
	return []column{
		{title: "STARTED", right: true},
		{title: "SUCCEEDED", right: true},
		{title: "RETRYING", right: true},
		{title: "DEAD", right: true},
		{title: "OTHER", right: true, spare: true},
		{title: "WAIT p50", right: true, spare: true},
		{title: "WAIT p95", right: true},
		{title: "RUN p50", right: true, spare: true},
		{title: "RUN p95", right: true},
		{title: "BUSY", right: true, spare: true},
	}
}

func statsCells(c *answer.StatsCounts) []cell {
	dead := number(c.Dead)
	if c.Dead > 0 {
		dead.style = red
	}
	return []cell{
		number(c.Started), number(c.Succeeded), number(c.Retrying), dead, number(c.Cancelled + c.Snoozed + c.HandedBack + c.Lost),
		seconds(c.WaitP50), seconds(c.WaitP95), seconds(c.RunP50), seconds(c.RunP95), seconds(&c.Busy),
	}
}

func seconds(s *float64) cell {
	if s == nil {
		return plain(none)
	}
	return plain(span(time.Duration(*s * float64(time.Second))))
}

// statsFoot sums up what is shown.
func (s *session) statsFoot(r *answer.Stats) func(io.Writer) error {
	return func(w io.Writer) error {
		all := endsOfAll(r)
		text := fmt.Sprintf("%s to %s, in steps of %s: %s ended, %s a second",
			s.moment(r.From), s.moment(r.Until), span(time.Duration(r.Step)*time.Second), thousands(int64(all)), perSecond(all, r.Until.Sub(r.From))) //nolint:gosec // far below
		_, err := fmt.Fprintln(w, text)
		return err
	}
}

func perSecond(n uint64, d time.Duration) string {
	rate := float64(n) / d.Seconds()
	if rate >= 10 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.2g", rate)
}
