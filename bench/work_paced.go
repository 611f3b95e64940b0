package main

import "time"

const pacedTakes = 10 * time.Millisecond

func pacedWork(o options) work {
	jobs := o.jobs / 10
	plan := func(engine string) contestant {
		return contestant{engine, drain(drainPlan{engine: engine, jobs: jobs, inHand: rawInHand, takes: pacedTakes})}
	}
	return work{
		name: "paced", about: "jobs that take 10 ms each",
		contestants: []contestant{plan(mill), plan(raw)},
		rows: []row{{
			title: thousands(float64(jobs), 0) + " jobs of 10 ms, concurrency 100", measure: "ideal", unit: "of the ideal time",
			digits: 2, of: mill, beside: raw, budget: budget{atLeast: 0.88},
		}},
	}
}
