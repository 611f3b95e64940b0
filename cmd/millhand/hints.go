package main

import (
	"fmt"
	"slices"

	"github.com/rivo/uniseg"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/view"
)

// A hint is something that keeps jobs waiting or is left of them, and the command that goes on from there.
type hint struct {
	Command string `json:"command"`
	Text    string `json:"text"`
}

// mostHints is how many there are on one screen.
const mostHints = 12

// hints are what somebody is to know who asks why jobs wait, beside what is a problem and said already.
func (s *session) hints(snap *view.Snapshot, report *problem.Report) []hint {
	all := []hint{}
	for i := range snap.Queues {
		all = append(all, s.queueHints(snap, report, &snap.Queues[i])...)
	}
	for i := range snap.Pools {
		p := &snap.Pools[i]
		if waiting := waitingFor(snap, p); waiting.Value > 0 {
			all = append(all, hint{"millhand " + answer.LimitedBy(p) + " " + p.Name, countText(waiting) + " ready, and " + fullText(p)})
		}
	}
	if snap.Dead.Value > 0 {
		all = append(all, hint{"millhand dead groups", countText(snap.Dead) + " dead, by their errors"})
	}
	return all
}

// isProblem reports whether there is a problem of a code with a subject.
func isProblem(r *problem.Report, c problem.Code, subject string) bool {
	return slices.ContainsFunc(r.Problems, func(p problem.Problem) bool { return p.Code == c && p.Subject == subject })
}

func (s *session) queueHints(snap *view.Snapshot, report *problem.Report, q *view.Queue) (all []hint) {
	if q.Paused != nil && !isProblem(report, problem.PausedLong, q.Name) {
		all = append(all, hint{"millhand resume " + q.Name, s.pauseText(q.Paused)})
	}
	for i := range q.Types {
		t := &q.Types[i]
		subject := q.Name + "/" + t.Name
		if t.Paused != nil && !isProblem(report, problem.PausedLong, subject) {
			all = append(all, hint{"millhand resume " + subject, s.pauseText(t.Paused)})
		}
		if unserved(t) && len(snap.Workers) > 0 && !isProblem(report, problem.NoWorker, subject) { // without any, that is what is said
			all = append(all, hint{"millhand types " + t.Name, countText(t.Ready) + " ready in " + q.Name + ", and " + unservedText(t) + ": start one that does"})
		}
	}
	if n := unclaimed(q); n > 0 && len(snap.Workers) > 0 && !isProblem(report, problem.NoWorker, q.Name) {
		all = append(all, hint{"millhand list state:ready queue:" + q.Name, thousands(n) + " ready of types that no worker has ever served"})
	}
	return all
}

// unclaimed is how many jobs are ready of types that no worker has ever served, besides those of the types that
// are known by name.
func unclaimed(q *view.Queue) int64 {
	n := q.Unclaimed.Value
	for i := range q.Types {
		if t := &q.Types[i]; !t.Consumer {
			n -= t.Ready.Value
		}
	}
	return n
}

// unserved reports whether jobs of a type wait that no worker takes.
func unserved(t *view.Type) bool { return t.Workers == 0 && t.Ready.Value > 0 }

func unservedText(t *view.Type) string {
	if t.Draining > 0 {
		return "only draining workers serve it"
	}
	return "no worker serves it"
}

// waitingFor is how many jobs are ready that would start if a limit were higher: none while it is not full,
// and none that are paused or that nobody serves.
func waitingFor(snap *view.Snapshot, p *view.Pool) view.Count {
	if !answer.IsFull(snap, p) {
		return view.Count{}
	}
	return answer.SumOf(snap, func(t *view.Type) bool {
		return answer.Limits(p, t) && t.Workers > 0 && t.Paused == nil && !answer.IsPaused(snap, t.Queue)
	},
		func(t *view.Type) view.Count { return t.Ready })
}

func fullText(p *view.Pool) string {
	if p.Rate {
		return "the rate is used up: " + limitText(p.Limit, p.Per)
	}
	return "the quota is full: " + limitText(p.Limit, "")
}

// showHints prints what is to know below a screen, whole: the table above cuts it.
func (s *session) showHints(all []hint) error {
	if len(all) == 0 {
		return nil
	}
	width := 0
	for _, n := range all[:min(len(all), mostHints)] {
		width = max(width, uniseg.StringWidth(n.Command))
	}
	lines := []string{"", " to look at:"}
	for _, n := range all[:min(len(all), mostHints)] {
		command := n.Command
		for _, text := range s.wrap(n.Text, len("   ")+width+len("   ")) {
			lines = append(lines, fmt.Sprintf("   %-*s   %s", width, command, cli.OneLine(text)))
			command = ""
		}
	}
	if more := len(all) - mostHints; more > 0 {
		lines = append(lines, fmt.Sprintf("   and %d more: millhand types", more))
	}
	return s.printLines(lines)
}
