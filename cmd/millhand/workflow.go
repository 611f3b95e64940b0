package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
)

// isOver reports whether it is one of the phases of workflows that are over.
func isOver(phase string) bool {
	return slices.Contains([]string{"succeeded", "dead", "cancelled"}, phase)
}

// phases are those of workflows, those of the ones that go on first.
var phases = []string{"running", "cancelling", "undoing", "succeeded", "dead", "cancelled"} //nolint:gochecknoglobals // a constant

func workflowCommand(a *app) *cobra.Command {
	c := &workflowLister{}
	cmd := a.command(spec{
		use:   "workflow",
		short: "Workflows: what is started when something else has ended",
		long: "The workflows that have not ended, with how many of their steps have, as workflow list does. They are jobs\n" +
			"of type _workflow, so list, inspect and watch know them, too.",
		example: "  millhand workflow\n  millhand workflow --all -o json\n  millhand workflow --stuck -o name",
		formats: ofList(),
		run:     c.run,
	})
	c.register(cmd)
	return withCommands(cmd, workflowListCommand(a), workflowShowCommand(a), workflowStartCommand(a), workflowSignalCommand(a), workflowCancelCommand(a), workflowRetryCommand(a), workflowRepairCommand(a))
}

func workflowListCommand(a *app) *cobra.Command {
	c := &workflowLister{}
	cmd := a.command(spec{
		use:   "list",
		short: "Workflows, by their state",
		long: "List the workflows that have not ended, with how many of their steps have, or those of some states. --stuck\n" +
			"has those that nobody moves on, since a broker forgot what it had stored: workflow repair does.",
		example: "  millhand workflow list --state dead,cancelled\n  millhand workflow list --stuck -o name",
		formats: ofList(),
		run:     c.run,
	})
	c.register(cmd)
	return cmd
}

// A workflowLister lists workflows.
type workflowLister struct {
	all, stuck bool
	states     []string
}

