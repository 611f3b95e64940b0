package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const command = "enqueue --from" // the contestant

func bulkWork(o options) work {
	line := func(title, of string, atLeast float64) row {
		return row{title: title, measure: "rate", unit: "jobs/s", of: of, against: raw, budget: budget{atLeast: atLeast}}
	}
	n := thousands(float64(o.jobs), 0)
	return work{
		name: "bulk", about: "many jobs at once, by EnqueueMany and by the command",
		contestants: []contestant{
			{mill, enqueueMany(mill, o.jobs, manyAtOnce, false)},
			{raw, enqueueMany(raw, o.jobs, o.jobs, false)}, // one pipeline, without a wait in the middle
			{command, enqueueFrom(o.jobs, false)},
			{atomically, enqueueMany(atomically, o.jobs, atomicJobs, false)},
		},
		rows: []row{
			line("enqueue "+n+" with EnqueueMany", mill, 0.60),
			line("enqueue "+n+" with `enqueue --from`", command, 0.45),
			{title: "enqueue " + n + " with EnqueueAtomic, 1,000 at a time", measure: "rate", unit: "jobs/s", of: atomically, against: mill, budget: budget{atLeast: 0.25}},
		},
	}
}

// syncedJobs is how many are enqueued where each write is synced.
func syncedJobs(o options) int { return max(o.jobs/5, atomicJobs) }

// syncedWork is bulkWork on a broker that is no cluster and syncs every write. Raw is what EnqueueMany
// would do without atomic batches.
func syncedWork(o options) work {
	jobs := syncedJobs(o)
	n := thousands(float64(jobs), 0)
	line := func(title, of string, atLeast float64) row {
		return row{title: title + ", sync_interval: always", measure: "rate", unit: "jobs/s", of: of, against: raw, budget: budget{atLeast: atLeast}}
	}
	return work{
		name: "synced", about: "many jobs at once into one broker that syncs every write to disk",
		contestants: []contestant{
			{mill, enqueueMany(mill, jobs, manyAtOnce, true)},
			{raw, enqueueMany(raw, jobs, jobs, true)},
			{command, enqueueFrom(jobs, true)},
		},
		rows: []row{
			line("enqueue "+n+" with EnqueueMany", mill, 5),
			line("enqueue "+n+" with `enqueue --from`", command, 5),
		},
	}
}

func enqueueMany(engine string, jobs, atOnce int, synced bool) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, url, caller, err := s.warmBrokerOf(ctx, engine, synced)
		if err != nil {
			return nil, err
		}
		var took time.Duration
		if err := caller.call("many", order{Queue: defaultQueue, Type: noop, From: 1, Jobs: jobs, AtOnce: atOnce}, &took); err != nil {
			return nil, err
		}
		return sample{"rate": float64(jobs) / took.Seconds()}, s.checkWaiting(ctx, url, engine, 1+jobs)
	}
}

// warmBroker starts a broker, and a caller that has enqueued one job there: with it comes the
// stream.
func (s *testbed) warmBroker(ctx context.Context, engine string) (broker *process, url string, caller *process, err error) {
	return s.warmBrokerOf(ctx, engine, false)
}

func (s *testbed) warmBrokerOf(ctx context.Context, engine string, synced bool) (broker *process, url string, caller *process, err error) {
	if broker, url, err = s.brokerOf(ctx, synced); err != nil {
		return nil, "", nil, err
	}
	if caller, err = s.caller(ctx, callerSpec{Engine: engine, URL: url, Queues: []string{defaultQueue}}); err != nil {
		return nil, "", nil, err
	}
	return broker, url, caller, caller.call("enqueue", order{Queue: defaultQueue, Type: noop, Jobs: 1, Callers: 1}, nil)
}

// enqueueFrom runs the built command, from its start to its end.
func enqueueFrom(jobs int, synced bool) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, url, _, err := s.warmBrokerOf(ctx, mill, synced)
		if err != nil {
			return nil, err
		}
		binary, file := filepath.Join(s.dir, "enqueue"), filepath.Join(s.dir, "jobs.ndjson")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/millhand/millhand/cmd/enqueue")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", build.Args, err, out)
		}
		if err := writeJobs(file, jobs); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, binary, "--server", url, "--from", file, "--quiet")
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
		return sample{"rate": float64(jobs) / time.Since(start).Seconds()}, s.checkWaiting(ctx, url, mill, 1+jobs)
	}
}

func writeJobs(path string, jobs int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // after an error; else it is closed already
	w := bufio.NewWriter(f)
	for n := range jobs {
		if _, err := fmt.Fprintf(w, "{\"type\":%q,\"payload\":%s}\n", noop, newPayload(n, time.Now())); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
