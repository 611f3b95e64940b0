package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/rivo/uniseg"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/view"
)

// mostProblems is how many there are on one screen.
const mostProblems = 15

// judge says what is wrong as of a snapshot.
func (s *session) judge(ctx context.Context, snap *view.Snapshot) *problem.Report {
	r := s.problems.Judge(ctx, snap, nil)
	if r.Unknown == nil {
		r.Unknown = []problem.Gap{}
	}
	return r
}

func levelStyle(l problem.Level) style {
	switch l {
	case problem.Error:
		return red
	case problem.Warning:
		return yellow
	case problem.Notice:
	}
	return normal
}

// problemText is what is wrong, with for how long it has been so, if that is known.
func (s *session) problemText(p *problem.Problem) string {
	if p.Since.IsZero() {
		return p.About + ": " + p.Is
	}
	if s.absolute {
		return p.About + ", since " + s.moment(p.Since) + ": " + p.Is
	}
	return p.About + ", for " + s.age(p.Since) + ": " + p.Is
}

// showProblems prints what is wrong, whole, with the command that goes on from there: behind it where
// there is room, and else below.
func (s *session) showProblems(r *problem.Report) error {
	shown := r.Problems[:min(len(r.Problems), mostProblems)]
	codes := 0
	for i := range shown {
		codes = max(codes, len(shown[i].Code))
	}
	for i := range shown {
		if err := s.showProblem(&shown[i], codes); err != nil {
			return err
		}
	}
	if more := len(r.Problems) - mostProblems; more > 0 {
		if err := s.say(" ! and %d more: millhand status -o json", more); err != nil {
			return err
		}
	}
	for _, g := range r.Unknown {
		names := make([]string, len(g.Codes))
		for i, c := range g.Codes {
			names[i] = string(c)
		}
		if err := s.hanging(" ? ", s.wrap("not looked for: "+strings.Join(names, ", ")+": "+g.Why, len(" ? "))); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) showProblem(p *problem.Problem, codes int) error {
	level := fmt.Sprintf("%-*s", len("warning"), p.Level)
	code := gap + fmt.Sprintf("%-*s", codes, p.Code) + "   "
	before := len(" ! ") + len(level) + len(code)
	texts := s.wrap(s.problemText(p), before)
	if c := commandOfAdvice(p.Advice); c != "" {
		if len(texts) == 1 && len(s.wrap(texts[0]+"        "+c, before)) == 1 {
			texts[0] += "        " + c
		} else {
			texts = append(texts, c)
		}
	}
	if _, err := fmt.Fprint(s.out, " ! "+paint(level, levelStyle(p.Level), s.colors())); err != nil {
		return err
	}
	return s.hangingFrom(code, before, texts)
}

// hanging prints a text of several lines, of which the others begin below the first one.
func (s *session) hanging(head string, texts []string) error {
	return s.hangingFrom(head, uniseg.StringWidth(head), texts)
}

func (s *session) hangingFrom(head string, indent int, texts []string) error {
	for _, text := range texts {
		if _, err := fmt.Fprintln(s.out, head+oneLine(text)); err != nil {
			return err
		}
		head = strings.Repeat(" ", indent)
	}
	return nil
}

// oneLine is a text without what could break out of its line, with the spaces that are in it.
func oneLine(text string) string {
	about, command, found := strings.Cut(text, "        ")
	if !found {
		return cli.OneLine(text)
	}
	return cli.OneLine(about) + "        " + cli.OneLine(command)
}

func commandOfAdvice(a *problem.Advice) string {
	if a == nil {
		return ""
	}
	return a.Command
}
