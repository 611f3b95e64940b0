package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
)

// whyAgain is how often --watch looks.
const whyAgain = 2 * time.Second

func whyCommand(a *app) *cobra.Command {
	var watch bool
	cmd := a.command(spec{
		use:   "why REF...",
		short: "What a job waits for, who has it, or how it ended",
		long: "Say what a job waits for, and what can be done about it: all that keeps it, what lasts longest\n" +
			"first, and then what else is to be known. Of a job that runs it says where, of one that ended how.\n" +
			"The codes are a contract, and docs/why.md has them all. It asks the broker for eight answers at\n" +
			"most, however long the queues are.",
		example: "  millhand why import/0192f3c0-80b1-7f55-b0aa-112233445566\n  millhand why email/welcome-42 --watch\n" +
			"  millhand list state:ready type:import -n 1 -o name | millhand why -",
		formats: []format{formatText, formatJSON, formatNDJSON},
		args:    cobra.MinimumNArgs(1),
		run: func(ctx context.Context, s *session, args []string) error {
			refs, err := parseRefs(ctx, args, s.in)
			if err != nil {
				return err
			}
			if len(refs) > 1 && (watch || s.output == formatJSON) {
				return cli.Usagef("--watch and -o json are for one job; several are printed with -o ndjson")
			}
			if watch && s.output == formatJSON {
				return cli.Usagef("--watch prints one answer after the other: use -o ndjson")
			}
			return s.explainAll(ctx, refs, watch)
		},
	})
	cmd.Flags().BoolVar(&watch, "watch", false, "go on with each answer that differs, until the job has started")
	return cmd
}

// explainAll explains one job after the other. One that is not there does not keep the others back.
func (s *session) explainAll(ctx context.Context, refs []ref, watch bool) error {
	missing := 0
	for i, r := range refs {
		if i > 0 && s.output == formatText {
			if err := s.say(""); err != nil {
				return err
			}
		}
		found, err := s.explain(ctx, r, watch)
		if err != nil {
			return err
		}
		if !found {
			missing++
		}
	}
	switch {
	case missing == 0:
		return nil
	case len(refs) == 1:
		return exitWith(cli.ExitNotFound, nil)
	}
	return exitWith(cli.ExitNotFound, fmt.Errorf("nothing is known of %d of %d jobs", missing, len(refs)))
}

// explain explains a job, and reports whether anything is known of it.
func (s *session) explain(ctx context.Context, r ref, watch bool) (found bool, err error) {
	ref, err := s.lookUp(ctx, r)
	if err != nil {
		step, ok := s.stepOf(ctx, r.id)
		if !ok || step.Kind == "group" { // which has many jobs
			return false, err
		}
		ref = step.Ref // it has no job yet
	}
	p, err := job.PlaceOf(ref.Queue, ref.Type, ref.ID)
	if err != nil {
		return false, asUsage(err)
	}
	a, err := s.why(ctx, p)
	if err != nil {
		return false, fmt.Errorf("look at job %s: %w", refOf(ref), err)
	}
	if a.First().Code == explain.NotFound { // of a job of a group no more is known than of the group
		if text := s.whyHeld(ctx, r.id); text != "" {
			return false, exitWith(cli.ExitNotFound, notThere("job", r.String(), text))
		}
	}
	if err := s.showAnswer(a, r); err != nil {
		return false, err
	}
	if watch {
		a, err = s.watchAnswer(ctx, p, a, r)
	}
	return a.First().Code != explain.NotFound, err
}

// starts is how many jobs of a queue and type started in a minute lately, 0 if that is not known.
func (s *session) starts(ctx context.Context, queue, typ string) (float64, error) {
	return stats.NewStore(s.js, slog.New(slog.DiscardHandler)).StartRate(ctx, tally.Pair{Queue: queue, Type: typ}, time.Now())
}

func (s *session) why(ctx context.Context, p job.Place) (*explain.Answer, error) {
	a, err := explain.Look(ctx, s.view, p)
	if err == nil {
		s.now = a.LookedAt
	}
	return a, err
}

// watchAnswer shows what changes, until the job is not blocked any more.
func (s *session) watchAnswer(ctx context.Context, p job.Place, a *explain.Answer, asked ref) (*explain.Answer, error) {
	tick := time.NewTicker(whyAgain)
	defer tick.Stop()
	for waits(a) {
		select {
		case <-ctx.Done():
			return a, exitWith(cli.ExitInterrupted, nil)
		case <-tick.C:
		}
		next, err := s.why(ctx, p)
		if ctx.Err() != nil {
			return a, exitWith(cli.ExitInterrupted, nil)
		}
		if err != nil {
			return a, fmt.Errorf("look at job %s: %w", asked, err)
		}
		if changed(a, next) {
			if s.output == formatText {
				if err := s.say(""); err != nil {
					return a, err
				}
			}
			if err := s.showAnswer(next, asked); err != nil {
				return a, err
			}
		}
		a = next
	}
	return a, nil
}

// waits reports whether a job has not started, and may yet.
func waits(a *explain.Answer) bool {
	return a.Blocked || a.First().Code == explain.AboutToStart || a.First().Code == explain.Cancelling && a.State != job.Running
}

