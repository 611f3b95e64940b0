package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// The mixed load of a soak.
const (
	soakRate      = 400 // jobs/s, of all types together
	soakBatch     = 100 * time.Millisecond
	soakWorkers   = 3
	soakQuota     = 15 // of imports at once, of which ten run most of the time
	soakSamples   = 40
	soakFailOneIn = 20
	killEvery     = time.Minute
	soakLease     = 30 * time.Second // the default; less in a short soak, to see jobs come back
)

// soakTypes say how long the jobs of each type take.
func soakTypes() map[string]time.Duration {
	return map[string]time.Duration{"email": 0, "resize": 5 * time.Millisecond, "report": 20 * time.Millisecond, "import": 100 * time.Millisecond}
}

// A soak is a long run of jobs of several types, of which some fail, on workers of which
// one is killed now and then.
type soak struct {
	testbed *testbed
	broker  *process
	url     string
	workers []*process // the first is never killed: its memory is watched
	tracker *tracker
	length  time.Duration
	lease   time.Duration
	out     io.Writer
}

// runSoak prints memory and goroutines over the time, and returns an error if they grow or
// a job did not end exactly once.
func runSoak(ctx context.Context, o options, length time.Duration, out io.Writer) (err error) {
	s := &soak{length: length, lease: min(soakLease, length/10), out: out}
	if s.testbed, err = newTestbed(o, "soak"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.testbed.close()) }()
	if s.broker, s.url, err = s.testbed.broker(ctx); err != nil {
		return err
	}
	for range soakWorkers {
		if err := s.addWorker(ctx); err != nil {
			return err
		}
	}
	if err := s.testbed.setQuota(ctx, s.url, "import", soakQuota); err != nil {
		return err
	}
	if s.tracker, err = openTracker(ctx, s.url, s.lease); err != nil {
		return err
	}
	defer s.tracker.close()

	g, both := errgroup.WithContext(ctx)
	following, stop := context.WithCancel(both)
	g.Go(func() error { return s.tracker.follow(following) })
	g.Go(func() error {
		defer stop()
		return s.run(ctx, both.Done()) // its processes are to be stopped in order, not with the end of both
	})
	return g.Wait()
}

// run enqueues for the length of the soak, kills and watches, and waits for the last job,
// unless the tracker is given up before.
func (s *soak) run(ctx context.Context, given <-chan struct{}) error {
	var watch watch
	if err := watch.head(s.out); err != nil {
		return err
	}
	tick := time.NewTicker(soakBatch)
	defer tick.Stop()
	begun := time.Now()
	kill, look := min(killEvery, s.length/3), s.length/soakSamples
	nextKill, nextLook := kill, look
	for elapsed := time.Duration(0); elapsed < s.length; elapsed = time.Since(begun) {
		if err := s.tracker.enqueue(ctx, int(soakRate*soakBatch/time.Second)); err != nil {
			return err
		}
		if elapsed >= nextKill {
			nextKill += kill
			if err := s.replaceWorker(ctx); err != nil {
				return err
			}
		}
		if elapsed >= nextLook {
			nextLook += look
			if err := s.look(&watch, elapsed); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-given:
			return context.Canceled // by the reader of events, whose error is the first
		}
	}
	if err := s.tracker.awaitEnds(ctx); err != nil {
		return err
	}
	jobs, retried, lost := s.tracker.counts()
	if _, err := fmt.Fprintf(s.out, "\n%d jobs ended once each; %d failed attempts, %d lost with a killed worker\n", jobs, retried, lost); err != nil {
		return err
	}
	return watch.verdict(s.out)
}

func (s *soak) addWorker(ctx context.Context) error {
	types := soakTypes()
	spec := workerSpec{
		Engine: mill, URL: s.url, Concurrency: concurrency, Queues: map[string]int{defaultQueue: 1}, Lease: s.lease,
		Takes: types, FailOneIn: soakFailOneIn,
	}
	for t := range types {
		spec.Types = append(spec.Types, t)
	}
	w, err := s.testbed.worker(ctx, spec)
	if err != nil {
		return err
	}
	s.workers = append(s.workers, w)
	return w.call("start", nil, nil)
}

// replaceWorker kills the oldest but the first, and starts another one.
func (s *soak) replaceWorker(ctx context.Context) error {
	if err := s.testbed.end(s.workers[1], (*process).kill); err != nil {
		return err
	}
	s.workers = append(s.workers[:1], s.workers[2:]...)
	return s.addWorker(ctx)
}

func (s *soak) look(w *watch, elapsed time.Duration) error {
	broker, err := s.broker.usage(true)
	if err != nil {
		return err
	}
	worker, err := s.workers[0].usage(true)
	if err != nil {
		return err
	}
	return w.add(s.out, elapsed, s.tracker.open(), broker, worker)
}
