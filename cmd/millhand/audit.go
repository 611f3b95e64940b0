package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/timespan"
)

// An auditor is the command audit.
type auditor struct {
	by    string
	since string
	most  int
}

func auditCommand(a *app) *cobra.Command {
	c := &auditor{}
	cmd := a.command(spec{
		use:   "audit",
		short: "Who did what with these commands",
		long: "List the operations of the last 90 days, the newest last: who did what to which jobs, queues, limits\n" +
			"or workers, and what came of it. What programs do with the library is not among them.",
		example: "  millhand audit --since 1d\n  millhand audit --by oncall -o json",
		formats: []format{formatText, formatJSON, formatNDJSON},
		run:     c.run,
	})
	cmd.Flags().StringVar(&c.by, "by", "", "of those whose `NAME` contains this")
	cmd.Flags().StringVar(&c.since, "since", "90d", "since a `DURATION` ago, or a time")
	cmd.Flags().IntVarP(&c.most, "count", "n", 50, "list the newest `N` at most")
	return cmd
}

func (c *auditor) run(ctx context.Context, s *session, _ []string) error {
	if c.most < 1 {
		return cli.Usagef("--count %d: must be at least 1", c.most)
	}
	since, err := filter.Time(c.since)
	if err != nil {
		ago, err := filter.Duration(c.since)
		if errors.Is(err, timespan.ErrTooLong) {
			return cli.Usagef("--since: %w; records are kept for 90d", err)
		}
		if err != nil || ago < 0 {
			return cli.Usagef("--since %s: want a duration, such as 90s, 10m or 7d, or a time, such as 2026-12-24T18:00:00+01:00", c.since)
		}
		since = s.now.Add(-ago)
	}
	var records []audit.Record
	for r, err := range s.audit.Since(ctx, since) {
		if err != nil {
			return fmt.Errorf("read the audit: %w", err)
		}
		if strings.Contains(r.By, c.by) {
			records = append(records, r)
		}
	}
	records = records[max(0, len(records)-c.most):]
	l := &listing[audit.Record]{
		key:     "records",
		columns: []column{{title: "TIME"}, {title: "BY"}, {title: "FROM", spare: true}, {title: "ACTION"}, {title: "COUNT", right: true}, {title: "OUTCOME"}, {title: "OF"}},
		row: func(r audit.Record) []cell {
			return []cell{plain(s.moment(r.Time)), plain(r.By), plain(r.From), plain(string(r.Action)), number(r.Count), plain(outcomeText(&r)), plain(ofText(&r))}
		},
		name:  func(r audit.Record) string { return r.Op },
		empty: "nothing was done in this time",
	}
	return l.print(s.app, records)
}

func outcomeText(r *audit.Record) string {
	parts := []string{strings.ReplaceAll(r.Outcome, "_", " ")}
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		parts = append(parts, fmt.Sprintf("%s %d", reason, r.Refused[reason]))
	}
	if r.Failed > 0 {
		parts = append(parts, fmt.Sprintf("failed %d", r.Failed))
	}
	return strings.Join(parts, ", ")
}

func ofText(r *audit.Record) string {
	text := cmp.Or(r.Ref, r.Filter)
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	return text
}

// record keeps a record of what was done by whoever runs this command. That it could not be kept is told,
// and undoes nothing.
func (s *session) record(ctx context.Context, r audit.Record) {
	r.By, r.Outcome = s.by, cmp.Or(r.Outcome, audit.Done)
	r.From, _ = os.Hostname() // then it is not known
	if err := s.audit.Write(ctx, r); err != nil {
		s.warn("this is done, but the audit has no record of it: %v", err)
	}
}

// recordActs keeps a record of what was done to jobs that were named, unless it was done to none.
func (s *session) recordActs(ctx context.Context, action audit.Action, all []outcome) {
	r := audit.Record{Action: action, Refused: make(map[string]int)}
	for i := range all {
		o := &all[i]
		switch o.code {
		case cli.ExitOK, cli.ExitTimeout:
			if r.Count++; r.Count == 1 {
				r.Ref = refOf(o.Ref).String()
			}
		default:
			r.Refused[o.Outcome]++
		}
	}
	if r.Count == 0 {
		return
	}
	if r.Count > 1 {
		r.Ref += fmt.Sprintf(" and %s more", thousands(int64(r.Count-1)))
	}
	s.record(ctx, r)
}

// soFarEvery is how often it is noted how far an operation on many jobs has come.
const soFarEvery = 30 * time.Second
