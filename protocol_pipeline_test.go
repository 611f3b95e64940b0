package millhand_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/pipeline"
)

type (
	rawJob     = *millhand.Job[millhand.Raw]
	rawMessage = pipeline.Message[rawJob]
)

// audited is a source of jobs that knows how often each that it handed out was settled.
type audited struct {
	*millhand.JobSource[millhand.Raw]

	fails []string // how its acker does once it has settled, in turn

	mu      sync.Mutex
	acker   pipeline.Acker // of the source
	settled map[any]int
	calls   int
}

func (s *audited) Pull(ctx context.Context, n int, out []pipeline.Delivery[rawJob]) ([]pipeline.Delivery[rawJob], error) {
	old := len(out)
	out, err := s.JobSource.Pull(ctx, n, out)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range out[old:] {
		d := &out[old+i]
		s.acker, d.Acker = d.Acker, (*audit)(s)
		s.settled[d.Ref] = 0
	}
	return out, err
}

// check fails the test unless each job was settled once.
func (s *audited) check(w *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, n := range s.settled {
		if n != 1 {
			w.Errorf("%v was settled %d times", ref, n)
		}
	}
}

// audit is the acker of an audited source.
type audit audited

func (a *audit) Settle(ctx context.Context, ends []pipeline.End) error {
	a.mu.Lock()
	for _, e := range ends {
		a.settled[e.Ref]++
	}
	acker, fails := a.acker, a.fails[a.calls%len(a.fails)]
	a.calls++
	a.mu.Unlock()
	err := acker.Settle(ctx, ends)
	switch fails {
	case "error":
		return errors.New("nobody listens")
	case "panic":
		panic("nobody listens")
	case "exit":
		runtime.Goexit()
	}
	return err
}

func (a *audit) Start(ref any) { a.of().(pipeline.Starter).Start(ref) } //nolint:forcetypeassert // it is one

func (a *audit) of() pipeline.Acker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acker
}

// bundled is a job in a batch, and what it does there.
type bundled struct {
	job  rawJob
	step step
}

// newPipeline has a process whose jobs go through a pipeline, of which the settings are drawn.
func (w *world) newPipeline(t *rapid.T) func(p *process) (run func(context.Context) error, err error) {
	quiet := slog.New(slog.DiscardHandler)
	jobs := &audited{settled: make(map[any]int)}
	for range 3 {
		jobs.fails = append(jobs.fails, rapid.SampledFrom([]string{"", "", "error", "panic", "exit"}).Draw(t, "acker"))
	}
	c := pipeline.Config[rawJob]{
		Source: jobs, Concurrency: rapid.IntRange(1, 3).Draw(t, "concurrency"), InFlight: rapid.IntRange(1, 6).Draw(t, "in flight"),
		DrainTimeout: 4 * time.Second, Logger: quiet,
		OnFailure: pipeline.Failure{
			Attempts: rapid.IntRange(1, 2).Draw(t, "attempts"), Bisect: rapid.Bool().Draw(t, "bisect"), HoldKey: rapid.Bool().Draw(t, "hold"),
		},
	}
	if rapid.Bool().Draw(t, "ordered") {
		c.OrderBy = func(m *rawMessage) string { return m.Value.ID }
	}
	size := rapid.IntRange(1, 4).Draw(t, "size")
	return func(p *process) (run func(context.Context) error, err error) {
		p.jobs = jobs
		jobs.JobSource, err = millhand.NewJobSource[millhand.Raw](p.nc, millhand.JobSourceConfig{
			Config: millhand.Config{Logger: quiet}, Name: p.name, Types: []string{"t"}, AckWait: lease, Job: protocolType(),
		})
		if err != nil {
			return nil, err
		}
		bundles := pipeline.NewBatcher(pipeline.BatcherConfig[bundled]{
			Size: size, Wait: time.Second,
			Handle: func(ctx context.Context, b *pipeline.Batch[bundled]) error { return w.handleBundle(ctx, p, b) },
		})
		c.Batchers = []pipeline.AnyBatcher{bundles}
		c.Process = func(ctx context.Context, m *rawMessage) error { return w.process(ctx, p, m, bundles) }
		pipe, err := pipeline.New(c)
		return pipe.Run, err
	}
}

// do does what the step says.
func (s step) do(ctx context.Context) error {
	timer := time.NewTimer(s.took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch s.end {
	case "fail":
		return errors.New("boom")
	case "panic":
		panic("boom")
	case "exit":
		runtime.Goexit()
	case "give up":
		return millhand.Permanent(errors.New("no"))
	case "snooze":
		return millhand.Snooze(2 * time.Second)
	case "hand back":
		return millhand.HandBack(errors.New("not here"))
	}
	return nil
}

func (w *world) process(ctx context.Context, p *process, m *rawMessage, bundles *pipeline.Batcher[bundled]) error {
	r := w.began(p, m.Value)
	defer w.left(r)
	m.Value.SetResult("done")
	s := w.next(m.Value.Life)
	if s.end == "acknowledge" {
		m.AckNow()
		return errors.New("too late to matter")
	}
	if s.bundle {
		bundles.Add(m, bundled{m.Value, s})
		return nil
	}
	return s.do(ctx)
}

// handleBundle does what is planned of each job. One that panics takes all of them along.
func (w *world) handleBundle(ctx context.Context, p *process, b *pipeline.Batch[bundled]) error {
	for _, v := range b.Items {
		defer w.left(w.began(p, v.job))
	}
	for i, v := range b.Items {
		b.Fail(i, v.step.do(ctx))
	}
	return nil
}
