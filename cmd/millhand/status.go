package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

func statusCommand(a *app) *cobra.Command {
	return a.command(spec{
		use:   "status",
		short: "One screen: problems, states, queues and workers",
		long: "One screen: what is wrong and for how long, how many jobs are in which state, the queues and\n" +
			"the workers, what else keeps jobs waiting, and the commands that go on from there. It costs the\n" +
			"broker the same however long the queues are. ≈ is an estimate, > a lower bound, ? not known.",
		example: "  millhand status\n  millhand status -o json\n  watch -t millhand status --wide",
		run: func(ctx context.Context, s *session, _ []string) error {
			snap, rates, err := s.look(ctx)
			if err != nil {
				return err
			}
			report := s.judge(ctx, snap)
			if s.output == formatJSON {
				return s.json(struct {
					*answer.Status
					Hints []hint `json:"to_look_at"`
				}{answer.StatusOf(snap, rates, report), s.hints(snap, report)})
			}
			return s.showStatus(snap, rates, report)
		},
	})
}

// snapshot takes a snapshot, and says what is missing from it.
func (s *session) snapshot(ctx context.Context) (*view.Snapshot, error) {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the broker: %w", err)
	}
	s.now = snap.At // by the broker's clock, as are the times in it
	if s.output == formatJSON {
		return snap, nil // it says so itself
	}
	for _, m := range snap.Missing {
		s.warn("not known: %s: %s", m.What, m.Why)
	}
	return snap, nil
}

func (s *session) showStatus(snap *view.Snapshot, rates *answer.Rates, report *problem.Report) error {
	if err := s.printLines([]string{s.headline(snap)}); err != nil {
		return err
	}
	if err := s.showProblems(report); err != nil {
		return err
	}
	lines := []string{"", " " + states(snap)}
	if r := rates.Of("", ""); r != nil {
		line := fmt.Sprintf(" per second: %s ended (%s succeeded, %s failed, %s dead)", rateText(r.Ended), rateText(r.Succeeded), rateText(r.Failed), rateText(r.Dead))
		if r.Arrived != nil {
			line += "   arrived " + rateText(*r.Arrived)
		}
		lines = append(lines, line)
	}
	lines = append(lines, "")
	if err := s.printLines(lines); err != nil {
		return err
	}
	if len(snap.Queues) > 0 {
		if err := s.queuesListing(snap).print(s.app, rates.Queues(snap)); err != nil {
			return err
		}
		if err := s.printLines([]string{""}); err != nil {
			return err
		}
	}
	lines = []string{" " + workersLine(snap.Workers)}
	for i := range snap.Pipelines {
		lines = append(lines, " "+s.pipelineLine(&snap.Pipelines[i]))
	}
	if err := s.printLines(lines); err != nil {
		return err
	}
	return s.showHints(s.hints(snap, report))
}

// headline says what is looked at, and when.
func (s *session) headline(snap *view.Snapshot) string {
	where := snap.Server.Version
	if snap.Server.Cluster != "" {
		where = "cluster " + snap.Server.Cluster + ", " + where
	}
	return fmt.Sprintf("%s @ %s (%s)  %s", snap.Namespace, snap.Server.URL, where, s.moment(snap.At))
}

// states is how many jobs are in which state.
func states(snap *view.Snapshot) string {
	scheduled := sum(snap, func(q *view.Queue) view.Count { return q.Scheduled })
	retrying := sum(snap, func(q *view.Queue) view.Count { return q.Retrying })
	var later []string
	if scheduled.Known() && retrying.Known() {
		later = []string{"scheduled " + countText(scheduled), "retrying " + countText(retrying)}
	} else { // they were not told apart
		later = []string{"later " + countText(sum(snap, func(q *view.Queue) view.Count { return q.Later }))}
	}
	all := []string{
		later[0], "ready " + countText(sum(snap, answer.ReadyOf)), "running " + countText(sum(snap, func(q *view.Queue) view.Count { return q.Running })),
	}
	all = append(append(all, later[1:]...), "dead "+countText(snap.Dead))
	return strings.Join(all, "   ")
}

// workersLine sums the workers up.
func workersLine(workers []registry.Node) string {
	if len(workers) == 0 {
		return "no workers; start one with 'worker', and jobs that wait will run"
	}
	slots, used, draining := 0, 0, 0
	for i := range workers {
		w := &workers[i]
		used += w.SlotsUsed()
		if w.State == registry.Draining {
			draining++
		} else {
			slots += w.Concurrency
		}
	}
	line := fmt.Sprintf("%s, %s, %s used", plural(len(workers), "worker", "workers"), plural(slots, "slot", "slots"), thousands(int64(used)))
	if slots > 0 {
		line += fmt.Sprintf(" (%d %%)", used*100/slots)
	}
	if draining > 0 {
		line += fmt.Sprintf(", %d draining", draining)
	}
	return line
}

// pipelineLine sums a pipeline up.
func (s *session) pipelineLine(p *view.Pipeline) string {
	if p.Unserved() {
		return s.unservedLine(p)
	}
	parts := []string{thousands(int64(p.InHand)) + " in hand", plural(len(p.Processes), "process", "processes")}
	of := "of jobs"
	if p.Stream != "" {
		of = fmt.Sprintf("of stream %s (%s)", p.Stream, p.Consumer)
		parts = slices.Insert(parts, 0, lagText(p.Lag, p.LagAge))
	}
	if none := p.Unowned(); len(none) > 0 {
		parts = append(parts, fmt.Sprintf("no owner of %d of %d partitions", len(none), len(p.Partitions)))
	}
	held := p.Held()
	for _, state := range slices.Sorted(maps.Keys(held)) {
		parts = append(parts, fmt.Sprintf("%d %s", held[state], state))
	}
	return fmt.Sprintf("pipeline %s %s: %s", p.Name, of, strings.Join(parts, ", "))
}

// unservedLine is a pipeline that was there, and could go on.
func (s *session) unservedLine(p *view.Pipeline) string {
	waits := lagText(p.Lag, nil)
	if p.LagAbout {
		waits = "≈ " + waits
	}
	return fmt.Sprintf("pipeline %s of stream %s (%s): no process serves it, %s, last active %s", p.Name, p.Stream, p.Consumer, waits, s.ago(p.LastActive))
}
