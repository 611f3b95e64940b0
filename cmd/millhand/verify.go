package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/drill"
	"github.com/millhand/millhand/internal/verify"
)

// maxLooks is how many looks may be asked for.
const maxLooks = 10

func verifyCommand(a *app) *cobra.Command {
	var o verify.Options
	var only []string
	var report string
	var d drillFlags
	var cmd *cobra.Command
	cmd = a.command(spec{
		use:   "verify",
		short: "Are the promises kept: no job lost, none twice, no limit exceeded?",
		long: "Look whether what Millhand promises is true of the jobs, leases, limits and streams there are.\n" +
			"It reads bounded samples and writes nothing, so it may run at any time. What looks wrong is looked\n" +
			"at again two thirds of a lease later, mostly 20 seconds, and reported only if it is still the same.\n" +
			"A check that had nothing to look at is a skip. docs/verify.md says what each check means and what\n" +
			"to do. Exits with 8 if something is violated.\n\n" +
			"--drill rehearses instead: it enqueues jobs to a queue of its own, and kills, freezes and drains\n" +
			"workers of its own, which are processes of this machine. Afterwards it removes what it made.",
		example: "  millhand verify\n  millhand verify --only S02,L02 --looks 3\n  millhand verify --deep --report verify.json   reads all jobs and events, one by one\n" +
			"  millhand verify --drill --jobs 500 --duration 20s",
		run: func(ctx context.Context, s *session, _ []string) error {
			err := d.check(cmd.Flags())
			switch {
			case err != nil:
				return err
			case d.do:
				return s.drill(ctx, d.Options, report)
			}
			if o.Checks, err = checksNamed(only); err != nil {
				return err
			}
			if o.Looks < 1 || o.Looks > maxLooks {
				return cli.Usagef("--looks %d: must be from 1 to %d", o.Looks, maxLooks)
			}
			return s.verify(ctx, o, report)
		},
	})
	fs := cmd.Flags()
	fs.BoolVar(&o.Deep, "deep", false, "look at all jobs, events and dead jobs, rather than a sample")
	fs.StringSliceVar(&only, "only", nil, "make these `CHECKS` only, such as C01,L02, or whole classes, such as limits")
	fs.IntVar(&o.Looks, "looks", 2, "report what so `MANY` looks saw; C07 takes one more")
	fs.StringVar(&report, "report", "", "write the facts behind each finding to a `FILE`, without payloads, errors and results")
	d.register(fs)
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(namesOfChecks(), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

// checksNamed are the checks of these ids and classes, in order; all without any.
func checksNamed(names []string) (found []verify.Check, err error) {
	if len(names) == 0 {
		return verify.Checks(), nil
	}
	named := func(c *verify.Check, name string) bool {
		return strings.EqualFold(c.ID, name) || strings.EqualFold(string(c.Class), name)
	}
	all := verify.Checks()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c verify.Check) bool { return named(&c, name) }) {
			return nil, cli.Usagef("--only %s: no such check; there are %s", name, strings.Join(namesOfChecks(), ", "))
		}
	}
	for i := range all {
		if slices.ContainsFunc(names, func(name string) bool { return named(&all[i], name) }) {
			found = append(found, all[i])
		}
	}
	return found, nil
}

func namesOfChecks() (names []string) {
	for _, c := range verify.Checks() {
		names = append(names, c.ID)
	}
	for _, c := range verify.Classes() {
		names = append(names, string(c))
	}
	return names
}

func (s *session) verify(ctx context.Context, o verify.Options, report string) error {
	o.Waiting = func(d time.Duration, unsure []string) {
		s.warn("%s: looking again in %v", strings.Join(unsure, ", "), d.Round(time.Second))
	}
	r, err := verify.Run(ctx, verify.Config{Conn: s.nc, Client: s.js, Store: s.store, Registry: s.registry, View: s.view}, o)
	if err != nil {
		return err
	}
	return s.showReport(r, r, report)
}

