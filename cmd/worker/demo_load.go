package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/millhand/millhand"
)

// The load of a demo that stays: the same everywhere, and less than the workers can do, so that no queue
// grows without an end.
const (
	loadEvery = 500 * time.Millisecond // jobs come in groups, as often
	loadDelay = 40 * time.Second       // of jobs that wait for their time

	pauseEvery = 60 * time.Second // the queue "low" is paused as often
	pauseFor   = 20 * time.Second
)

// A stayType is a type of the load.
type stayType struct {
	name   string
	queue  string
	often  float64 // jobs a second
	takes  time.Duration
	fails  float64 // share of runs
	dies   float64 // share of runs that fail for good
	delays float64 // share of jobs that wait for their time
	config millhand.TypeConfig
}

// Of import more jobs come now and then than its limit lets run: they queue, and are done before more come.
func stayTypes() []stayType {
	again := millhand.Backoff{Initial: 3 * time.Second, Max: 30 * time.Second}
	return []stayType{
		{name: "charge", queue: "critical", often: 2, takes: 60 * time.Millisecond, fails: 0.02, config: millhand.TypeConfig{Backoff: again}},
		{name: "email", queue: "default", often: 5, takes: 150 * time.Millisecond, fails: 0.08, dies: 0.005, delays: 0.1, config: millhand.TypeConfig{Backoff: again, MaxAttempts: 4}},
		{name: "import", queue: "default", often: 0.8, takes: 3 * time.Second, fails: 0.05, config: millhand.TypeConfig{Backoff: again, Quotas: []millhand.Quota{{Limit: 3}}}},
		{name: "resize", queue: "media", often: 2, takes: 900 * time.Millisecond, fails: 0.03, dies: 0.01, config: millhand.TypeConfig{Backoff: again, MaxAttempts: 3}},
		{name: "cleanup", queue: "low", often: 0.5, takes: 400 * time.Millisecond, config: millhand.TypeConfig{Backoff: again}},
		{name: "report", queue: "low", takes: 6 * time.Second, config: millhand.TypeConfig{Backoff: again}}, // by the schedule
	}
}

// run takes as long as such a job does, give or take, and ends as chance has it.
func (t *stayType) run(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	wait := time.NewTimer(time.Duration((0.5 + rand.Float64()) * float64(t.takes))) //nolint:gosec // chance, no secret
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch chance := rand.Float64(); { //nolint:gosec // chance, no secret
	case chance < t.dies:
		return nil, millhand.Permanent(fmt.Errorf("row %d: column %q: not a number", 1+rand.IntN(1000), "price")) //nolint:gosec // chance, no secret
	case chance < t.dies+t.fails:
		return nil, fmt.Errorf("attempt %d: %w", j.Attempt, errPeer)
	}
	return nil, nil
}

var errPeer = errors.New("dial tcp 10.0.3.7:443: connection refused")

// A stayLoad enqueues the load and pauses a queue at times.
type stayLoad struct {
	client *millhand.Client
	owed   map[string]float64 // jobs, by type
	n      int                // jobs so far
}

func newStayLoad(client *millhand.Client) *stayLoad {
	return &stayLoad{client: client, owed: make(map[string]float64)}
}

// enqueue enqueues jobs until ctx ends.
func (l *stayLoad) enqueue(ctx context.Context) error {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for {
		if _, err := l.client.EnqueueMany(ctx, l.next()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// customers are how many have jobs.
const customers = 97

// importBurst is how many imports come at once.
const importBurst = 20

// next are the jobs of one tick.
func (l *stayLoad) next() []millhand.Request {
	var batch []millhand.Request
	types := stayTypes()
	for i := range types {
		t := &types[i]
		l.owed[t.name] += t.often * loadEvery.Seconds()
		if t.name == "import" && l.owed[t.name] < importBurst {
			continue
		}
		for ; l.owed[t.name] >= 1; l.owed[t.name]-- {
			l.n++
			batch = append(batch, t.request(l.n))
		}
	}
	return batch
}

func (t *stayType) request(n int) millhand.Request {
	payload := fmt.Sprintf(`{"n":%d,"customer":%d}`, n, n%customers)
	opts := []millhand.EnqueueOption{millhand.WithQueue(t.queue), millhand.WithMeta("customer", strconv.Itoa(n%customers))}
	if rand.Float64() < t.delays { //nolint:gosec // chance, no secret
		opts = append(opts, millhand.WithDelay(loadDelay))
	}
	return millhand.Request{Args: millhand.Raw{Name: t.name, Payload: []byte(payload)}, Options: opts}
}

// pause pauses the queue "low" at times, until ctx ends.
func (l *stayLoad) pause(ctx context.Context) error {
	for {
		for _, step := range []struct {
			after time.Duration
			do    func(context.Context, string) error
		}{{pauseEvery - pauseFor, l.client.Pause}, {pauseFor, l.client.Resume}} {
			t := time.NewTimer(step.after)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return nil
			}
			if err := step.do(ctx, "low"); err != nil {
				return err
			}
		}
	}
}
