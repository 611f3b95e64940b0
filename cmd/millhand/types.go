package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/view"
)

func typesCommand(a *app) *cobra.Command {
	return a.command(spec{
		use:   "types [TYPE]",
		short: "The types of jobs in each queue, and who serves them",
		long: "The types of jobs in each queue: how many are ready and in hand, and how many workers serve\n" +
			"them. In hand is what was handed out to workers; what runs of it is in RUNNING.",
		example:  "  millhand types\n  millhand types email\n  millhand types -o json",
		formats:  ofList(),
		args:     cobra.MaximumNArgs(1),
		complete: typeNames,
		run: func(ctx context.Context, s *session, args []string) error {
			snap, rates, err := s.look(ctx)
			if err != nil {
				return err
			}
			types := typesOf(snap)
			if len(args) == 1 {
				types = slices.DeleteFunc(types, func(t view.Type) bool { return t.Name != args[0] })
				if len(types) == 0 {
					return &cli.ExitError{Code: cli.ExitNotFound, Err: notThere("type", args[0], "no worker serves it or has served it; 'millhand types' has those there are")}
				}
			}
			return typesListing(s).print(s.app, rates.Types(snap, types))
		},
	})
}

// typesOf are the types of all queues, by name.
func typesOf(snap *view.Snapshot) []view.Type {
	var all []view.Type
	for _, q := range snap.Queues {
		all = append(all, q.Types...)
	}
	slices.SortFunc(all, func(a, b view.Type) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Queue, b.Queue)) })
	return all
}

func typeNames(ctx context.Context, s *session) []string {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil // without them nothing is completed
	}
	var names []string
	for _, t := range typesOf(snap) {
		names = append(names, t.Name)
	}
	return slices.Compact(names)
}

func typesListing(s *session) *listing[answer.Type] {
	return &listing[answer.Type]{
		key: "types",
		columns: []column{
			{title: "TYPE"},
			{title: "QUEUE"},
			{title: "READY", right: true},
			{title: "IN HAND", right: true, spare: true},
			{title: "RUNNING", right: true},
			{title: "OLDEST"},
			{title: "/S", right: true},
			{title: "FAILED", right: true, spare: true},
			{title: "WAIT p95", right: true, spare: true},
			{title: "RUN p95", right: true, spare: true},
			{title: "WORKERS", right: true},
			{title: "LIMITS OF", spare: true},
			{title: "STATE"},
		},
		row: func(t answer.Type) []cell {
			slow := slowCells(t.Rate)
			return []cell{
				plain(t.Name), plain(t.Queue), countCell(t.Ready), countCell(t.InHand), countCell(t.Running),
				plain(s.oldestText(&t.Oldest)), rateCell(t.Rate), failedCell(t.Rate), slow[0], slow[1], number(t.Workers),
				plain(keyText(t.Key)), s.stateOfType(&t),
			}
		},
		name:  func(t answer.Type) string { return t.Queue + "/" + t.Name },
		empty: "no types; a worker that serves a type makes it known",
	}
}

// oldestText is for how long the oldest job is ready.
func (s *session) oldestText(o *view.Oldest) string {
	switch {
	case o.How != view.Exact:
		return "?"
	case o.Seq == 0:
		return none
	}
	return s.age(o.At)
}

func keyText(key string) string {
	if key == "" {
		return ""
	}
	return "key=" + key
}

// stateOfType is why the jobs of a type that are ready do not start, as far as that shows in a snapshot.
func (s *session) stateOfType(t *answer.Type) cell {
	switch {
	case t.Paused != nil:
		return cell{text: s.pauseText(t.Paused), style: yellow}
	case unserved(&t.Type):
		return cell{text: unservedText(&t.Type), style: red}
	case t.Workers == 0:
		return cell{text: "not served", style: faint}
	case t.Ready.Value > 0 && t.QueuePaused:
		return cell{text: "queue paused", style: yellow}
	case len(t.Full) > 0:
		return cell{text: t.Full[0].By + " full: " + t.Full[0].Pool, style: yellow}
	}
	return cell{}
}
