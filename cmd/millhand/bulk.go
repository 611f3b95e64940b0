package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/view"
)

// A bulker is what commands have in common that act on all jobs that a filter means.
type bulker struct {
	kind   bulk.Kind
	picker picker
	all    bool
	limit  int
	rate   string
	resume string
	dryRun bool

	question question
}

// onJobs makes a command that acts on jobs that are named, or on all that a filter means, with flags of its own.
func (b *bulker) onJobs(a *app, s spec, own func(*cobra.Command)) *cobra.Command {
	s.formats, s.args = ofList(), cobra.ArbitraryArgs
	cmd := a.command(s)
	own(cmd)
	b.register(a, cmd)
	return cmd
}

// The rest of the help of a command that takes --filter.
const bulkHelp = "\n\nWith --filter it shows how many jobs are meant, asks, and acts on them at a pace that heeds how fast\n" +
	"the broker writes. A job that is not as it was seen is left alone (exit 7). Ctrl-C stops it, and it\n" +
	"prints a cursor to go on with."

// register adds the flags, those of terms for the keys alone.
func (b *bulker) register(a *app, cmd *cobra.Command, keys ...filter.Key) {
	fs := cmd.Flags()
	fs.BoolVar(&b.all, "all", false, "all jobs of the state, without a filter that means less")
	fs.IntVar(&b.limit, "limit", 0, "act on `N` of the jobs at most; 0: on all")
	fs.StringVar(&b.rate, "rate", strconv.Itoa(bulk.DefaultRate)+"/s", fmt.Sprintf("act on `N/s` jobs a second, to %d", bulk.MaxRate))
	fs.StringVar(&b.resume, "resume", "", "go on where the same command was stopped, which has printed this `CURSOR`")
	fs.BoolVar(&b.dryRun, "dry-run", false, "only say what would be done")
	b.question.register(cmd)
	b.picker.register(a, cmd, keys...)
}

// meant reports whether a command is about what a filter means, and not about jobs that it names.
func (b *bulker) meant(args []string) (bool, error) {
	filtered := len(b.picker.filters) > 0 || b.all || b.resume != ""
	switch {
	case filtered && len(args) > 0:
		return false, cli.Usagef("%s: name jobs, or give a --filter", args[0])
	case !filtered && len(args) == 0:
		return false, cli.Usagef("which jobs? name some, or give a --filter")
	case !filtered && b.limit != 0:
		return false, cli.Usagef("--limit is for --filter")
	}
	return filtered, nil
}

// verbs are what is done and was done, and to what.
func (b *bulker) verbs() (do, done, one, many string) {
	switch b.kind {
	case bulk.Retry:
		return "retry", "retried", "dead job", "dead jobs"
	case bulk.Delete:
		return "remove", "removed", "dead job", "dead jobs"
	case bulk.Start:
		return "start", "started", "job", "jobs"
	case bulk.Cancel:
	}
	return "cancel", "cancelled", "job", "jobs"
}

// A bulkResult is what -o json prints. Its field names are a contract.
type bulkResult struct {
	*bulk.Looked
	bulk.Report

	Cursor    *string `json:"cursor"`     // null: there is no more
	PerSecond int     `json:"per_second"` // jobs, at most
	DryRun    bool    `json:"dry_run"`
	TookMS    int64   `json:"took_ms"`
}

// act has an action done to all jobs that the filter means of arguments and flags. It is made once it is
// known which those are: those that were in their state at a time.
func (b *bulker) act(ctx context.Context, s *session, args []string, action func(at time.Time) bulk.Action) error {
	f, perSecond, err := b.check(s, args)
	if err != nil {
		return err
	}
	snap, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	op := bulk.Operation{Filter: f, Before: snap.At, Limit: b.limit, Cursor: b.resume}
	look, err := bulk.Look(ctx, s.view, op)
	if err != nil {
		return asResume(err)
	}
	n := look.Matched
	if b.limit > 0 {
		n = min(n, b.limit)
	}
	if err := b.showLook(s, look); err != nil {
		return err
	}
	if b.dryRun || n == 0 {
		return b.say(s, &bulkResult{Looked: look, DryRun: b.dryRun, PerSecond: perSecond}, n, perSecond)
	}
	if err := b.question.ask(ctx, s.app, n, b.asked(n)); err != nil {
		return err
	}
	pace := bulk.NewPace(perSecond)
	s.pace.Store(pace)
	began, bar := time.Now(), b.progress(s, n)
	note := b.auditing(ctx, s, f, n)
	report, err := bulk.Run(ctx, s.view, op, action(snap.At), pace, func(r bulk.Report) {
		bar.show(r)
		note.soFar(&r)
	})
	bar.end()
	note.ended(&report, err)
	result := &bulkResult{Looked: look, Report: report, PerSecond: perSecond, TookMS: time.Since(began).Milliseconds()}
	if report.Cursor != "" {
		result.Cursor = &report.Cursor
	}
	if failed := b.say(s, result, n, perSecond); failed != nil {
		return failed
	}
	return b.outcome(s, &report, err)
}

