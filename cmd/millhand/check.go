package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// checkWithin is how long a check waits for the broker.
const checkWithin = 5 * time.Second

// A checkSpec is one thing that can be checked.
type checkSpec struct {
	spec
	ages map[string]bool // the measures that --warn and --crit take, and which are times; nil: neither flag
	run  func(s *session, c *checking, args []string) (*finding, error)
}

// checking is what a check judges by.
type checking struct {
	snap       *view.Snapshot
	rates      *answer.Rates
	report     *problem.Report
	warn, crit []*bound
}

func checkCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check WHAT",
		Short: "Is something wrong? For Nagios, systemd, cron and CI",
		Long: "Look whether something is wrong, and say so as monitoring plugins do: one line, the numbers behind\n" +
			"a bar, and exit with 0 if it is well, 1 for a warning, 2 if it is critical, and 3 if that is not\n" +
			"known. These codes are of this command alone. Without --warn and --crit, what millhand status\n" +
			"calls an error is critical, and what else it calls wrong is a warning.",
		Example: "  millhand check problems --ignore P09\n  millhand check queue default --warn age=5m,ready=10000 --crit age=30m,ready=100000,stalled\n  millhand check workers --min 2",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &cli.ExitError{Code: int(isUnknown), Err: fmt.Errorf("nothing is called %q that can be checked: queue, type, dead, workers, broker and problems can", args[0])}
			}
			return cmd.Help()
		},
		DisableFlagsInUseLine: true,
	}
	least, most, ignored := 1, int64(-1), []string(nil)
	queue := a.checkOf(checkSpec{
		spec: spec{
			use: "queue QUEUE", short: "A queue", args: cobra.ExactArgs(1), complete: queueNames,
			long:    "Check a queue: ready, age (of its oldest ready job), running, later and ended_per_s.",
			example: "  millhand check queue default\n  millhand check queue default --warn age=5m --crit age=30m,stalled,no_worker",
		},
		ages: map[string]bool{"ready": false, "age": true, "running": false, "later": false, "ended_per_s": false}, run: checkQueue,
	})
	typ := a.checkOf(checkSpec{
		spec: spec{
			use: "type TYPE", short: "A type of jobs, in all queues", args: cobra.ExactArgs(1), complete: typeNames,
			long:    "Check a type in all queues: ready, age (of its oldest ready job), running, ended_per_s and failed (per cent\nof what ended in the last minutes, dead ones included).",
			example: "  millhand check type email --warn age=5m,failed=5 --crit failed=50",
		},
		ages: map[string]bool{"ready": false, "age": true, "running": false, "ended_per_s": false, "failed": false}, run: checkType,
	})
	dead := a.checkOf(checkSpec{
		spec: spec{use: "dead", short: "How many dead jobs are kept", long: "Check how many dead jobs are kept: more than --max is critical.", example: "  millhand check dead --max 100"},
		run:  func(_ *session, c *checking, _ []string) (*finding, error) { return checkDead(c, most), nil },
	})
	dead.Flags().Int64Var(&most, "max", -1, "more than `N` is critical; without it, none is")
	workers := a.checkOf(checkSpec{
		spec: spec{use: "workers", short: "How many workers take jobs", long: "Check how many workers take jobs, those that drain not counted: fewer than --min is critical.", example: "  millhand check workers --min 2"},
		run:  func(_ *session, c *checking, _ []string) (*finding, error) { return checkWorkers(c, least), nil },
	})
	workers.Flags().IntVar(&least, "min", 1, "fewer than `N` is critical")
	broker := a.checkOf(checkSpec{
		spec: spec{use: "broker", short: "The broker", long: "Check that the broker answers for all streams and consumers, that replicas are current and that there is room.", example: "  millhand check broker"},
		run:  checkBroker,
	})
	problems := a.checkOf(checkSpec{
		spec: spec{
			use: "problems", short: "All that millhand status calls wrong", example: "  millhand check problems\n  millhand check problems --ignore P09,stats_gap",
			long: "Check all that millhand status calls wrong: errors are critical, and warnings and notices are\nwarnings. If something could not be looked for, that is unknown, unless it is ignored.",
		},
		run: func(_ *session, c *checking, _ []string) (*finding, error) { return checkProblems(c, ignored) },
	})
	problems.Flags().StringSliceVar(&ignored, "ignore", nil, "`CODES` that do not matter, such as P09 or paused_long")
	return withCommands(cmd, queue, typ, dead, workers, broker, problems)
}

