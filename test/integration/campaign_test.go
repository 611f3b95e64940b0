package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand"
)

var (
	workflowSeed      = flag.Uint64("workflow-seed", 0, "of the first campaign of workflows; 0: a new one")
	workflowSeeds     = flag.Int("workflow-seeds", 1, "campaigns of workflows, each of the next seed")
	workflowClusters  = flag.Int("workflow-clusters", 0, "campaigns of workflows in a cluster, each of the next seed")
	workflowGraphs    = flag.Int("workflow-graphs", 6, "random workflows of a campaign")
	workflowGroups    = flag.Int("workflow-groups", 1, "workflows of a campaign with one large group")
	workflowGroupSize = flag.Int("workflow-group-size", 40, "jobs of a large group")
)

// Workflows of all kinds run while workers are killed, stopped for longer than a lease and drained, and their brokers
// are killed and restarted. Whatever happens, each generation of each ends once, no step begins before its gate is open,
// all that was begun ends, and nobody has to repair anything.
func TestWorkflowCampaign(t *testing.T) { //nolint:tparallel // a campaign takes all that the machine has
	t.Parallel()
	first := *workflowSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	for n := range uint64(*workflowSeeds) {
		t.Run(fmt.Sprintf("one broker, seed %d", first+n), func(t *testing.T) { campaign(t, first+n, false) })
	}
	for n := range uint64(*workflowClusters) {
		t.Run(fmt.Sprintf("cluster, seed %d", first+n), func(t *testing.T) { campaign(t, first+n, true) })
	}
}

func campaign(t *testing.T, seed uint64, clustered bool) {
	t.Helper()
	flags := "-workflow-seeds 1"
	if clustered {
		flags = "-workflow-seeds 0 -workflow-clusters 1"
	}
	t.Logf("the same again: go test ./test/integration -run TestWorkflowCampaign %s -workflow-seed %d -workflow-graphs %d -workflow-groups %d -workflow-group-size %d",
		flags, seed, *workflowGraphs, *workflowGroups, *workflowGroupSize)
	began := time.Now()
	c := newCast(t, seed, clustered)
	client := newClient(t, urls(c.brokers))
	callers := callersOf(seed, client, c.stage)
	over := make(chan struct{})
	var playing errgroup.Group
	for i, caller := range callers {
		playing.Go(func() error {
			pause(time.Duration(i) * startEvery)
			defer caller.over.Store(true)
			if err := caller.play(t.Context()); err != nil {
				return fmt.Errorf("%s: %w", caller.id, err)
			}
			return nil
		})
	}
	failed := make(chan error, 1)
	go func() { failed <- playing.Wait(); close(over) }()
	c.actUntil(t, over)
	j := newJudge(t, urls(c.brokers))
	j.awaitEnds(callers, over)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if !clustered { // which forgets nothing
		j.kills = c.kills
	}
	j.judge(c.stage.runs())
	again := 0
	for _, caller := range callers {
		j.once(caller)
		again += caller.again
	}
	t.Logf("in %v: done %v; %s; starts repeated: %d", time.Since(began).Round(time.Second), c.done, j, again)
}

// startEvery lies between the starts of two workflows.
const startEvery = 100 * time.Millisecond

// callersOf makes up the workflows of a seed.
func callersOf(seed uint64, client *millhand.Client, s *stage) (all []*caller) {
	p := &planner{Rand: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // not a secret
	add := func(p *plan) { all = append(all, &caller{Client: client, plan: p, stage: s}) }
	for i := range max(*workflowGraphs, *workflowGroups) {
		if i < *workflowGroups {
			add(p.wide(fmt.Sprint("wide", i), *workflowGroupSize))
		}
		if i < *workflowGraphs {
			add(p.random(fmt.Sprint("random", i)))
		}
	}
	return all
}

// A caller does what a plan says, and goes on through whatever happens to the broker.
type caller struct {
	*millhand.Client
	*plan
	stage *stage
	over  atomic.Bool
	again int            // starts that it repeated, since it did not know whether they had begun
	refs  []millhand.Ref // of the generations that it was told of
}

// play starts the workflow, and returns when it has ended.
func (c *caller) play(ctx context.Context) error {
	ref, err := c.start(ctx)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := c.signal(ctx, ref); err != nil {
		return err
	}
	if c.cancel > 0 {
		pause(c.cancel)
		err := insist(ctx, func(ctx context.Context) error { _, err := c.Cancel(ctx, ref); return err })
		if err != nil && !errors.Is(err, millhand.ErrFinished) {
			return fmt.Errorf("cancel: %w", err)
		}
	}
	info, err := c.Await(ctx, ref)
	switch {
	case !info.State.Final():
		return fmt.Errorf("await: %w", err)
	case !c.retry || info.State == millhand.Succeeded:
		return nil
	}
	c.stage.heal(c.id)
	if ref, err = c.retryOf(ctx, ref); err != nil {
		return fmt.Errorf("retry: %w", err)
	}
	if err := c.signal(ctx, ref); err != nil { // what was skipped waits again
		return err
	}
	if info, err = c.Await(ctx, ref); !info.State.Final() {
		return fmt.Errorf("await the retry: %w", err)
	}
	return nil
}

func (c *caller) signal(ctx context.Context, ref millhand.Ref) error {
	for _, s := range c.signals {
		err := insist(ctx, func(ctx context.Context) error { return c.Signal(ctx, ref, s, nil) })
		if err != nil && !errors.Is(err, millhand.ErrFinished) {
			return fmt.Errorf("signal %s: %w", s, err)
		}
	}
	return nil
}

// start starts it. Whoever does not know whether an earlier call has begun it looks what has become of that.
func (c *caller) start(ctx context.Context) (ref millhand.Ref, err error) {
	for {
		try, cancel := context.WithTimeout(ctx, answerWithin)
		ref, err = c.Start(try, c.workflow)
		cancel()
		if errors.Is(err, millhand.ErrDuplicate) {
			err = insist(ctx, func(ctx context.Context) (err error) { ref, err = c.FindWorkflow(ctx, c.id); return err })
		}
		if err == nil {
			c.refs = append(c.refs, ref)
			return ref, nil
		}
		if ctx.Err() != nil || errors.Is(err, millhand.ErrInvalid) {
			return ref, err
		}
		c.again++
		pause(answerPause)
	}
}

// retryOf retries it. An earlier call may have done so of which there was no answer.
func (c *caller) retryOf(ctx context.Context, ref millhand.Ref) (retried millhand.Ref, err error) {
	err = insist(ctx, func(ctx context.Context) (err error) { retried, err = c.RetryWorkflow(ctx, ref); return err })
	if errors.Is(err, millhand.ErrInvalid) {
		err = insist(ctx, func(ctx context.Context) (err error) { retried, err = c.FindWorkflow(ctx, c.id); return err })
	}
	if err == nil {
		c.refs = append(c.refs, retried)
	}
	return retried, err
}

// How long a caller waits for an answer, and then until it asks again.
const (
	answerWithin = 10 * time.Second
	answerPause  = 200 * time.Millisecond
)

// insist does what f does until there is an answer.
func insist(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, answerWithin)
		err := f(try)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		for _, answer := range []error{millhand.ErrInvalid, millhand.ErrDuplicate, millhand.ErrFinished, millhand.ErrNotFound} {
			if errors.Is(err, answer) {
				return err
			}
		}
		pause(answerPause)
	}
}
