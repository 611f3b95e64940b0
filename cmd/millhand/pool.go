package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// A limiter is the command quota or the command rate: what they show and set differs in the period.
type limiter struct {
	rate   bool
	reset  bool
	types  []string
	dryRun bool
}

func quotaCommand(a *app) *cobra.Command {
	return a.limitCommand(&limiter{}, spec{
		use:   "quota [POOL [N]]",
		short: "The limits of what runs at once; set one",
		long: "The limits of how many jobs run at once, across all workers; with N, one is set. POOL is a TYPE,\n" +
			"queue=NAME, or key=NAME, which several types share. 0 removes a limit. What a person sets stays\n" +
			"until a person removes it, or hands it back to the workers' configuration with --reset.\n\n" +
			"HELD are the permits that workers have; USED those of them that jobs have, or may have that workers\n" +
			"have asked for; WANTED how many the workers could use.",
		example: "  millhand quota\n  millhand quota import 5\n  millhand quota key=crm-api 10 --types import,export\n" +
			"  millhand quota queue=mail 0\n  millhand quota import --reset",
	})
}

func rateCommand(a *app) *cobra.Command {
	return a.limitCommand(&limiter{rate: true}, spec{
		use:   "rate [POOL [N/DURATION]]",
		short: "The limits of what starts in a period; set one",
		long: "The limits of how many jobs start in any period of a length, across all workers; with\n" +
			"N/DURATION, one is set. POOL is as of 'millhand quota'. 0 removes a limit.",
		example: "  millhand rate\n  millhand rate email 100/1m\n  millhand rate key=crm-api 5/1s --types import,export\n  millhand rate email 0",
	})
}

func (a *app) limitCommand(l *limiter, s spec) *cobra.Command {
	s.formats, s.args, s.complete = ofList(), cobra.MaximumNArgs(2), l.pools
	s.run = func(ctx context.Context, s *session, args []string) error {
		switch {
		case len(args) == 2 && l.reset:
			return cli.Usagef("--reset hands the limit back as it is: leave %q out", args[1])
		case len(args) == 2:
			return l.set(ctx, s, args[0], args[1])
		case l.reset:
			return l.handBack(ctx, s, args)
		case l.types != nil || l.dryRun:
			return cli.Usagef("--types and --dry-run are for setting a limit")
		}
		return l.show(ctx, s, args)
	}
	cmd := a.command(s)
	cmd.Flags().StringSliceVar(&l.types, "types", nil, "with key=NAME: `TYPES` that share the key from now on; others that did still do")
	cmd.Flags().BoolVar(&l.reset, "reset", false, "hand the limit back to the workers' configuration")
	cmd.Flags().BoolVar(&l.dryRun, "dry-run", false, "only say what would be set")
	return cmd
}

