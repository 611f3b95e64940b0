package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
)

func autoscaleCommand(a *app) *cobra.Command {
	var q millhand.AutoscaleQuery
	cmd := a.command(spec{
		use:   "autoscale",
		short: "How many slots the jobs want, and so how many workers",
		long: "How many jobs would have to run at once, so that what comes runs as it comes and what waits now\n" +
			"has run within --target. What quotas, rates and pauses hold back is not in it: more workers would\n" +
			"not run that either. A worker answers the same at /api/v1/autoscale, for KEDA and the like.",
		example: "  millhand autoscale\n  millhand autoscale --concurrency 16 --min 1 --max 50\n  millhand autoscale --types email,sms --target 5m -o json",
		formats: ofList(),
		run: func(ctx context.Context, s *session, _ []string) error {
			answer, err := s.client.Autoscale(ctx, q)
			if err != nil {
				return asUsage(err)
			}
			s.now = answer.At
			return s.autoscaleListing(answer).print(s.app, answer.Types)
		},
	})
	cmd.Flags().StringSliceVarP(&q.Types, "types", "t", nil, "of workers that serve these `TYPES`, separated by commas (default all)")
	cmd.Flags().StringVarP(&q.Queue, "queue", "q", "", "of workers that serve this `QUEUE` (default all)")
	cmd.Flags().IntVar(&q.Concurrency, "concurrency", 0, "how many jobs one worker runs at once: then the number of workers is told, too")
	cmd.Flags().DurationVar(&q.Target, "target", time.Minute, "within what time jobs that wait now are to have run")
	cmd.Flags().IntVar(&q.Min, "min", 0, "workers at least")
	cmd.Flags().IntVar(&q.Max, "max", 0, "workers at most (default no bound)")
	_ = cmd.RegisterFlagCompletionFunc("types", a.candidates(typeNames))  // the flag is there
	_ = cmd.RegisterFlagCompletionFunc("queue", a.candidates(queueNames)) // likewise
	return cmd
}

func (s *session) autoscaleListing(answer *millhand.Autoscale) *listing[millhand.AutoscaleType] {
	return &listing[millhand.AutoscaleType]{
		columns: []column{
			{title: "TYPE"}, {title: "READY", right: true}, {title: "RUNNING", right: true}, {title: "COMING/S", right: true}, {title: "RUN", right: true}, {title: "SLOTS", right: true},
		},
		row: func(t millhand.AutoscaleType) []cell {
			return []cell{plain(t.Type), number(t.Ready), number(t.Running), plain(rateText(t.Due)), seconds(&t.Run), plain(strconv.FormatFloat(t.Slots, 'f', 1, 64))}
		},
		name:   func(t millhand.AutoscaleType) string { return t.Type },
		object: func([]millhand.AutoscaleType) any { return answer },
		foot:   func(w io.Writer) error { return writeAutoscale(w, answer) },
		empty:  wanted(answer) + "; no types: a worker that serves one makes it known",
	}
}

// wanted is how much is wanted.
func wanted(a *millhand.Autoscale) string {
	text := plural(a.Slots, "slot", "slots") + " wanted"
	if a.Workers != nil {
		text += ": " + plural(*a.Workers, "worker", "workers")
	}
	return text
}

// writeAutoscale sums an answer up.
func writeAutoscale(w io.Writer, a *millhand.Autoscale) error {
	if _, err := fmt.Fprintln(w, wanted(a)); err != nil {
		return err
	}
	for _, c := range a.Capped {
		by := map[string]string{"quota": "its quota lets", "rate": "its rate lets", "pause": "paused, which lets"}[c.By]
		if _, err := fmt.Fprintf(w, "%s: %s %d run of %d that are wanted\n", c.Pool, by, c.Allowed, c.Wanted); err != nil {
			return err
		}
	}
	return nil
}
