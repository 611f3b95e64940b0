package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// A work is something to be done by several contestants, and the rows of the table that
// come of it.
type work struct {
	name        string // for -run
	about       string
	contestants []contestant
	rows        []row
}

// A contestant is one way of doing a work.
type contestant struct {
	name string
	run  func(context.Context, *testbed) (sample, error)
}

// A sample is what one contestant measured in one round, by name.
type sample map[string]float64

// A row is one line of the table: a measure of one contestant, beside that of others.
type row struct {
	title   string
	measure string // key of the samples
	unit    string
	digits  int    // after the decimal point
	of      string // the contestant it is about; shown as n/a where there is none of that name
	against string // the one that the ratio is taken against; empty: the budget is for the measure itself
	beside  string // shown for comparison; may be empty
	budget  budget
}

// works lists all there are, in the order of the table.
func works(o options) []work {
	return []work{
		enqueueWork(o),
		bulkWork(o),
		syncedWork(o),
		drainWork(o),
		countedWork(o),
		onceWork(o),
		groupWork(o),
		cancelWork(o),
		latencyWork(o),
		pacedWork(o),
		processesWork(o),
		mixedWork(o),
		batchWork(o),
		backlogWork(o),
		scheduledWork(o),
		besideWork(o),
		clusterWork(o),
		idleWork(o),
		cronWork(o),
		nodesWork(o),
	}
}

// measure runs the works one after the other. With an error comes a report of those before.
func measure(ctx context.Context, o options, works []work, progress io.Writer) (*report, error) {
	rep := newReport(o)
	for _, w := range works {
		samples, err := w.measure(ctx, o, progress)
		if err != nil {
			return rep, fmt.Errorf("%s, %w", w.name, err)
		}
		rep.add(w, samples)
	}
	return rep, nil
}

// measure runs a work for its rounds, in each with the contestants in turn, and returns
// their samples by name.
func (w work) measure(ctx context.Context, o options, progress io.Writer) (map[string][]sample, error) {
	samples := make(map[string][]sample)
	for round := range o.rounds {
		for _, c := range w.contestants {
			start := time.Now()
			got, err := runOnce(ctx, o, c)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
			samples[c.name] = append(samples[c.name], got)
			_, err = fmt.Fprintf(progress, "%-10s %-14s round %d/%d  %5.1f s  %s\n",
				w.name, c.name, round+1, o.rounds, time.Since(start).Seconds(), got)
			if err != nil {
				return nil, err
			}
		}
	}
	return samples, nil
}

func runOnce(ctx context.Context, o options, c contestant) (got sample, err error) {
	s, err := newTestbed(o, c.name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := s.close(); err == nil {
			err = closeErr
		}
	}()
	return c.run(ctx, s)
}
