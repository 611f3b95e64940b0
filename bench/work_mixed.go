package main

import "fmt"

func mixedWork(o options) work {
	const one, types, queues, quota = "one type", "20 types", "3 queues", "a quota"
	line := func(title, of string) row {
		return row{title: title, measure: "rate", unit: "jobs/s", of: of, against: one, budget: budget{atLeast: 0.9}}
	}
	return work{
		name: "mixed", about: "the drain with more types, more queues, a quota",
		contestants: []contestant{
			{one, drain(drainPlan{engine: mill, jobs: o.jobs})},
			{types, drain(drainPlan{engine: mill, jobs: o.jobs, types: manyTypes()})},
			{queues, drain(drainPlan{engine: mill, jobs: o.jobs, queues: map[string]int{"critical": 6, "default": 3, "low": 1}})},
			{quota, drain(drainPlan{engine: mill, jobs: o.jobs, quota: concurrency})},
		},
		rows: []row{
			line("20 types, one of them busy", types),
			line("3 queues with weights 6, 3, 1", queues),
			line("a type under a quota of 100", quota),
		},
	}
}

// manyTypes are 20, the busy one first.
func manyTypes() []string {
	names := []string{noop}
	for i := range 19 {
		names = append(names, fmt.Sprintf("idle-%02d", i+1))
	}
	return names
}
