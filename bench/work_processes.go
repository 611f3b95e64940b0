package main

func processesWork(o options) work {
	const one, two, eight = "1 worker", "2 workers", "8 workers"
	plan := func(name string, workers int) contestant {
		return contestant{name, drain(drainPlan{engine: mill, jobs: o.jobs, workers: workers})}
	}
	speed := func(of string, atLeast float64) row {
		return row{title: of + " on one queue", measure: "rate", unit: "jobs/s", of: of, against: one, budget: budget{atLeast: atLeast}}
	}
	shares := func(of string) row {
		return row{title: of + ": the least busy one's part of a fair share", measure: "least", unit: "of 1", digits: 2, of: of}
	}
	return work{
		name: "processes", about: "several workers on one queue",
		contestants: []contestant{plan(one, 1), plan(two, 2), plan(eight, 8)},
		rows:        []row{speed(two, 0.8), speed(eight, 0.7), shares(two), shares(eight)},
	}
}
