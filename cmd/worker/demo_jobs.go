package main

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand"
)

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
	last := time.Now()
	for e, err := range client.Events(ctx, d.start.Add(-time.Second)) {
		if err != nil {
			return err
		}
		d.count(e)
		if time.Since(last) >= demoTick || d.ended == d.total {
			last = time.Now()
			d.progress()
		}
		if d.ended == d.total {
			return errDemoOver
		}
	}
	return context.Cause(ctx)
}

func (d *demo) count(e millhand.Event) {
	s, ok := d.stats[e.Type]
	if !ok {
		return
	}
	if e.Attempt == 1 && !e.StartedAt.IsZero() {
		s.first = append(s.first, e.StartedAt.Sub(e.EnqueuedAt))
	}
	switch e.State { //nolint:exhaustive // the others are not in the table
	case millhand.Succeeded:
		s.succeeded++
	case millhand.Retrying:
		s.retried++
	case millhand.Dead:
		s.dead++
		s.lastError = e.Error
	}
	if e.State.Final() {
		d.ended++
		d.end = time.Now()
	}
}

func (d *demo) progress() {
	var succeeded, retried, dead int
	for _, s := range d.stats {
		succeeded, retried, dead = succeeded+s.succeeded, retried+s.retried, dead+s.dead
	}
	end := "\n"
	if d.live && d.ended < d.total {
		end = "\r"
	}
	d.say("%5.1f s  %5d of %d jobs ended: %d succeeded, %d dead; %d retries  %s",
		time.Since(d.start).Seconds(), d.ended, d.total, succeeded, dead, retried, end)
}
