package main

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	jobs "github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/tally"
)

// A counting says how jobs are counted while they are handled. The zero value is as a worker does it by itself.
type counting struct {
	NoStats bool // it writes no statistics
	Scraped bool // its metrics are read each second
	Again   int  // each job is counted so many times more
}

const (
	scrapeEvery = time.Second
	countAgain  = 20
)

// countedWork is what counting jobs costs. What a worker counts it counts always, and one count is lost in
// the noise of a drain: so each job is counted many times more, and each of these may cost a hundredth of a job.
func countedWork(o options) work {
	const quietly, written = "no statistics", "statistics and metrics"
	again := "counted " + strconv.Itoa(countAgain+1) + " times"
	n := thousands(float64(o.jobs), 0)
	plan := func(name string, c counting) contestant {
		return contestant{name, drain(drainPlan{engine: mill, jobs: o.jobs, counting: c})}
	}
	rate := func(title, of string, atLeast float64) row {
		return row{title: title, measure: "rate", unit: "jobs/s", of: of, against: quietly, budget: budget{atLeast: atLeast}}
	}
	cost := func(title, measure, unit, of string) row {
		return row{title: title, measure: measure, unit: unit, digits: 2, of: of, against: quietly}
	}
	return work{
		name: "counted", about: "the drain with statistics and metrics, and with each job counted many times",
		contestants: []contestant{
			plan(quietly, counting{NoStats: true}),
			plan(written, counting{Scraped: true}),
			plan(again, counting{NoStats: true, Again: countAgain}),
		},
		rows: []row{
			rate("drain "+n+" no-op jobs, statistics written and metrics read each second", written, 0.99),
			rate("the same "+again+", and neither written nor read", again, 0.83), // 20 times 1 % more
			cost("CPU of the worker with statistics and metrics", "worker", "µs/job", written),
			cost("CPU of the worker "+again, "worker", "µs/job", again),
			cost("allocations of the worker "+again, "mallocs", "per job", again),
		},
	}
}

// recounting has each job counted again, by a book of its own: with all that a worker counts of one that
// succeeds, and the clock read as often.
func recounting(again int, handle func(context.Context, job) error) func(context.Context, job) error {
	if again == 0 {
		return handle
	}
	book, settled := tally.NewBook(), new(tally.Timer)
	return func(ctx context.Context, j job) error {
		for range again {
			began := time.Now()
			live := book.Of(defaultQueue, j.typ)
			live.Started(12_345 * time.Nanosecond)
			live.Ran(time.Since(began))
			book.Of(defaultQueue, j.typ).Ended(jobs.EventSucceeded, "")
			settled.Observe(345_678 * time.Nanosecond)
		}
		return handle(ctx, j)
	}
}

// scrape reads metrics as somebody does who scrapes them, until ctx ends.
func scrape(ctx context.Context, c prometheus.Collector) error {
	r := prometheus.NewRegistry()
	if err := r.Register(c); err != nil {
		return err
	}
	for {
		if err := pause(ctx, scrapeEvery); err != nil {
			return nil //nolint:nilerr // it ended
		}
		if _, err := r.Gather(); err != nil {
			return err
		}
	}
}
