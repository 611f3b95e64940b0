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
			{mill, enqueueMany(o, mill, manyAtOnce)},
			{raw, enqueueMany(o, raw, o.jobs)}, // one pipeline, without a wait in the middle
			{command, enqueueFrom(o)},
		},
		rows: []row{
			line("enqueue "+n+" with EnqueueMany", mill, 0.60),
			line("enqueue "+n+" with `enqueue --from`", command, 0.45),
		},
	}
}

func enqueueMany(o options, engine string, atOnce int) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, url, caller, err := s.warmBroker(ctx, engine)
		if err != nil {
			return nil, err
		}
		var took time.Duration
		if err := caller.call("many", order{Queue: defaultQueue, Type: noop, From: 1, Jobs: o.jobs, AtOnce: atOnce}, &took); err != nil {
			return nil, err
		}
		return sample{"rate": float64(o.jobs) / took.Seconds()}, s.checkWaiting(ctx, url, engine, 1+o.jobs)
	}
}

// warmBroker starts a broker, and a caller that has enqueued one job there: with it comes the
// stream.
func (s *testbed) warmBroker(ctx context.Context, engine string) (broker *process, url string, caller *process, err error) {
	if broker, url, err = s.broker(ctx); err != nil {
		return nil, "", nil, err
	}
	if caller, err = s.caller(ctx, callerSpec{Engine: engine, URL: url, Queues: []string{defaultQueue}}); err != nil {
		return nil, "", nil, err
	}
	return broker, url, caller, caller.call("enqueue", order{Queue: defaultQueue, Type: noop, Jobs: 1, Callers: 1}, nil)
}

// enqueueFrom runs the built command, from its start to its end.
func enqueueFrom(o options) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, url, _, err := s.warmBroker(ctx, mill)
		if err != nil {
			return nil, err
		}
		binary, jobs := filepath.Join(s.dir, "enqueue"), filepath.Join(s.dir, "jobs.ndjson")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/millhand/millhand/cmd/enqueue")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", build.Args, err, out)
		}
		if err := writeJobs(jobs, o.jobs); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, binary, "--server", url, "--from", jobs, "--quiet")
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
		return sample{"rate": float64(o.jobs) / time.Since(start).Seconds()}, s.checkWaiting(ctx, url, mill, 1+o.jobs)
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