// checkOf makes the command of a check. Whatever keeps it from looking is unknown.
func (a *app) checkOf(c checkSpec) *cobra.Command {
	var within time.Duration
	var warn, crit []string
	unknown := func(err error) error {
		_, _ = fmt.Fprintln(a.out, "UNKNOWN "+cli.OneLine(cli.Text(err)))
		return &cli.ExitError{Code: int(isUnknown)}
	}
	cmd := a.command(c.spec)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), within, fmt.Errorf("the broker did not answer within %v", within))
		defer cancel()
		w, err := parseBounds("warn", warn, c.ages)
		if err != nil {
			return unknown(err)
		}
		cr, err := parseBounds("crit", crit, c.ages)
		if err != nil {
			return unknown(err)
		}
		if err := a.check(nil); err != nil {
			return unknown(err)
		}
		s, err := a.connect(ctx)
		if err != nil {
			return unknown(err)
		}
		defer s.close()
		snap, rates, err := s.look(ctx)
		if err != nil {
			return unknown(err)
		}
		f, err := c.run(s, &checking{snap: snap, rates: rates, report: s.judge(ctx, snap), warn: w, crit: cr}, args)
		if err != nil {
			return unknown(err)
		}
		return s.sayFinding(f)
	}
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return unknown(err)
			}
			return nil
		}
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unknown(err) })
	cmd.Flags().DurationVar(&within, "timeout", checkWithin, "how long to wait for the broker: it is unknown then")
	if c.ages != nil {
		cmd.Flags().StringSliceVar(&warn, "warn", nil, "`NAME=VALUE,…` above which it is a warning, or codes of problems that are one")
		cmd.Flags().StringSliceVar(&crit, "crit", nil, "`NAME=VALUE,…` above which it is critical, or codes of problems that are")
	}
	return cmd
}

// bounds judges measures, and the problems of those subjects that mine means.
func (c *checking) bounds(f *finding, measures []measure, mine func(subject string) bool) {
	for i := range measures {
		f.judge(&measures[i], c.warn, c.crit)
	}
	asked := func(all []*bound, code problem.Code) bool {
		return slices.ContainsFunc(all, func(b *bound) bool { return b.code == code })
	}
	for _, p := range c.report.Problems {
		if !mine(p.Subject) {
			continue
		}
		switch {
		case asked(c.crit, p.Code):
			f.problem(&p, isCritical)
		case asked(c.warn, p.Code):
			f.problem(&p, isWarning)
		case len(c.warn)+len(c.crit) == 0:
			f.problem(&p, verdictOf(p.Level))
		}
	}
	for _, g := range c.report.Unknown {
		for _, code := range g.Codes {
			if asked(c.crit, code) || asked(c.warn, code) {
				f.note(isUnknown, fmt.Sprintf("%s was not looked for: %s", code, g.Why))
			}
		}
	}
}

func verdictOf(l problem.Level) verdict {
	if l == problem.Error {
		return isCritical
	}
	return isWarning
}

func (f *finding) problem(p *problem.Problem, v verdict) {
	f.Problems = append(f.Problems, *p)
	f.note(v, p.Text)
}

// ageOf is for how long the oldest ready job waits.
func ageOf(snap *view.Snapshot, all ...*view.Oldest) measure {
	m := measure{name: "age", about: "oldest ready job", age: true, known: true}
	for _, o := range all {
		m.known = m.known && o.How == view.Exact
		if o.Seq > 0 {
			m.value = max(m.value, snap.At.Sub(o.At).Round(time.Second).Seconds())
		}
	}
	return m
}

func measureOf(name, about string, c view.Count) measure {
	return measure{name: name, about: about, value: float64(c.Value), known: c.Known()}
}

func perSecondOf(r *answer.Rate) measure {
	m := measure{name: "ended_per_s", about: "ended a second", known: r != nil}
	if r != nil {
		m.value = float64(int64(r.Ended*10)) / 10
	}
	return m
}

func checkQueue(_ *session, c *checking, args []string) (*finding, error) {
	i := slices.IndexFunc(c.snap.Queues, func(q view.Queue) bool { return q.Name == args[0] })
	if i < 0 {
		return nil, notThere("queue", args[0], "'millhand queues' has those there are")
	}
	q := &c.snap.Queues[i]
	f := newFinding(q.Name)
	c.bounds(f, []measure{
		measureOf("ready", "ready", answer.ReadyOf(q)), ageOf(c.snap, oldest(q)), measureOf("running", "running", q.Running), measureOf("later", "later", q.Later), perSecondOf(c.rates.Of(q.Name, "")),
	}, func(subject string) bool {
		return subject == q.Name || strings.HasPrefix(subject, q.Name+"/") || subject == c.snap.Namespace+"-queue-"+q.Name
	})
	return f, nil
}

