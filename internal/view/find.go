package view

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// Find returns the jobs with an id, in whichever queue and of whichever type: those that are
// alive, and then those that ended and of which something is kept, the newest first. It asks each queue once, and the
// events and the dead jobs. It does not ask workers: a job that runs is ready here.
func (v *View) Find(ctx context.Context, id string) ([]Job, error) {
	name, err := job.IDName(id)
	if err != nil {
		return nil, err
	}
	names, err := v.cfg.Store.Streams(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	found := make(map[job.Place]*traces)
	note := func(queueName, typ string, write func(*traces)) {
		p, err := job.PlaceOf(queueName, typ, id)
		if err != nil {
			return // nobody's of ours
		}
		mu.Lock()
		defer mu.Unlock()
		if found[p] == nil {
			found[p] = &traces{}
		}
		write(found[p])
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxAsked)
	g.Go(func() error {
		all, err := v.cfg.Store.EventsOf(ctx, name)
		for _, e := range all {
			note(e.Queue, e.Type, func(t *traces) { t.event = &e })
		}
		return err
	})
	g.Go(func() error {
		all, err := v.cfg.Store.DeadOf(ctx, name)
		for _, d := range all {
			note(d.Queue, d.Type, func(t *traces) { t.dead = d })
		}
		return err
	})
	for _, n := range names {
		if !isQueue(n) {
			continue
		}
		g.Go(func() error {
			all, err := v.cfg.Store.MessagesOf(ctx, n.Queue, name)
			for _, m := range all { // the newest is last
				note(m.Queue, m.Type, func(t *traces) { t.message = m })
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	jobs := make([]Job, 0, len(found))
	for _, t := range found {
		if j, ok := t.job(); ok {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(a, b Job) int {
		return cmp.Or(alive(b)-alive(a), b.Since.Compare(a.Since), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Type, b.Type))
	})
	return jobs, nil
}

// alive is 1 for a job that has not ended.
func alive(j Job) int {
	if j.State.Final() {
		return 0
	}
	return 1
}

// A Detail is everything about one job, of all its lives that something is kept of.
type Detail struct {
	Job

	Events   []queue.Event     `json:"events"`             // oldest first, of all lives
	Failures []queue.Failure   `json:"failures,omitempty"` // of one that is dead, oldest first
	Running  *registry.Running `json:"running,omitempty"`  // what its worker says

	// What the broker has, nil for what there is not.
	Message *queue.Message `json:"-"`
	Dead    *queue.DeadJob `json:"-"`
	Hold    *queue.Hold    `json:"-"` // keeps its id taken though it has ended
}

// Job returns everything about a job, as the leaders of its streams know it, and asks the workers who
// runs it. An empty life is the newest. It returns [queue.ErrNotFound] if nothing is kept of it.
func (v *View) Job(ctx context.Context, p job.Place, life string) (*Detail, error) {
	d := &Detail{Events: []queue.Event{}}
	var t traces
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		d.Message, d.Hold, err = v.cfg.Store.MessageAndHold(ctx, p)
		return err
	})
	g.Go(func() error {
		events, err := v.cfg.Store.History(ctx, p, life)
		d.Events = append(d.Events, events...)
		return err
	})
	g.Go(func() (err error) {
		d.Dead, err = v.cfg.Store.DeadRecord(ctx, p)
		return orNone(err)
	})
	g.Go(func() error {
		r, runs, err := v.cfg.Registry.Owner(ctx, p.Queue.String(), p.Type.String(), p.ID.String())
		if runs {
			d.Running = &r
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	t.message, t.dead, t.running = d.Message, d.Dead, d.Running
	if n := len(d.Events); n > 0 {
		t.event = &queue.JobEvent{Queue: p.Queue.String(), Type: p.Type.String(), ID: p.ID.String(), Event: d.Events[n-1]}
	}
	t.keep(life, d.Events)
	j, ok := t.job()
	if !ok {
		return nil, queue.ErrNotFound
	}
	d.Job = j
	if d.Dead != nil && d.Dead.Life == j.Life {
		d.Failures = d.Dead.Failures
	}
	return d, nil
}

// keep drops the traces of all lives but one, unless that is empty, which is the newest.
func (t *traces) keep(life string, events []queue.Event) {
	if life == "" {
		return
	}
	if t.message != nil && t.message.Life != life {
		t.message = nil
	}
	if t.dead != nil && t.dead.Life != life {
		t.dead = nil
	}
	if t.running != nil && t.running.Life != life {
		t.running = nil
	}
	for i := len(events) - 1; t.event != nil && t.event.Life != life; i-- {
		if i < 0 {
			t.event = nil
			return
		}
		t.event.Event = events[i]
	}
}

// orNone is err, or nil if that says that there is none.
func orNone(err error) error {
	if errors.Is(err, queue.ErrNotFound) {
		return nil
	}
	return err
}