// asked is what is asked before it is done with n jobs.
func (b *bulker) asked(n int) string {
	do, _, one, many := b.verbs()
	what := do + " " + plural(n, one, many)
	if b.kind == bulk.Delete {
		what += " for good"
	}
	return what
}

// check refuses what cannot be meant.
func (b *bulker) check(s *session, args []string) (f filter.Filter, perSecond int, err error) {
	if err := s.check([]format{formatText, formatJSON}); err != nil {
		return f, 0, err
	}
	if f, err = b.picker.filter(args); err != nil {
		return f, 0, err
	}
	if f, err = b.kind.Meant(f, b.all); err != nil {
		return f, 0, cli.Usagef("%w", err)
	}
	perSecond, err = strconv.Atoi(strings.TrimSuffix(b.rate, "/s"))
	if err != nil || perSecond < 1 || perSecond > bulk.MaxRate {
		return f, 0, cli.Usagef("--rate %s: want 1/s to %d/s", b.rate, bulk.MaxRate)
	}
	if b.limit < 0 {
		return f, 0, cli.Usagef("--limit %d: must not be negative", b.limit)
	}
	return f, perSecond, nil
}

// asResume marks what is wrong with a cursor as the caller's.
func asResume(err error) error {
	if errors.Is(err, view.ErrCursor) {
		return cli.Usagef("--resume: this cursor is not of a command with this filter; leave it out to begin anew")
	}
	return fmt.Errorf("look which jobs are meant: %w", err)
}

// showLook shows what is meant, before it is asked.
func (b *bulker) showLook(s *session, look *bulk.Looked) error {
	if s.output != formatText || look.Matched == 0 {
		return nil
	}
	_, _, one, many := b.verbs()
	verb, of, example := "match", "", ""
	if look.Matched == 1 {
		verb = "matches"
	}
	if one == "dead job" && look.Of.Known() && look.Of.Value > int64(look.Matched) {
		of = " (of " + countText(look.Of) + ")"
	}
	if look.Matched > len(look.Sample) {
		example = "; for example"
	}
	const shown = 5
	types := strings.Join(look.Types[:min(len(look.Types), shown)], ", ")
	if len(look.Types) > shown {
		types += ", …"
	}
	kinds := "type "
	if len(look.Types) > 1 {
		kinds = "types "
	}
	when := s.moment(look.From)
	if until := s.moment(look.Until); until != when {
		when += " – " + until
	}
	if err := s.say("%s %s%s, %s, %s%s:", plural(look.Matched, one, many), verb, of, when, kinds+types, example); err != nil {
		return err
	}
	t := s.table(column{title: "JOB"}, column{title: "STATE"}, column{title: "AGE"}, column{title: "INFO"})
	for i := range look.Sample {
		j := &look.Sample[i]
		t.add(plain(ref{j.Queue, j.Type, j.ID}.String()), stateCell(j.State), plain(s.age(j.Since)), plain(s.info(j)))
	}
	return t.write(s.out)
}

// say prints what was done, or would be.
func (b *bulker) say(s *session, r *bulkResult, n, perSecond int) error {
	if s.output == formatJSON {
		if r.Outcomes == nil {
			r.Outcomes, r.Refused = map[string]int{}, map[string]int{}
		}
		return s.json(r)
	}
	do, done, one, many := b.verbs()
	if r.DryRun && n > 0 {
		took := time.Duration(n) * time.Second / time.Duration(perSecond)
		return s.say("would %s %s at %d/s, about %s", do, plural(n, one, many), perSecond, span(took))
	}
	if n == 0 {
		return s.say("no job matches: nothing to %s", do)
	}
	text := done + " " + plural(r.Done, one, many)
	if refused := r.RefusedTotal(); refused > 0 {
		text += fmt.Sprintf(", refused %s (%s)", thousands(int64(refused)), counted(r.Refused, refusalTexts()))
	}
	if r.Failed > 0 {
		text += ", failed " + thousands(int64(r.Failed))
	}
	if len(r.Outcomes) > 1 {
		text += ": " + counted(r.Outcomes, outcomeTexts())
	}
	return s.say("%s in %s", text, span(time.Duration(r.TookMS)*time.Millisecond))
}

// counted is how many there are of each code, in words.
func counted(of map[string]int, words map[string]string) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, thousands(int64(of[code]))+" "+cmp.Or(words[code], code))
	}
	return strings.Join(parts, ", ")
}

