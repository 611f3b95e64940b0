package main

import "fmt"

// batchSize is how many jobs one call has.
const batchSize = 100

func batchWork(o options) work {
	const batched, batchedSilent = "batches", "silent batches"
	plan := func(name string, p drainPlan) contestant {
		p.engine, p.jobs = mill, o.jobs
		return contestant{name, drain(p)}
	}
	line := func(title, measure, unit, of, against string) row {
		return row{title: title, measure: measure, unit: unit, digits: 1, of: of, against: against}
	}
	return work{
		name: "batch", about: "the drain by calls of many jobs, beside the plain one",
		contestants: []contestant{
			plan(mill, drainPlan{}), plan(batched, drainPlan{batch: batchSize}),
			plan(millSilent, drainPlan{silent: true}), plan(batchedSilent, drainPlan{silent: true, batch: batchSize}),
		},
		rows: []row{
			line(fmt.Sprintf("drain through calls of %d jobs, 4 at once", batchSize), "rate", "jobs/s", batched, mill),
			line("the same with events off", "rate", "jobs/s", batchedSilent, millSilent),
			line("CPU of the worker with calls", "worker", "µs/job", batched, mill),
			line("allocations of the worker with calls", "mallocs", "per job", batched, mill),
		},
	}
}
