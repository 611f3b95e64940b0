package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// The settings of the book, with shorter times.
const (
	takes      = 300 * time.Millisecond // a good job and each attempt at a bad one
	maxRetries = 3
	interval   = 100 * time.Millisecond // between attempts
	maxImports = 5
)

// The kinds of work.
const (
	good   = "good"   // succeeds
	bad    = "bad"    // fails each time
	doomed = "doomed" // panics
	long   = "long"   // succeeds when the session says so
)

// Import is a job of a type with a quota.
type Import struct {
	Work string `json:"work"`
}

// Type implements millhand.Args.
func (Import) Type() string { return "import" }

// Email is a job of a type without a quota.
type Email struct {
	Work string `json:"work"`
}

// Type implements millhand.Args.
func (Email) Type() string { return "send_email" }

// do is the work of both types. A long job ends when letGo delivers.
func do(ctx context.Context, work string, letGo <-chan struct{}) error {
	if work == doomed {
		panic("Boom!")
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	ends := timer.C
	if work == long {
		ends = nil
	} else {
		letGo = nil
	}
	select {
	case <-ends:
	case <-letGo:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if work == bad {
		return errors.New("the work failed")
	}
	return nil
}

// jobber is the book's jobber: it starts jobs, and refuses an import while five are alive.
type jobber struct {
	client *millhand.Client
	letGo  chan struct{} // has one long job end
}

// StartJob starts a job, or returns a [*millhand.QuotaError] if it is an import too many.
func (j *jobber) StartJob(ctx context.Context, args millhand.Args, opts ...millhand.EnqueueOption) (millhand.Ref, error) {
	if args.Type() == (Import{}).Type() { // the only type with a quota
		opts = append(opts, millhand.WithRejectAtQuota())
	}
	return j.client.Enqueue(ctx, args, opts...)
}

// startWhenFree is StartJob for a caller that waits. A job that has ended leaves the queue a moment
// after its outcome is known.
func (j *jobber) startWhenFree(ctx context.Context, args millhand.Args) (millhand.Ref, error) {
	again := time.NewTicker(interval / 10)
	defer again.Stop()
	for {
		ref, err := j.StartJob(ctx, args)
		if _, full := errors.AsType[*millhand.QuotaError](err); !full {
			return ref, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ref, context.Cause(ctx)
		}
	}
}

// RunningImports returns how many imports run across all workers.
func (j *jobber) RunningImports(ctx context.Context) (int, error) {
	running, err := j.client.Running(ctx, Import{}.Type())
	return len(running), err
}

// allRun waits until this many imports run.
func (j *jobber) allRun(ctx context.Context, n int) error {
	again := time.NewTicker(interval / 10)
	defer again.Stop()
	for {
		running, err := j.RunningImports(ctx)
		if err != nil || running == n {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end lets running long jobs finish, and describes how they ended.
func (j *jobber) end(ctx context.Context, refs ...millhand.Ref) ([]string, error) {
	for range refs {
		select {
		case j.letGo <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return j.awaitAll(ctx, refs...)
}

// startJobs starts all jobs at once and returns those that were not refused.
func (j *jobber) startJobs(ctx context.Context, n int, args millhand.Args) (started []millhand.Ref, refused int, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			ref, failed := j.StartJob(ctx, args)
			mu.Lock()
			defer mu.Unlock()
			if _, full := errors.AsType[*millhand.QuotaError](failed); full {
				refused++
			} else if failed != nil {
				err = failed
			} else {
				started = append(started, ref)
			}
		})
	}
	wg.Wait()
	return started, refused, err
}

// awaitAll waits for jobs and describes how they ended.
func (j *jobber) awaitAll(ctx context.Context, refs ...millhand.Ref) (outcomes []string, err error) {
	for _, ref := range refs {
		info, err := j.client.Await(ctx, ref)
		outcome := string(info.State)
		if failed, ok := errors.AsType[*millhand.FailedError](err); ok {
			outcome = fmt.Sprintf("%s after %d attempts: %s", info.State, failed.Attempts, failed.Message)
		} else if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, nil
}

// newWorker returns a worker for both types.
func newWorker(nc *nats.Conn, letGo <-chan struct{}) (*millhand.Worker, error) {
	mux := millhand.NewMux()
	terms := millhand.TypeConfig{
		MaxAttempts: 1 + maxRetries,
		Backoff:     millhand.Backoff{Initial: interval, Factor: 1, Jitter: -1},
	}
	millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[Email]) error { return do(ctx, j.Args.Work, letGo) }, terms)
	terms.Quotas = []millhand.Quota{{Limit: maxImports}}
	millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[Import]) error { return do(ctx, j.Args.Work, letGo) }, terms)
	return millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux, Concurrency: 20,
	})
}