// pools are the names of the limits there are, to complete one.
func (l *limiter) pools(ctx context.Context, s *session) []string {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil // without them nothing is completed
	}
	var names []string
	for _, p := range snap.Pools {
		names = append(names, p.Name)
	}
	for _, t := range typesOf(snap) {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// show prints the limits, of one pool with who has its permits.
func (l *limiter) show(ctx context.Context, s *session, args []string) error {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	pools := slices.DeleteFunc(slices.Clone(snap.Pools), func(p view.Pool) bool {
		return p.Rate != l.rate || len(args) == 1 && p.Name != args[0]
	})
	if len(args) == 1 && len(pools) == 0 {
		if _, err := l.quotaOf(args[0]); err != nil {
			return err
		}
		return &cli.ExitError{Code: cli.ExitNotFound, Err: notThere(l.word(), args[0], "it has none; 'millhand "+l.word()+"' has those there are")}
	}
	if err := l.listing(s).print(s.app, limitsOf(snap, pools)); err != nil || len(args) == 0 || s.output != formatText {
		return err
	}
	if err := s.say(""); err != nil {
		return err
	}
	return s.grantsListing().print(s.app, pools[0].Grants)
}

// A shownLimit is what is printed of a limit. Its JSON is a contract.
type shownLimit struct {
	view.Pool
	Running view.Count `json:"running"` // jobs that run under it
	Ready   view.Count `json:"ready"`   // and that wait

	isFull bool
}

func limitsOf(snap *view.Snapshot, pools []view.Pool) []shownLimit {
	all := make([]shownLimit, 0, len(pools))
	for i := range pools {
		p := &pools[i]
		all = append(all, shownLimit{Pool: *p, Running: answer.RunningUnder(snap, p), Ready: answer.ReadyUnder(snap, p), isFull: answer.IsFull(snap, p)})
	}
	return all
}

func (l *limiter) listing(s *session) *listing[shownLimit] {
	return &listing[shownLimit]{
		key: l.word() + "s",
		columns: []column{
			{title: "POOL"},
			{title: "LIMIT", right: true},
			{title: "RUNNING", right: true},
			{title: "READY", right: true},
			{title: "HELD", right: true, spare: true},
			{title: "USED", right: true, spare: !l.rate},
			{title: "WANTED", right: true, spare: true},
			{title: "SET BY"},
			{title: "TYPES"},
		},
		row: func(p shownLimit) []cell {
			return []cell{
				plain(p.Name), limitCell(&p.Pool), runningCell(&p), countCell(p.Ready), number(p.Held), usedCell(&p.Pool), number(p.Want), plain(s.setBy(&p.Pool)), plain(strings.Join(p.Types, ",")),
			}
		},
		name:  func(p shownLimit) string { return p.Name },
		empty: "no " + l.word() + "s; 'millhand " + l.word() + " TYPE " + l.exampleOf() + "' sets one",
	}
}

func (l *limiter) word() string {
	if l.rate {
		return "rate"
	}
	return "quota"
}

func (l *limiter) exampleOf() string {
	if l.rate {
		return "100/1m"
	}
	return "5"
}

func limitCell(p *view.Pool) cell {
	switch {
	case p.Limit == 0: // in the registry is something that is no limit
		return cell{text: "?", style: red}
	case p.Rate:
		return plain(fmt.Sprintf("%s/%s", thousands(int64(p.Limit)), p.Per))
	}
	return number(p.Limit)
}

// runningCell stands out where all that may run does, and more is ready.
func runningCell(p *shownLimit) cell {
	c := countCell(p.Running)
	if !p.Rate && p.isFull && p.Ready.Value > 0 {
		c.style = yellow
	}
	return c
}

// usedCell stands out where all permits are used, and more are wanted.
func usedCell(p *view.Pool) cell {
	c := number(p.Used)
	if p.Used >= p.Limit && p.Want > p.Used {
		c.style = yellow
	}
	return c
}

func (s *session) setBy(p *view.Pool) string {
	who := cmp.Or(p.By, "person")
	switch p.Source {
	case registry.ByConfig:
		who = "config"
	case registry.HandedBack:
		who = "handed back"
	case registry.ByPerson:
	}
	if p.Set.IsZero() {
		return who
	}
	return who + ", " + s.ago(p.Set)
}

func (s *session) grantsListing() *listing[view.Grant] {
	return &listing[view.Grant]{
		key:     "grants",
		columns: []column{{title: "WORKER"}, {title: "HELD", right: true}, {title: "USED", right: true}, {title: "WANTED", right: true}},
		row: func(g view.Grant) []cell {
			return []cell{plain(g.Worker), number(g.Held), number(g.Used), number(g.Want)}
		},
		empty: "no worker has a permit of it",
	}
}

// quotaOf reads a POOL.
func (l *limiter) quotaOf(pool string) (millhand.Quota, error) {
	kind, name, isKind := strings.Cut(pool, "=")
	q := millhand.Quota{}
	switch {
	case pool == "":
		return q, cli.Usagef("POOL is empty: want TYPE, queue=NAME or key=NAME")
	case !isKind:
		q.Type = pool
	case kind == "type":
		q.Type = name
	case kind == "queue":
		q.Queue = name
	case kind == "key":
		q.Key = name
	default:
		return q, cli.Usagef("POOL %q: want TYPE, queue=NAME or key=NAME", pool)
	}
	if len(l.types) > 0 && q.Key == "" {
		return q, cli.Usagef("--types is for key=NAME, which types share")
	}
	q.Types = l.types
	if l.rate {
		q.Per = time.Second // of a removal; else it is replaced
	}
	return q, nil
}

// set sets a limit, and says what it was.
func (l *limiter) set(ctx context.Context, s *session, pool, text string) error {
	q, err := l.quotaOf(pool)
	if err != nil {
		return err
	}
	limit, per, err := cli.ParseLimit(text)
	switch {
	case err != nil:
		return cli.Usagef("%w", err)
	case l.rate && per == 0 && limit != 0:
		return cli.Usagef("%q: want N/DURATION such as 100/1m", text)
	case !l.rate && per != 0:
		return cli.Usagef("%q is a number of starts in a period: 'millhand rate %s %s' sets that", text, pool, text)
	case per != 0:
		q.Per = per
	}
	q.Limit = limit
	c := answer.Change{Pool: pool, Limit: limit, DryRun: l.dryRun}
	if per != 0 {
		c.Per = per.String()
	}
	before, err := s.client.Quotas(ctx)
	if err != nil {
		return err
	}
	for _, b := range before {
		if b.Type == q.Type && b.Queue == q.Queue && b.Key == q.Key && (b.Per != 0) == l.rate {
			c.Was, c.Used = b.Limit, b.Used
			if b.Per != 0 {
				c.WasPer = b.Per.String()
			}
		}
	}
	if !l.dryRun {
		if err := s.client.SetQuota(ctx, q); err != nil {
			return asUsage(err)
		}
		s.record(ctx, audit.Record{Action: audit.SetLimit, Ref: c.Pool, Count: 1, Detail: limitText(c.Limit, c.Per) + ", was " + limitText(c.Was, c.WasPer)})
	}
	if s.output == formatJSON {
		return s.json(c)
	}
	return s.say("%s", changeText(&c))
}

func changeText(c *answer.Change) string {
	did := ""
	if c.DryRun {
		did = "would set "
	}
	text := fmt.Sprintf("%s%s: %s, was %s", did, c.Pool, limitText(c.Limit, c.Per), limitText(c.Was, c.WasPer))
	if c.Per == "" && c.Limit > 0 && c.Used > c.Limit {
		text += fmt.Sprintf("; %d run now, and those above the limit go on to their end", c.Used)
	}
	return text
}

func limitText(limit int, per string) string {
	switch {
	case limit == 0:
		return "no limit"
	case per != "":
		return fmt.Sprintf("%s starts in %s", thousands(int64(limit)), per)
	}
	return thousands(int64(limit)) + " at once"
}

// handBack gives limits to the workers' configuration.
func (l *limiter) handBack(ctx context.Context, s *session, args []string) error {
	if len(args) == 0 {
		return cli.Usagef("which POOL? --reset hands one limit back")
	}
	q, err := l.quotaOf(args[0])
	if err != nil {
		return err
	}
	if !l.dryRun {
		if err := s.client.ResetQuota(ctx, q); err != nil {
			return asUsage(err)
		}
		s.record(ctx, audit.Record{Action: audit.SetLimit, Ref: args[0], Count: 1, Detail: "handed back to the workers' configuration"})
	}
	if s.output == formatJSON {
		return s.json(map[string]any{"pool": args[0], "reset": true, "dry_run": l.dryRun})
	}
	if l.dryRun {
		return s.say("would hand %s back to the workers' configuration", args[0])
	}
	return s.say("%s: handed back; the limit holds until a worker with one in its configuration replaces it", args[0])
}