// showReport prints a report, as which JSON has it, and writes it to a file if there is to be one.
func (s *session) showReport(r *verify.Report, asJSON any, file string) (err error) {
	if file != "" {
		if err := writeReport(file, asJSON); err != nil {
			return err
		}
	}
	if s.output == formatJSON {
		err = s.json(asJSON)
	} else {
		err = s.showVerified(r)
	}
	if err != nil {
		return err
	}
	if r.Violated > 0 {
		return &cli.ExitError{Code: cli.ExitViolation}
	}
	return nil
}

// writeReport writes a report whole, or not at all.
func writeReport(path string, r any) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

func (s *session) showVerified(r *verify.Report) error {
	for _, class := range append(verify.Classes(), drill.Class) {
		if err := s.showClass(r, class); err != nil {
			return err
		}
	}
	for i := range r.Checks {
		if err := s.showFindings(&r.Checks[i]); err != nil {
			return err
		}
	}
	if err := s.say(""); err != nil {
		return err
	}
	return s.say("%s: %d ok, %d violated, %d skipped, %.1f s", plural(len(r.Checks), "check", "checks"), r.OK, r.Violated, r.Skipped, r.Took)
}

// verifyWidth is how wide the lines of checks are, if they fit at all.
const verifyWidth = 100

// showClass prints the checks of a class, as many to a line as fit.
func (s *session) showClass(r *verify.Report, class verify.Class) error {
	const indent = "               "
	text, width := fmt.Sprintf(" %-14s", class), 0
	empty := true
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Class != class {
			continue
		}
		plain := c.ID + " " + checkText(c, func(t string, _ style) string { return t })
		if width += len(plain) + 3; width > verifyWidth-len(indent) && !empty {
			text, width = text+"\n"+indent, len(plain)
		} else if !empty {
			text += "   "
		}
		text += c.ID + " " + checkText(c, func(t string, st style) string { return paint(t, st, s.colors()) })
		empty = false
	}
	if empty {
		return nil
	}
	_, err := fmt.Fprintln(s.out, text)
	return err
}

// checkText is what came of a check, in short.
func checkText(c *verify.Result, paint func(string, style) string) string {
	switch c.Status {
	case verify.Violated:
		return paint("FAIL", red)
	case verify.Skipped:
		return paint("skip", faint) + " (" + cli.OneLine(c.Why) + ")"
	case verify.Passed:
	}
	looked := plural(int(c.LookedAt), strings.TrimSuffix(c.What, "s"), c.What)
	if c.Of > c.LookedAt {
		looked = fmt.Sprintf("%s of %s %s", thousands(c.LookedAt), thousands(c.Of), c.What)
	}
	return paint("ok", green) + " (" + looked + ")"
}

// shownFindings is how many findings of a check are printed; --report and -o json have more.
const shownFindings = 10

// showFindings prints what a check found, and what to do.
func (s *session) showFindings(c *verify.Result) error {
	if c.Status != verify.Violated {
		return nil
	}
	if err := s.say(""); err != nil {
		return err
	}
	for i := range c.Findings[:min(len(c.Findings), shownFindings)] {
		f := &c.Findings[i]
		var seen []string
		for _, at := range f.Seen {
			seen = append(seen, s.moment(at))
		}
		if err := s.say("%s  %s; seen at %s", paint(c.ID, red, s.colors()), cli.OneLine(f.Text), strings.Join(seen, " and ")); err != nil {
			return err
		}
	}
	if more := len(c.Findings) - shownFindings; more > 0 {
		if err := s.say("     and %d more: see --report FILE", more); err != nil {
			return err
		}
	}
	return s.printLines(s.indented("what to do: " + c.Advice + "; see " + c.Doc))
}

// indented is a text below a finding, in as many lines as it takes.
func (s *session) indented(text string) []string {
	const indent = "     "
	lines := s.wrap(text, len(indent))
	for i := range lines {
		lines[i] = indent + lines[i]
	}
	return lines
}
