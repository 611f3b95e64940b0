package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand"
)

const (
	demoBatch = 500
	demoAlone = 21 // jobs that come one at a time
)

// demoPlan is what the demo enqueues: every way a job can go.
type demoPlan struct {
	typ, payload, what string
	count              int
	attempts           int
}

func demoPlans() []demoPlan {
	return []demoPlan{
		{typ: "echo", payload: `{"hello":"world"}`, what: "succeed at once", count: 5000},
		{typ: "sleep", payload: `{"for":"100ms"}`, what: "take 100 ms each", count: 300},
		{typ: "flaky", payload: `{"fail":2}`, what: "fail twice, then succeed", count: 100},
		{typ: "crash", payload: `{}`, what: "panic until they are dead", count: 20, attempts: 3},
		{typ: "doomed", payload: `{}`, what: "fail for good at once", count: 20},
	}
}

func (p *demoPlan) String() string {
	return fmt.Sprintf("  %5d %-6s jobs that %s", p.count, p.typ, p.what)
}

// loneType is the type of jobs that come one at a time.
const loneType = "lone"

// addDemoTypes registers the types of the plans, and that of jobs that come alone, each of
// which sends when it started.
func addDemoTypes(mux *millhand.Mux) (started <-chan time.Time) {
	again := millhand.TypeConfig{Backoff: millhand.Backoff{Initial: 500 * time.Millisecond}}
	mux.HandleFunc("echo", echo)
	millhand.Handle(mux, nap)
	millhand.HandleResult(mux, fail, again)
	millhand.Handle(mux, crash, again)
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("no such customer"))
	})
	starts := make(chan time.Time, demoAlone)
	mux.HandleFunc(loneType, func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		starts <- time.Now()
		return nil, nil
	})
	return starts
}

// enqueueAlone enqueues jobs one at a time, and returns how long half of them took at most
// from enqueue to start.
func enqueueAlone(ctx context.Context, client *millhand.Client, started <-chan time.Time) (time.Duration, error) {
	var waits []time.Duration
	for range demoAlone {
		enqueued := time.Now()
		ref, err := client.Enqueue(ctx, millhand.Raw{Name: loneType})
		if err != nil {
			return 0, err
		}
		if _, err := client.Await(ctx, ref); err != nil {
			return 0, err
		}
		waits = append(waits, (<-started).Sub(enqueued))
	}
	return percentile(waits, 50), nil
}

// enqueue puts the demo's jobs into the queue, its types mixed.
func (d *demo) enqueue(ctx context.Context, client *millhand.Client) error {
	var batch []millhand.Request
	flush := func() error {
		_, err := client.EnqueueMany(ctx, batch)
		batch = batch[:0]
		return err
	}
	left := demoPlans()
	for more := true; more; {
		more = false
		for i := range left {
			p := &left[i]
			for range min(p.count, max(1, p.count/20)) {
				more = true
				p.count--
				batch = append(batch, p.request())
			}
			if len(batch) >= demoBatch {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

func (p *demoPlan) request() millhand.Request {
	r := millhand.Request{Args: millhand.Raw{Name: p.typ, Payload: []byte(p.payload)}}
	if p.attempts > 0 {
		r.Options = append(r.Options, millhand.WithMaxAttempts(p.attempts))
	}
	return r
}

// errDemoOver ends the demo's parts once every job has ended.
var errDemoOver = errors.New("all jobs have ended")

// follow counts events until every job has its final one.
func (d *demo) follow(ctx context.Context, client *millhand.Client) error {
	for e, err := range client.Events(ctx, d.counts.start.Add(-time.Second)) {
		if err != nil {
			return err
		}
		if d.counts.add(e) {
			return errDemoOver
		}
	}
	return context.Cause(ctx)
}
