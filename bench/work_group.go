package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand"
)

// Contestants of groupWork.
const (
	twoWorkers  = "drain, two workers"
	twoBeside   = "drain, two workers, enqueued meanwhile"
	groupOfTwo  = "group, two workers"
	groupKilled = "group, eight workers, one killed each 5 s"
)

// sum is the type of the step behind the group.
const sum = "sum"

func groupWork(o options) work {
	n := thousands(float64(o.jobs), 0)
	return work{
		name: "group", about: "a group of a workflow: jobs that are counted, and what follows them",
		contestants: []contestant{
			{twoWorkers, drain(drainPlan{engine: mill, jobs: o.jobs, workers: 2})},
			{twoBeside, drain(drainPlan{engine: mill, jobs: o.jobs, workers: 2, beside: true})},
			{groupOfTwo, runGroup(drainPlan{engine: mill, jobs: o.jobs, workers: 2}, 0)},
			{groupKilled, runGroup(drainPlan{engine: mill, jobs: o.jobs, workers: 8, takes: 200 * time.Millisecond}, 5*time.Second)},
		},
		rows: []row{
			{title: "group of " + n + " no-op jobs, two workers", measure: "rate", unit: "jobs/s", of: groupOfTwo, against: twoWorkers, budget: budget{atLeast: 0.85}},
			{title: "the same beside jobs that are enqueued meanwhile, as a group's are", measure: "rate", unit: "jobs/s", of: groupOfTwo, against: twoBeside},
			{title: "CPU of the broker", measure: "broker", unit: "µs/job", digits: 1, of: groupOfTwo, beside: twoBeside},
			{title: "CPU of the workers", measure: "worker", unit: "µs/job", digits: 1, of: groupOfTwo, beside: twoBeside},
			{title: "from its last job to the next step", measure: "fanin", unit: "ms", digits: 1, of: groupOfTwo, budget: budget{atMost: 50}},
			{title: "its results, read by that step", measure: "read", unit: "ms", of: groupOfTwo},
			{title: "group of " + n + " jobs of 200 ms, eight workers, one killed each 5 s", measure: "rate", unit: "jobs/s", of: groupKilled},
			{title: "workers killed", measure: "killed", unit: "", of: groupKilled},
		},
	}
}

// A sumStep is what the step behind a group saw.
type sumStep struct {
	began, read time.Time
	results     int
	err         error
}

// runGroup measures a group from its first job to the end of the step behind it. With a time, a worker is killed and
// another one started, again and again.
func runGroup(plan drainPlan, killEvery time.Duration) func(context.Context, *testbed) (sample, error) {
	plan = plan.withDefaults()
	return func(ctx context.Context, s *testbed) (sample, error) {
		broker, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		workers, err := plan.startWorkers(ctx, s, url)
		if err != nil {
			return nil, err
		}
		if err := startAll(workers); err != nil {
			return nil, err
		}
		var after []usage
		var failed error // of taking them
		g, err := newGroupRun(ctx, url, func() {
			if killEvery == 0 {
				after, failed = usages(append(slices.Clone(workers), broker))
			}
		})
		if err != nil {
			return nil, err
		}
		defer func() { _ = g.stop() }() // what it ran has been looked at
		before, err := usages(append(slices.Clone(workers), broker))
		if err != nil {
			return nil, err
		}
		began := time.Now()
		ref, err := g.start(ctx, plan.jobs)
		if err != nil {
			return nil, err
		}
		killed := 0
		if killEvery > 0 {
			if killed, workers, err = killUntil(ctx, s, plan, url, workers, killEvery, g.done); err != nil {
				return nil, err
			}
		}
		saw, err := g.end(ctx, ref, plan.jobs)
		if err != nil {
			return nil, err
		}
		got := sample{"rate": float64(plan.jobs) / saw.began.Sub(began).Seconds(), "read": ms(saw.read.Sub(saw.began)), "killed": float64(killed)}
		if killEvery == 0 {
			plan.addCosts(got, before, after)
			err = errors.Join(failed, plan.addEnds(got, saw, workers))
		}
		return got, errors.Join(err, s.endAll(workers))
	}
}