func checkType(_ *session, c *checking, args []string) (*finding, error) {
	typ := args[0]
	mine := func(t *view.Type) bool { return t.Name == typ }
	var ages []*view.Oldest
	found := false
	var ended, failed float64
	for i := range c.snap.Queues {
		for j := range c.snap.Queues[i].Types {
			if t := &c.snap.Queues[i].Types[j]; mine(t) {
				found = true
				ages = append(ages, &t.Oldest)
				if r := c.rates.Of(t.Queue, typ); r != nil {
					ended, failed = ended+r.Ended, failed+r.Failed+r.Dead
				}
			}
		}
	}
	if !found {
		return nil, notThere("type", typ, "no worker serves it or has served it; 'millhand types' has those there are")
	}
	failures := measure{name: "failed", about: "per cent failed", known: c.rates != nil && ended > 0}
	if failures.known {
		failures.value = float64(int64(1000*failed/ended)) / 10
	}
	rates := perSecondOf(nil)
	if c.rates != nil {
		rates = perSecondOf(&answer.Rate{Ended: ended})
		failures.known = true // of nothing, none failed
	}
	f := newFinding(typ)
	c.bounds(f, []measure{
		measureOf("ready", "ready", answer.SumOf(c.snap, mine, func(t *view.Type) view.Count { return t.Ready })), ageOf(c.snap, ages...),
		measureOf("running", "running", answer.SumOf(c.snap, mine, func(t *view.Type) view.Count { return t.Running })), rates, failures,
	}, func(subject string) bool { return subject == typ || strings.HasSuffix(subject, "/"+typ) })
	return f, nil
}

func checkDead(c *checking, most int64) *finding {
	f := newFinding("dead")
	m := measureOf("dead", "dead jobs:", c.snap.Dead)
	var crit []*bound
	if most >= 0 {
		crit = []*bound{{name: "dead", value: float64(most)}}
	}
	f.judge(&m, nil, crit)
	if !m.known {
		f.note(isUnknown, "how many jobs are dead is not known")
	} else if f.Exit == isOK {
		f.note(isOK, plural(int(c.snap.Dead.Value), "dead job", "dead jobs"))
	}
	return f
}

func checkWorkers(c *checking, least int) *finding {
	f := newFinding("workers")
	working, slots, used := 0, 0, 0
	for i := range c.snap.Workers {
		n := &c.snap.Workers[i]
		used += n.SlotsUsed()
		if n.State != registry.Draining {
			working, slots = working+1, slots+n.Concurrency
		}
	}
	known := !slices.ContainsFunc(c.snap.Missing, func(m view.Missing) bool { return m.What == view.MissingRegistry })
	m := measure{name: "working", about: "working:", value: float64(working), known: known, least: true}
	f.judge(&m, nil, []*bound{{name: "working", value: float64(least)}})
	if known {
		f.judge(&measure{name: "slots", value: float64(slots), known: true}, nil, nil)
		f.judge(&measure{name: "used", value: float64(used), known: true}, nil, nil)
		if f.Exit == isOK {
			f.note(isOK, plural(working, "worker takes jobs", "workers take jobs"))
		}
	}
	return f
}

func checkBroker(_ *session, c *checking, _ []string) (*finding, error) {
	f := newFinding("broker")
	about := []problem.Code{problem.Leaderless, problem.Lagging, problem.Disk, problem.Versions, problem.ScheduleLate}
	for _, p := range c.report.Problems {
		if slices.Contains(about, p.Code) && (p.Code != problem.Versions || p.Level == problem.Error) {
			f.problem(&p, verdictOf(p.Level))
		}
	}
	for _, m := range c.snap.Missing {
		if !slices.ContainsFunc(f.Problems, func(p problem.Problem) bool { return strings.HasSuffix(m.What, p.Subject) }) {
			f.note(isUnknown, m.What+": "+m.Why)
		}
	}
	if f.Exit == isOK {
		f.note(isOK, c.snap.Server.URL+" answers ("+c.snap.Server.Version+")")
	}
	f.judge(&measure{name: "snapshot", value: float64(c.snap.Took.Milliseconds()) / 1000, age: true, known: true}, nil, nil)
	return f, nil
}

func checkProblems(c *checking, ignored []string) (*finding, error) {
	ignore := make(map[problem.Code]bool)
	for _, name := range ignored {
		i := slices.IndexFunc(problem.Kinds(), func(k problem.Kind) bool { return strings.EqualFold(k.ID, name) || string(k.Code) == name })
		if i < 0 {
			return nil, cli.Usagef("--ignore %s: there is no such code; docs/problems.md has those there are", name)
		}
		ignore[problem.Kinds()[i].Code] = true
	}
	f := newFinding("problems")
	for _, p := range c.report.Problems {
		if !ignore[p.Code] {
			f.problem(&p, verdictOf(p.Level))
		}
	}
	for _, g := range c.report.Unknown {
		if left := slices.DeleteFunc(slices.Clone(g.Codes), func(c problem.Code) bool { return ignore[c] }); len(left) > 0 {
			names := make([]string, len(left))
			for i, code := range left {
				names[i] = string(code)
			}
			f.note(isUnknown, "not looked for: "+strings.Join(names, ", ")+": "+g.Why)
		}
	}
	if len(f.parts) == 0 {
		f.note(isOK, "none")
	}
	f.judge(&measure{name: "problems", value: float64(len(f.Problems)), known: true}, nil, nil)
	return f, nil
}
