package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/view"
)

func deadGroupsCommand(a *app) *cobra.Command {
	var p picker
	var all bool
	cmd := a.command(spec{
		use:   "groups [FILTER]...",
		short: "Groups of dead jobs whose errors differ only in numbers and names",
		long: "Group dead jobs by their errors, in which numbers, ids, paths, addresses and quoted text are\n" +
			"replaced by marks. The newest 100,000 are looked at, or --all. A group is a term of a filter.",
		example: "  millhand dead groups\n  millhand dead groups type:email --since 1d\n  millhand retry --filter group:a1f3c09e --dry-run",
		formats: ofList(),
		args:    cobra.ArbitraryArgs, complete: termNames,
		run: func(ctx context.Context, s *session, args []string) error {
			f, err := p.filter(args)
			if err != nil {
				return err
			}
			if f.Has(filter.State) {
				return cli.Usagef("state: these are dead all; leave the term out")
			}
			if err := refuseKeys(f, "write id: or payload: before it", filter.Word); err != nil {
				return err
			}
			groups, err := s.view.DeadGroups(ctx, view.Query{Filter: thatAreDead(f)}, all)
			if err != nil {
				return err
			}
			return s.printGroups(groups)
		},
	})
	cmd.Flags().BoolVar(&all, "all", false, "look at all dead jobs, however long that takes")
	p.register(a, cmd, deadKeys()...)
	return cmd
}

func (s *session) groupsListing() *listing[view.DeadGroup] {
	return &listing[view.DeadGroup]{
		key:     "groups",
		columns: []column{{title: "GROUP"}, {title: "DEAD", right: true}, {title: "SINCE"}, {title: "TYPE"}, {title: "REASON", spare: true}, {title: "ERROR"}},
		row: func(g view.DeadGroup) []cell {
			return []cell{plain(g.Group), number(g.Count), plain(s.times(&g)), plain(strings.Join(g.Types, ",")), plain(strings.Join(g.Reasons, ",")), plain(g.Error)}
		},
		name:  func(g view.DeadGroup) string { return g.Group },
		empty: "no dead job matches",
	}
}

func (s *session) printGroups(g *view.DeadGroups) error {
	l := s.groupsListing()
	l.object = func([]view.DeadGroup) any { return g }
	if err := l.print(s.app, g.Groups); err != nil || s.output != formatText || len(g.Groups) == 0 {
		return err
	}
	more := ""
	if g.Partial {
		more = "; looked at the newest " + thousands(g.Looked) + " of " + countText(g.Of) + ", --all looks at the others"
	}
	group := "group:" + g.Groups[0].Group
	_, _ = fmt.Fprintln(s.err, plural(g.Count, "dead job", "dead jobs")+", "+plural(len(g.Groups), "group", "groups")+more+"; millhand dead "+group+"; millhand retry --filter "+group) // for people
	return nil
}

// times is from when to when the jobs of a group died.
func (s *session) times(g *view.DeadGroup) string {
	since, until := s.moment(g.Since), s.moment(g.Until)
	if since == until {
		return since
	}
	return since + " – " + until
}