// addEnds adds how fast the jobs ended from the first start on, and how long after the last of them the next step began.
func (p drainPlan) addEnds(got sample, saw *sumStep, workers []*process) error {
	scores, err := scoresOf(workers)
	if err != nil {
		return err
	}
	got["rate"] = float64(p.jobs) / saw.began.Sub(firstStart(scores)).Seconds()
	got["fanin"] = ms(saw.began.Sub(lastEnd(scores)))
	return checkAll(p.jobs, scores)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A groupRun has a worker in this process that runs the step behind the group.
type groupRun struct {
	client *millhand.Client
	saw    chan sumStep  // capacity 1
	done   chan struct{} // closed once the step has begun
	stop   func() error
}

// end waits for the end of the workflow, whose group has so many jobs.
func (g *groupRun) end(ctx context.Context, ref millhand.Ref, jobs int) (*sumStep, error) {
	if _, err := g.client.Await(ctx, ref); err != nil {
		return nil, err
	}
	saw := <-g.saw
	if saw.err != nil || saw.results != jobs {
		return nil, errors.Join(saw.err, fmt.Errorf("%d of %d results are readable", saw.results, jobs))
	}
	return &saw, nil
}

// newGroupRun has began called when the step begins, before it reads the results.
func newGroupRun(ctx context.Context, url string, began func()) (*groupRun, error) {
	nc, err := nats.Connect(url, millhand.ConnectOptions(quiet())...)
	if err != nil {
		return nil, err
	}
	g := &groupRun{saw: make(chan sumStep, 1), done: make(chan struct{})}
	if g.client, err = millhand.NewClient(nc, millhand.Config{Logger: quiet(), Patience: patience}); err != nil {
		return nil, err
	}
	mux := millhand.NewMux()
	mux.HandleFunc(sum, func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		saw := sumStep{began: time.Now()}
		close(g.done)
		began()
		for _, err := range millhand.GroupResults[any](ctx, j, "load") {
			if saw.err = err; err != nil {
				break
			}
			saw.results++
		}
		saw.read = time.Now()
		g.saw <- saw
		return nil, nil
	})
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, NoStats: true, Config: millhand.Config{Logger: quiet()}}) //nolint:contextcheck // a worker is not made for one call
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running errgroup.Group
	running.Go(func() error { return w.Run(ctx) })
	g.stop = func() error {
		cancel()
		defer nc.Close()
		return running.Wait()
	}
	return g, nil
}

func (g *groupRun) start(ctx context.Context, jobs int) (millhand.Ref, error) {
	var items iter.Seq[millhand.Args] = func(yield func(millhand.Args) bool) {
		for n := range jobs {
			if !yield(millhand.Raw{Name: noop, Payload: newPayload(n, time.Now())}) {
				return
			}
		}
	}
	w := millhand.NewWorkflow("group", millhand.WorkflowConfig{Queue: defaultQueue})
	w.Step(sum, millhand.Raw{Name: sum}, millhand.After(w.Group("load", items)))
	return g.client.Start(ctx, w)
}

// killUntil kills a worker and starts another one each time, until done is closed.
func killUntil(ctx context.Context, s *testbed, plan drainPlan, url string, workers []*process, every time.Duration, done <-chan struct{}) (killed int, alive []*process, err error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return killed, workers, ctx.Err()
		case <-done:
			return killed, workers, nil
		case <-tick.C:
		}
		if err := s.end(workers[0], (*process).kill); err != nil {
			return killed, workers, err
		}
		killed++
		w, err := s.worker(ctx, plan.workerSpec(url))
		if err == nil {
			err = w.call("start", nil, nil)
		}
		if err != nil {
			return killed, workers, err
		}
		workers = append(workers[1:], w)
	}
}