func (c *workflowLister) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&c.all, "all", false, "also those that have ended, for as long as they are kept")
	fs.StringSliceVar(&c.states, "state", nil, "only those in `STATE`: "+strings.Join(phases, ", ")+"; several with commas")
	fs.BoolVar(&c.stuck, "stuck", false, "only those in which something has ended and is not counted, or may run and has no job")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(phases, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// wants reports whether a workflow in a phase is listed.
func (c *workflowLister) wants(phase string) bool {
	if len(c.states) > 0 {
		return slices.Contains(c.states, phase)
	}
	return c.all || !isOver(phase)
}

func (c *workflowLister) check() error {
	for _, state := range c.states {
		if !slices.Contains(phases, state) {
			return cli.Usagef("--state %q: no workflow is that; want %s", state, strings.Join(phases, ", "))
		}
	}
	switch {
	case c.all && len(c.states) > 0:
		return cli.Usagef("--all and --state: use one")
	case c.stuck && slices.ContainsFunc(c.states, isOver):
		return cli.Usagef("--stuck is of those that have not ended, and --state names others")
	}
	return nil
}

func (c *workflowLister) run(ctx context.Context, s *session, _ []string) error {
	if err := c.check(); err != nil {
		return err
	}
	found := []millhand.WorkflowSummary{}
	for w, err := range s.client.Workflows(ctx) {
		if err != nil {
			return err
		}
		if c.wants(w.Phase) && (!c.stuck || !isOver(w.Phase)) {
			found = append(found, w)
		}
	}
	listing := s.workflowListing()
	switch {
	case c.stuck:
		var err error
		if found, err = s.stuck(ctx, found); err != nil {
			return err
		}
		listing.empty = "no workflow is stuck"
	case len(c.states) > 0:
		listing.empty = "no workflow is " + strings.Join(c.states, " or ")
	}
	return listing.print(s.app, found)
}

func (s *session) workflowListing() *listing[millhand.WorkflowSummary] {
	return &listing[millhand.WorkflowSummary]{
		key: "workflows",
		columns: []column{
			{title: "WORKFLOW"},
			{title: "NAME", spare: true},
			{title: "PHASE"},
			{title: "ENDED", right: true},
			{title: "FAILED", right: true},
			{title: "STARTED"},
			{title: "DEADLINE", spare: true},
		},
		row: func(w millhand.WorkflowSummary) []cell {
			return []cell{
				plain(w.ID), plain(w.Name), plain(w.Phase),
				plain(fmt.Sprintf("%d of %d", w.Ended(), w.Steps)), number(w.Failed), plain(s.lastText(w.CreatedAt)), plain(s.deadlineOf(w)),
			}
		},
		name:  func(w millhand.WorkflowSummary) string { return w.ID },
		empty: "no workflow runs; 'millhand workflow --all' has those that have ended",
	}
}

// deadlineOf is empty for a workflow that has none, or none any more.
func (s *session) deadlineOf(w millhand.WorkflowSummary) string {
	if isOver(w.Phase) {
		return ""
	}
	return s.deadlineText(w.Deadline)
}

func (s *session) deadlineText(t time.Time) string {
	if t.IsZero() || s.absolute {
		return s.moment(t)
	}
	return "in " + span(max(t.Sub(s.now), 0))
}

func workflowNames(ctx context.Context, s *session) (names []string) {
	for w, err := range s.client.Workflows(ctx) {
		if err != nil {
			break // what there is completes
		}
		names = append(names, w.ID)
	}
	return names
}

// workflow finds a workflow by its id, wherever it is.
func (s *session) workflow(ctx context.Context, id string) (millhand.Ref, error) {
	ref, err := s.client.FindWorkflow(ctx, id)
	if !errors.Is(err, millhand.ErrNotFound) {
		return ref, err
	}
	return millhand.Ref{}, exitWith(cli.ExitNotFound, notThere("workflow", id, "'millhand workflow --all' has those that are known"+meant(id, "workflow", "show", "start", "signal", "cancel", "retry", "repair")))
}

// ofWorkflow is a command about the workflow that its argument names.
func (a *app) ofWorkflow(sp spec, run func(ctx context.Context, s *session, ref millhand.Ref) error) *cobra.Command {
	sp.formats, sp.args, sp.complete = []format{formatText, formatJSON}, cobra.ExactArgs(1), workflowNames
	sp.run = func(ctx context.Context, s *session, args []string) error {
		ref, err := s.workflow(ctx, args[0])
		if err != nil {
			return err
		}
		return run(ctx, s, ref)
	}
	return a.command(sp)
}

func workflowShowCommand(a *app) *cobra.Command {
	return a.ofWorkflow(spec{
		use:   "show WORKFLOW",
		short: "The steps of a workflow, and what they wait for",
		long: "The steps of a workflow: held ones wait for what is said, those that are released have the state of\n" +
			"their job, and skipped ones wait for what cannot come any more.",
		example: "  millhand workflow show import-2026-11-28",
	}, func(ctx context.Context, s *session, ref millhand.Ref) error {
		w, err := s.client.GetWorkflow(ctx, ref)
		if errors.Is(err, millhand.ErrNoRecord) {
			return exitWith(cli.ExitNotFound, fmt.Errorf("workflow %q has not ended as far as is known, and its own job is not in queue %s any more; 'millhand workflow repair %s' puts it there again", ref.ID, ref.Queue, ref.ID))
		}
		if err != nil {
			return err
		}
		if s.output == formatJSON {
			return s.json(w)
		}
		return s.showWorkflow(&w)
	})
}

func (s *session) showWorkflow(w *millhand.WorkflowInfo) error {
	head := w.ID
	if w.Name != "" {
		head += "  " + w.Name
	}
	head += "  " + w.Phase
	if !w.Deadline.IsZero() && !w.State.Final() {
		head += ", deadline " + s.deadlineText(w.Deadline)
	}
	if text := w.LastError(); text != "" && w.State.Final() {
		head += ": " + text
	}
	if err := s.say("%s", cli.OneLine(head)); err != nil {
		return err
	}
	t := s.table(column{title: "STEP"}, column{title: "STATE"}, column{title: "WAITS FOR"}, column{title: "AFTER", spare: true})
	for i := range w.Steps {
		step := &w.Steps[i]
		after := strings.Join(step.After, "; ")
		if step.Undoes != "" {
			after = "undoes " + step.Undoes
		}
		if step.Optional {
			after = strings.TrimPrefix(after+"; optional", "; ")
		}
		t.add(plain(step.Name), plain(s.stepState(step)), plain(strings.Join(step.Waits, "; ")), plain(after))
	}
	return t.write(s.out)
}

// stepState is the state of a step, and for how long it has run.
func (s *session) stepState(step *millhand.StepInfo) string {
	if step.Since.IsZero() {
		return stateOf(step)
	}
	return stateOf(step) + " since " + s.moment(step.Since)
}

// stateOf is the state of a step, and how far a group has come.
func stateOf(s *millhand.StepInfo) string {
	if s.Kind != "group" || s.State == millhand.StepHeld && s.Done == 0 || s.State == millhand.StepSkipped {
		return string(s.State)
	}
	text := fmt.Sprintf("%s, %d of %d", s.State, s.Done, s.Total)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Error != "" {
		text += ": " + cli.OneLine(s.Error)
	}
	return text
}

// stepOf finds the step of a workflow whose job has an id, or will have.
func (s *session) stepOf(ctx context.Context, id string) (step millhand.StepInfo, ok bool) {
	name, _, ok := strings.Cut(id, "--")
	if !ok {
		return step, false
	}
	ref, err := s.workflow(ctx, name)
	if err != nil {
		return step, false
	}
	w, err := s.client.GetWorkflow(ctx, ref)
	if err != nil {
		return step, false
	}
	at := slices.IndexFunc(w.Steps, func(s millhand.StepInfo) bool {
		return s.ID == id || s.Kind == "group" && strings.HasPrefix(id, s.ID+"--")
	})
	if at < 0 {
		return step, false
	}
	return w.Steps[at], true
}

// whyHeld says why there is no job of a step of a workflow, "" if id is not of one.
func (s *session) whyHeld(ctx context.Context, id string) string {
	step, ok := s.stepOf(ctx, id)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(id, "--")
	text := fmt.Sprintf("it is a step of workflow %s that is %s", name, stateOf(&step))
	if step.ID != id {
		text = fmt.Sprintf("it is a job of group %s of workflow %s, which is %s", step.Name, name, stateOf(&step))
	}
	if len(step.Waits) > 0 {
		text += ": it waits for " + strings.Join(step.Waits, "; ")
	}
	return text + "; 'millhand workflow show " + name + "' has the others"
}

func workflowSignalCommand(a *app) *cobra.Command {
	return a.command(spec{
		use:     "signal WORKFLOW STEP [JSON]",
		short:   "Have a step succeed that waits for a signal",
		long:    "Have a step succeed that waits for a signal, with what is given as its result. It may come before\nanything waits for it. A second one changes nothing.",
		example: "  millhand workflow signal import-2026-11-28 approved '{\"by\":\"oncall\"}'",
		formats: []format{formatText, formatJSON},
		args:    cobra.RangeArgs(2, 3),
		run: func(ctx context.Context, s *session, args []string) error {
			var payload any
			if len(args) == 3 {
				if err := decodeStrictly([]byte(args[2]), &payload); err != nil {
					return cli.Usagef("%.80q is no JSON: %w", args[2], err)
				}
			}
			ref, err := s.workflow(ctx, args[0])
			if err != nil {
				return err
			}
			err = s.client.Signal(ctx, ref, args[1], payload)
			if finished, ok := errors.AsType[*millhand.FinishedError](err); ok {
				return overAlready(finished)
			}
			if err != nil {
				return asUsage(err)
			}
			return s.done(ctx, ref, "signalled", audit.Record{Action: audit.SignalWorkflow, Detail: "step " + args[1]})
		},
	})
}

// overAlready says that nothing is to be done to a workflow any more.
func overAlready(e *millhand.FinishedError) error {
	return exitWith(cli.ExitRefused, fmt.Errorf("workflow %s has ended: it is %s", e.Ref.ID, e.State))
}

func workflowCancelCommand(a *app) *cobra.Command {
	return a.ofWorkflow(spec{
		use:   "cancel WORKFLOW",
		short: "Cancel a workflow and the jobs of its steps",
		long: "Cancel a workflow: what has not begun does not, the jobs of its steps are cancelled, what cleans up\n" +
			"behind them runs, and what is to be undone is. A worker of its queue does that.",
		example: "  millhand workflow cancel import-2026-11-28",
	}, func(ctx context.Context, s *session, ref millhand.Ref) error {
		_, err := s.client.Cancel(ctx, ref)
		if finished, ok := errors.AsType[*millhand.FinishedError](err); ok {
			return overAlready(finished)
		}
		if err != nil {
			return err
		}
		return s.done(ctx, ref, "is being cancelled", audit.Record{Action: audit.CancelWorkflow})
	})
}

func workflowRetryCommand(a *app) *cobra.Command {
	return a.ofWorkflow(spec{
		use:   "retry WORKFLOW",
		short: "Have the failed part of a workflow run again",
		long: "Have the failed part of a workflow run again that is dead or cancelled: steps that failed or were skipped,\n" +
			"and those that were undone. What has succeeded does not run again. A worker of its queue does that.",
		example: "  millhand workflow retry import-2026-11-28",
	}, func(ctx context.Context, s *session, ref millhand.Ref) error {
		ref, err := s.client.RetryWorkflow(ctx, ref)
		if errors.Is(err, millhand.ErrInvalid) || errors.Is(err, millhand.ErrDuplicate) {
			return exitWith(cli.ExitRefused, err)
		}
		if err != nil {
			return err
		}
		return s.done(ctx, ref, "is retried", audit.Record{Action: audit.RetryWorkflow})
	})
}

// done says what was done to a workflow, and keeps a record of it.
func (s *session) done(ctx context.Context, ref millhand.Ref, what string, r audit.Record) error {
	r.Ref, r.Count = refOf(ref).String(), 1
	s.record(ctx, r)
	if s.output == formatJSON {
		return s.json(map[string]any{"workflow": ref})
	}
	return s.say("%s: %s", ref.ID, what)
}
