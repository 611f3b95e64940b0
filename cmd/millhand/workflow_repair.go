package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
)

// stuck returns those of the workflows that nobody moves on.
func (s *session) stuck(ctx context.Context, of []millhand.WorkflowSummary) (stuck []millhand.WorkflowSummary, err error) {
	stuck = []millhand.WorkflowSummary{}
	for _, w := range of {
		faults, err := s.client.CheckWorkflow(ctx, w.Ref)
		switch {
		case errors.Is(err, millhand.ErrNotFound): // it is removed meanwhile
		case err != nil:
			return nil, err
		case len(faults) > 0:
			stuck = append(stuck, w)
		}
	}
	return stuck, nil
}

func workflowRepairCommand(a *app) *cobra.Command {
	return a.ofWorkflow(spec{
		use:   "repair WORKFLOW",
		short: "Have a workflow go on that nobody moves on",
		long: "Compare the jobs of a workflow with what it knows of them, count what has ended and was not, and release\n" +
			"what may run and has no job. A single broker that is killed may forget the last write to a workflow, and\n" +
			"remember the acknowledgement behind it; a cluster does not. It changes nothing where nothing is missing.\n" +
			"It takes half a minute where messages were lost that are not older than that.",
		example: "  millhand workflow repair import-2026-11-28\n  millhand workflow --stuck -o name",
	}, func(ctx context.Context, s *session, ref millhand.Ref) error {
		faults, err := s.client.RepairWorkflow(ctx, ref)
		if err != nil {
			return err
		}
		if len(faults) > 0 {
			s.record(ctx, audit.Record{Action: audit.RepairWorkflow, Ref: refOf(ref).String(), Count: 1, Detail: fmt.Sprintf("%d faults", len(faults))})
		}
		if s.output == formatJSON {
			return s.json(map[string]any{"workflow": ref, "repaired": append([]millhand.WorkflowFault{}, faults...)})
		}
		if len(faults) == 0 {
			return s.say("%s: nothing is missing", ref.ID)
		}
		for _, f := range faults {
			if err := s.say("%s: %s", ref.ID, repairText(f)); err != nil {
				return err
			}
		}
		return nil
	})
}

// repairText says what was done about a fault.
func repairText(f millhand.WorkflowFault) string {
	if f.Jobs > 0 {
		done := "had ended: counted now"
		if f.Fault == "not_released" {
			done = "had no message: published again"
		}
		return plural(f.Jobs, "job", "jobs") + " of group " + f.Step + " " + done
	}
	switch f.Fault {
	case "not_counted":
		return "step " + f.Step + " had ended, and is counted now"
	case "not_released":
		return "step " + f.Step + " may run, and is released now"
	case "not_ended":
		return "all steps had ended, and it ends now"
	}
	return "its own job was gone, and is there again"
}
