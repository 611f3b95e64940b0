package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

func queuesCommand(a *app) *cobra.Command {
	return a.command(spec{
		use:   "queues [QUEUE]",
		short: "The queues with their counts; one queue with its types",
		long: "The queues with how many jobs are ready, run, and wait for their time; of one queue, its types.\n" +
			"It costs the broker the same however long the queues are.",
		example:  "  millhand queues\n  millhand queues default\n  millhand queues -o json",
		formats:  ofList(),
		args:     cobra.MaximumNArgs(1),
		complete: queueNames,
		run: func(ctx context.Context, s *session, args []string) error {
			snap, rates, err := s.look(ctx)
			if err != nil {
				return err
			}
			queues := rates.Queues(snap)
			if len(args) == 0 {
				return s.queuesListing(snap).print(s.app, queues)
			}
			for _, q := range queues {
				if q.Name == args[0] {
					return s.showQueue(snap, q, rates.Types(snap, q.Types))
				}
			}
			return &cli.ExitError{Code: cli.ExitNotFound, Err: notThere("queue", args[0], "'millhand queues' has those there are")}
		},
	})
}

func queueNames(ctx context.Context, s *session) []string {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil // without them nothing is completed
	}
	var names []string
	for _, q := range snap.Queues {
		names = append(names, q.Name)
	}
	return names
}

func (s *session) queuesListing(snap *view.Snapshot) *listing[answer.Queue] {
	return &listing[answer.Queue]{
		key: "queues",
		columns: []column{
			{title: "QUEUE"}, {title: "READY", right: true}, {title: "RUNNING", right: true}, {title: "LATER", right: true}, {title: "/S", right: true}, {title: "OLDEST"}, {title: "EMPTY IN"}, {title: "STATE"},
		},
		row: func(q answer.Queue) []cell {
			return []cell{
				plain(q.Name), countCell(answer.ReadyOf(&q.Queue)), countCell(q.Running), countCell(q.Later), rateCell(q.Rate),
				plain(s.oldestText(oldest(&q.Queue))), plain(emptyText(q.EmptyIn)), s.stateOfQueue(snap, &q.Queue),
			}
		},
		name:  func(q answer.Queue) string { return q.Name },
		empty: "no queues; the first job that is enqueued makes its queue",
	}
}

// oldest is the oldest ready job of all types of a queue, unknown if it is of one of them.
func oldest(q *view.Queue) *view.Oldest {
	first := &view.Oldest{How: view.Exact}
	for i := range q.Types {
		o := &q.Types[i].Oldest
		if o.How != view.Exact {
			return o
		}
		if o.Seq != 0 && (first.Seq == 0 || o.At.Before(first.At)) {
			first = o
		}
	}
	if first.Seq == 0 && q.Unclaimed.Value > 0 {
		return &view.Oldest{How: view.Unknown} // nobody has looked for those
	}
	return first
}

// stateOfQueue is what there is to know of a queue besides its numbers.
func (s *session) stateOfQueue(snap *view.Snapshot, q *view.Queue) cell {
	var parts []string
	look := normal
	if q.Paused != nil {
		parts, look = append(parts, s.pauseText(q.Paused)), yellow
	}
	n := 0
	for i := range q.Types {
		if unserved(&q.Types[i]) {
			n++
		}
	}
	switch {
	case len(snap.Workers) == 0 && answer.ReadyOf(q).Value > 0:
		parts, look = append(parts, "no workers"), red
	case n > 0:
		parts, look = append(parts, plural(n, "type", "types")+" unserved"), red
	case q.Unclaimed.Value > 0:
		parts, look = append(parts, countText(q.Unclaimed)+" of types never served"), red
	}
	return cell{text: strings.Join(parts, "; "), style: look}
}

// pauseText says since when a queue is paused, by whom, until when and why, as far as that is known.
func (s *session) pauseText(p *registry.Pause) string {
	text := "paused"
	switch {
	case p.Since.IsZero():
	case s.absolute:
		text += " at " + s.moment(p.Since)
	default:
		text += " for " + s.age(p.Since)
	}
	if p.By != "" {
		text += " by " + p.By
	}
	if !p.Until.IsZero() {
		text += ", until " + s.moment(p.Until)
	}
	if p.Reason != "" {
		text += fmt.Sprintf(": %q", p.Reason)
	}
	return text
}

// A shownQueue is what -o json prints of one queue. Its field names are a contract.
type shownQueue struct {
	answer.Queue
	Types []answer.Type `json:"types"`
}

// showQueue prints one queue with its types.
func (s *session) showQueue(snap *view.Snapshot, q answer.Queue, types []answer.Type) error {
	l := typesListing(s)
	switch s.output {
	case formatJSON:
		return s.json(shownQueue{q, types})
	case formatText:
		if err := s.queuesListing(snap).print(s.app, []answer.Queue{q}); err != nil || len(q.Types) == 0 {
			return err
		}
		if err := s.say(""); err != nil {
			return err
		}
	case formatNDJSON, formatName, formatCSV:
	}
	return l.print(s.app, types)
}