// outcomeTexts are the outcomes of operations on many jobs in words.
func outcomeTexts() map[string]string {
	return map[string]string{
		bulk.Retried: "run again", bulk.Deleted: "removed", bulk.StartedEarly: "start now", bulk.Moved: "moved",
		bulk.BeforeStart:  "before they started",
		bulk.WhileRunning: "that ran, whose workers have told them to end",
		bulk.ByBroker:     "of which a worker did not answer, and which end when it returns",
	}
}

// refusalTexts are why jobs were refused, in words.
func refusalTexts() map[string]string {
	return map[string]string{
		bulk.Alive: "with an id that another job has", bulk.Gone: "gone", bulk.AlreadyEnded: "ended already", bulk.AlreadyDue: "due already",
		bulk.Changed: "not as they were seen", bulk.Invalid: "cannot run as they are",
	}
}

// outcome is nil if all that was meant is done.
func (b *bulker) outcome(s *session, r *bulk.Report, err error) error {
	for _, f := range r.Errors {
		s.warn("%s: %s", ref{f.Queue, f.Type, f.ID}, f.Error)
	}
	if r.Cursor != "" {
		s.warn("there is more: the same command goes on with --resume %s", r.Cursor)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &cli.ExitError{Code: cli.ExitInterrupted, Err: errors.New("interrupted")}
	case err != nil:
		return err
	case r.RefusedTotal()+r.Failed > 0:
		return exitWith(cli.ExitPartial, nil)
	}
	return nil
}

// A note is what the audit has of an operation while it goes on.
type note struct {
	keep   func(audit.Record)
	record audit.Record
	last   time.Time
}

// auditing notes that an operation has begun.
func (b *bulker) auditing(ctx context.Context, s *session, f filter.Filter, n int) *note {
	action := audit.Action(b.kind) // they have the same names
	k := &note{
		keep:   func(r audit.Record) { s.record(ctx, r) },
		record: audit.Record{Action: action, Filter: f.String(), Op: audit.NewOp()}, last: time.Now(),
	}
	begun := k.record
	begun.Count, begun.Outcome, begun.Detail = n, audit.Begun, "so many were meant"
	k.keep(begun)
	return k
}

// soFar notes now and then how far it has come: its process may die.
func (k *note) soFar(r *bulk.Report) {
	if time.Since(k.last) >= soFarEvery {
		k.last = time.Now()
		k.keep(k.of(r, audit.SoFar))
	}
}

func (k *note) ended(r *bulk.Report, err error) {
	outcome := audit.Done
	switch {
	case errors.Is(err, context.Canceled):
		outcome = audit.Interrupted
	case err != nil:
		outcome = audit.Failed
	}
	k.keep(k.of(r, outcome))
}

func (k *note) of(r *bulk.Report, outcome string) audit.Record {
	now := k.record
	now.Count, now.Outcome, now.Refused, now.Failed = r.Done, outcome, r.Refused, r.Failed
	return now
}

// A bar shows how far an operation has come: on a terminal as a bar, elsewhere now and then as a line.
type bar struct {
	drawn *progressbar.ProgressBar // nil: on no terminal
	lines func(format string, args ...any)
	what  string
	of    int
	began time.Time
	last  time.Time
}

const (
	barEvery  = 10 * time.Second
	rateAfter = 2 * time.Second // before that it is that of the first few writes
)

// pace is how fast it goes and how long it may take, once that can be told.
func (p *bar) pace(at int, took time.Duration) string {
	if took < rateAfter || at == 0 {
		return p.what
	}
	perSecond := float64(at) / took.Seconds()
	return fmt.Sprintf("%s, %s/s, about %s more", p.what, rateText(perSecond), span(time.Duration(float64(p.of-at)/perSecond*float64(time.Second))))
}

func (b *bulker) progress(s *session, n int) *bar {
	p := &bar{what: string(b.kind), lines: s.warn, of: n, began: time.Now(), last: time.Now()}
	if cli.IsTerminal(s.err) {
		p.drawn = progressbar.NewOptions(n, progressbar.OptionSetWriter(s.err), progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), // its rates are those of the first instants
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *bar) show(r bulk.Report) {
	at := r.Done + r.RefusedTotal() + r.Failed
	switch {
	case p.drawn != nil:
		p.drawn.Describe(p.pace(at, time.Since(p.began)))
		_ = p.drawn.Set(at) // drawing is for show
	case time.Since(p.last) >= barEvery:
		p.last = time.Now()
		p.lines("%s of %s: done %s, refused %s, failed %s", thousands(int64(at)), thousands(int64(p.of)),
			thousands(int64(r.Done)), thousands(int64(r.RefusedTotal())), thousands(int64(r.Failed)))
	}
}

func (p *bar) end() {
	if p.drawn != nil {
		_ = p.drawn.Finish() // drawing is for show
	}
}