// changed reports whether the answer is another one to somebody who reads it.
func changed(a, b *explain.Answer) bool {
	same := func(x, y explain.Reason) bool {
		return x.Code == y.Code && x.Text == y.Text && x.Blocking == y.Blocking
	}
	return a.State != b.State || !slices.EqualFunc(a.Reasons, b.Reasons, same)
}

func (s *session) showAnswer(a *explain.Answer, asked ref) error {
	told := struct {
		*explain.Answer
		Headline string `json:"headline,omitempty"`
	}{a, a.Headline()}
	switch s.output {
	case formatJSON:
		return s.json(told)
	case formatNDJSON:
		return s.jsonLine(told)
	case formatText, formatName, formatCSV: // the latter two were refused
	}
	head := cmp.Or(string(a.State), refOf(millhand.Ref{Queue: a.Queue, Type: a.Type, ID: a.ID}).String())
	if !a.Since.IsZero() {
		head += fmt.Sprintf(" since %s (%s)", s.moment(a.Since), span(max(s.now.Sub(a.Since), 0)))
	}
	if h := told.Headline; h != "" {
		head += ": " + h
	}
	if asked.queue == "" && a.State != "" {
		head = ref{a.Queue, a.Type, a.ID}.String() + " " + head
	}
	if err := s.say("%s", head); err != nil {
		return err
	}
	if err := s.say(""); err != nil {
		return err
	}
	for i := range a.Reasons {
		if err := s.showReason(&a.Reasons[i]); err != nil {
			return err
		}
	}
	return s.showAdvice(a.Advice)
}

// codeWidth is how wide the column of codes is.
const codeWidth = 15

func (s *session) showReason(r *explain.Reason) error {
	text := r.Text
	if !r.Until.IsZero() {
		text += "; " + s.untilText(r)
	}
	style := faint
	if r.Blocking {
		style = yellow
	}
	code := fmt.Sprintf("%-*s", codeWidth, r.Code)
	for i, l := range s.wrap(text, len("  ")+codeWidth+1) {
		if i > 0 {
			code = strings.Repeat(" ", codeWidth)
		}
		if _, err := fmt.Fprintf(s.out, "  %s %s\n", paint(code, style, s.colors()), cli.OneLine(l)); err != nil {
			return err
		}
	}
	for _, l := range s.details(r) {
		if _, err := fmt.Fprintf(s.out, "  %*s %s\n", codeWidth, "", cli.OneLine(l)); err != nil {
			return err
		}
	}
	return nil
}

// untilText says when a reason ends by itself.
func (s *session) untilText(r *explain.Reason) string {
	at := fmt.Sprintf("%s (in %s)", s.moment(r.Until), span(max(r.Until.Sub(s.now), 0)))
	switch r.Code { //nolint:exhaustive // the others end like each other
	case explain.NotDue, explain.Backoff:
		return "at " + at
	case explain.RateExhausted:
		return "the next start is at " + at + ", at the latest"
	case explain.Running:
		return "its time is over at " + at
	case explain.QueuePaused, explain.TypePaused:
		return "until " + at
	case explain.Behind:
		return "it starts at about " + at
	}
	return "until " + at + " at the latest"
}

// details are the lines below a reason: who has what.
func (s *session) details(r *explain.Reason) (lines []string) {
	switch d := r.Data.(type) {
	case explain.PoolData:
		if len(d.Holders) == 0 {
			return nil
		}
		width, idWidth := 0, 0
		for _, h := range d.Holders {
			width, idWidth = max(width, len(h.Worker)), max(idWidth, len(h.Type+"/"+h.ID))
		}
		for _, h := range d.Holders {
			lines = append(lines, fmt.Sprintf("%-*s  %-*s  %s", width, h.Worker, idWidth, h.Type+"/"+h.ID, s.age(h.Since)))
		}
		if more := d.Used - len(d.Holders); more > 0 {
			lines = append(lines, fmt.Sprintf("and %d more", more))
		}
	case explain.RunData:
		if d.Progress != nil {
			lines = append(lines, progressText(millhand.Progress(*d.Progress)))
		}
		if d.Trace != "" {
			lines = append(lines, "trace "+d.Trace)
		}
	}
	return lines
}

// showAdvice prints what can be done.
func (s *session) showAdvice(all []explain.Advice) error {
	if len(all) == 0 {
		return nil
	}
	width := 0
	for _, a := range all {
		width = max(width, len(a.Text))
	}
	for i, a := range all {
		title := "       "
		if i == 0 {
			title = "\nto do: "
		}
		text := a.Text
		if a.Command != "" {
			text = fmt.Sprintf("%-*s %s", width+1, a.Text+":", a.Command)
		}
		if _, err := fmt.Fprintln(s.out, title+cli.OneLine(text)); err != nil {
			return err
		}
	}
	return nil
}

// wrap breaks a text into lines that fit the terminal beside what stands before them.
func (s *session) wrap(text string, before int) []string {
	const least = 30
	if !cli.IsTerminal(s.out) || s.wide {
		return []string{text}
	}
	width := max(cli.Width(s.out)-before, least)
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case uniseg.StringWidth(*last)+1+uniseg.StringWidth(word) > width:
			lines = append(lines, word)
		default:
			*last += " " + word
		}
	}
	return lines
}
